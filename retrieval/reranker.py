"""A cross-encoder of one's own that orders passages, where one is configured: a folder or a hub id.

Any model of sentence-transformers' `CrossEncoder` kind that gives one score a pair; none is shipped. Its weights must
be safetensors, and no code that comes with a model is run.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval.chunker import search_text
from retrieval.embedder import EmbedderError, find_model, load_model
from retrieval.records import Passage, Vectors


class Reranker:
    """Scores (question, passage) pairs. Its weights load with the first one; safe to share between threads."""

    def __init__(self, folder_or_hub_id: str) -> None:
        """Raises EmbedderError for what is no folder with safetensors weights and no hub id."""
        self.folder, _ = find_model(folder_or_hub_id, "reranker")
        self.name = folder_or_hub_id
        if not any(self.folder.glob("*.safetensors")):
            raise EmbedderError(
                f"The reranker {folder_or_hub_id} has no *.safetensors weights; pickled weights are never loaded."
            )
        self._lock = threading.Lock()
        self._model: Any = None

    def score(self, question: str, passages: Sequence[Passage]) -> Vectors:
        """One number for each passage, higher is better: [n]. Raises EmbedderError."""
        if not passages:
            return np.zeros(0, dtype=np.float32)
        pairs = [(question, search_text(p.title, p.heading_path, p.sentences)) for p in passages]
        with self._lock:
            if self._model is None:
                self._model = load_model("CrossEncoder", self.folder, f"reranker {self.name}")
            found = np.asarray(self._model.predict(pairs, show_progress_bar=False), dtype=np.float32)
        if found.shape != (len(pairs),) or not np.isfinite(found).all():
            raise EmbedderError(
                f"The reranker {self.name} doesn't give one number a passage; choose another."
            )
        return found
