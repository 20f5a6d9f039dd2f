"""Stands in for the sentence embedder where a test is about something else: instant, and near means shared words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from retrieval.records import Vectors
from retrieval.words import content_stems, words


class FakeEmbedder:
    """Embeds by hashed word stems: texts that share words are near each other. Instant and deterministic.

    `calls` lists the texts of every encode.
    """

    def __init__(self, name: str = "fake@1", dimension: int = 64) -> None:
        self.name = name
        self.dimension = dimension
        self.calls: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.calls.append(list(texts))
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for stem in content_stems(text) or ["?"]:
                digest = hashlib.blake2b(f"{self.name}:{stem}".encode(), digest_size=8).digest()
                row[int.from_bytes(digest) % self.dimension] += 1.0 if digest[0] % 2 else -1.0
            if not row.any():
                row[0] = 1.0
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return self.encode(texts)

    def count_tokens(self, text: str) -> int:
        return len(words(text))
