"""What the tiny base model (`tiny_base`) is trained on in tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from finetune.dataset import Dataset, Example, content_hash
from finetune.snapshot import write_snapshot

NOTES = [
    "A token is a small piece of text. A page of English has about five hundred of them, more or less.",
    "Overfitting means that a model learns its examples by heart and does badly on new ones it never saw.",
    "A validation set is kept out of training and used to compare settings with each other.",
]


class TrainingData:
    """Several questions on each of a few notes; the same as pairs and as thumbs; and as a snapshot in a folder."""

    def examples(self, per_note: int = 4) -> list[Example]:
        return [
            Example(
                f"{note}-{number}",
                (
                    {"role": "system", "content": "Use only the notes."},
                    {"role": "user", "content": f"Notes:\n- {text}\n\nQuestion: What is thing {number}?"},
                ),
                text.split(". ")[0] + "." if number % 3 else "The notes do not answer this.",
                f"g{note}",
                "answer" if number % 3 else "abstain",
            )
            for note, text in enumerate(NOTES)
            for number in range(per_note)
        ]

    def pairs(self) -> list[Example]:
        return [replace(e, rejected="I do not know, perhaps forty-two of them.") for e in self.examples(2)]

    def thumbs(self) -> list[Example]:
        return [replace(e, label=number % 2 == 0) for number, e in enumerate(self.examples(3))]

    def snapshot(self, folder: Path, per_note: int = 4) -> Path:
        train = tuple(self.examples(per_note))
        return write_snapshot(Dataset(train, (), (), (), content_hash(train, (), ())), folder)


@pytest.fixture(scope="session")
def data() -> TrainingData:
    return TrainingData()
