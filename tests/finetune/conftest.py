"""A base model that trains in milliseconds, the shipped tokenizer on a tiny random Llama; and what it trains on."""

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


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with config, the shipped model's tokenizer and safetensors weights. Don't write into it."""
    import torch
    from gguf import GGUFReader
    from transformers import LlamaConfig, LlamaForCausalLM

    from tutor.conversion import save_tokenizer
    from tutor.shipped import shipped_gguf

    folder = tmp_path_factory.mktemp("tiny-base")
    reader = GGUFReader(shipped_gguf())
    save_tokenizer({name: field.contents() for name, field in reader.fields.items()}, folder)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.model.embed_tokens.weight.data *= 5  # else no answer could become likely
    model.save_pretrained(folder)
    return folder


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
