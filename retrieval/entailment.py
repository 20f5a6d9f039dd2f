"""Does one text state another, contradict it, or neither? A small cross-encoder on the shipped embedder's backbone.

The task is natural language inference: a premise (what a learner wrote) and a hypothesis (a key point). The weights
are a low-rank adapter of all-MiniLM-L6-v2 and a classifying head, trained offline by `python -m tests.bench grading
--fit` and shipped beside this file with their card. The backbone is the shipped embedder's, whichever embedder search
is configured with. What follows from a judgement is decided elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.embedder import EmbedderError, shipped_folder, weights_sha256
from retrieval.records import Vectors

NEUTRAL, STATED, CONTRADICTED = range(3)
WEIGHTS = Path(__file__).with_name("entailment.safetensors")
CARD = Path(__file__).with_name("entailment.json")
BACKBONE = "all-minilm-l6-v2"
_BATCH = 32


class Entailment:
    """Judges pairs of texts. Its weights load with the first pair; safe to share between threads."""

    def __init__(self, *, threads: int | None = None) -> None:
        """`threads` limits torch's CPU threads, for the whole process (None: torch's own choice)."""
        self._threads = threads
        self._lock = threading.Lock()
        self._model: Any = None

    @property
    def name(self) -> str:
        """Which weights judge, as kept with every judgement."""
        return f"entailment@{card()['weights_sha256'][:12]}"

    def judge(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """(hypothesis, premise) pairs -> probabilities [n, 3]: neutral, stated, contradicted.

        Raises EmbedderError when the backbone is missing or is not the one that the weights were trained on.
        """
        found = np.zeros((len(pairs), 3), dtype=np.float32)
        if not pairs:
            return found
        import torch

        # Alike in length, so that little is padded.
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
        with self._lock:
            if self._model is None:
                self._model = self._load()
            with torch.inference_mode():
                for start in range(0, len(order), _BATCH):
                    part = order[start : start + _BATCH]
                    logits = self._model([pairs[i][0] for i in part], [pairs[i][1] for i in part])
                    found[part] = torch.softmax(logits, dim=-1).numpy()
        return found

    def _load(self) -> Any:
        import torch
        from transformers.utils import logging as transformers_logging

        from retrieval.cross_encoder import CrossEncoder

        if self._threads is not None:
            torch.set_num_threads(self._threads)
        folder = shipped_folder(BACKBONE)
        about = card()
        if weights_sha256(folder) != about["backbone_sha256"]:
            raise EmbedderError(
                f"The installed {BACKBONE} is not the one that the grader was trained on; run `make setup`."
            )
        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        try:
            return CrossEncoder.load(folder, WEIGHTS, rank=about["rank"], alpha=about["alpha"])
        except (OSError, ValueError) as error:
            raise EmbedderError(
                f"The grader's weights can't be loaded ({error}); install Study Tutor again."
            ) from error
        finally:
            if bars:
                transformers_logging.enable_progress_bar()


@lru_cache(maxsize=1)
def card() -> dict[str, Any]:
    """How the weights came to be: backbone, data, settings, and what the validation half said."""
    return json.loads(CARD.read_text("utf-8"))


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
