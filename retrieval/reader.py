"""Which sentences of a passage answer a question? A small network on the shipped embedder's backbone reads both.

Trained offline by `python -m tests.bench reading --fit`. It gives log-odds; what is selected, and whether the material
covers the question at all, is decided in `evidence.py` from these and from plainer features.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from retrieval.fitted import Fitted
from retrieval.records import Passage, Vectors

if TYPE_CHECKING:
    from retrieval.passage_reader import PassageReader

WEIGHTS = Path(__file__).with_name("reader.safetensors")


class Reader:
    """Reads passages for a question. Its weights load with the first one; safe to share between threads."""

    def __init__(self, *, weights: Path = WEIGHTS, threads: int | None = None) -> None:
        """`threads` limits torch's CPU threads, for the whole process (None: torch's own choice)."""
        self._fitted = Fitted(weights, _network, threads=threads)

    @property
    def name(self) -> str:
        """Which weights read, as kept with every turn."""
        return self._fitted.name

    def read(self, question: str, passages: Sequence[Passage]) -> list[Vectors]:
        """For each passage the log-odds of its sentences [n] that they answer. Raises EmbedderError."""
        kept = [i for i, passage in enumerate(passages) if passage.sentences]
        found = [np.zeros(0, dtype=np.float32) for _ in passages]
        if kept:
            texts = [as_read(passages[i]) for i in kept]
            logits = self._fitted.ask(lambda network: network([question] * len(texts), texts))
            for i, row in zip(kept, logits, strict=True):
                found[i] = row.float().numpy()
        return found


def as_read(passage: Passage) -> tuple[str, list[str]]:
    """A passage as the network reads it: (heading, sentences)."""
    names = dict.fromkeys((passage.title, *passage.heading_path))
    return " › ".join(name for name in names if name), [s.text for s in passage.sentences]


def _network() -> type[PassageReader]:
    from retrieval.passage_reader import PassageReader

    return PassageReader
