"""A cross-encoder of one's own that orders passages, where one is configured: a folder or a hub id.

Any model of sentence-transformers' `CrossEncoder` kind that gives one score a pair; none is shipped. Its weights must
be safetensors, and no code that comes with a model is run.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.chunker import search_text
from retrieval.embedder import EmbedderError
from retrieval.hub import HubError, hub_folder
from retrieval.records import Passage, Vectors


class Reranker:
    """Scores (question, passage) pairs. Its weights load with the first one; safe to share between threads."""

    def __init__(self, folder_or_hub_id: str) -> None:
        """Raises EmbedderError for what is no folder with safetensors weights and no hub id."""
        self.folder = _find(folder_or_hub_id)
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
                self._model = self._load()
            found = np.asarray(self._model.predict(pairs, show_progress_bar=False), dtype=np.float32)
        if found.shape != (len(pairs),) or not np.isfinite(found).all():
            raise EmbedderError(
                f"The reranker {self.name} doesn't give one number a passage; choose another."
            )
        return found

    def _load(self) -> Any:
        from sentence_transformers import CrossEncoder

        try:
            return CrossEncoder(
                str(self.folder),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:  # whatever a damaged folder makes the libraries raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise EmbedderError(f"The reranker {self.name} can't be loaded ({reason}).") from error


def _find(wanted: str) -> Path:
    folder = Path(wanted).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if wanted.count("/") == 1 and not wanted.startswith((".", "/", "~")):
        try:
            return hub_folder(wanted)
        except HubError as error:
            raise EmbedderError(
                f"The reranker {wanted} is not in the local hub cache and can't be fetched ({error}); give a folder."
            ) from error
    raise EmbedderError(
        f"There is no reranker {wanted}: it is no folder and no hub id (owner/name); check the setting `reranker`."
    )
