"""Small trained networks that ship with the package: weights, a card that says how they came to be, one backbone.

Each is a pair of files beside this one, `NAME.safetensors` and `NAME.json`, trained offline by `tests/bench`. Weights
load when first asked, belong to exactly one backbone, and are refused with any other.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from retrieval.embedder import EmbedderError, computes_in_half, shipped_folder, weights_sha256

if TYPE_CHECKING:
    from retrieval.adapted import AdaptedNetwork

BACKBONE = "all-minilm-l6-v2"

T = TypeVar("T")


class Fitted:
    """One shipped network. Safe to share between threads; `ask` lets one thread compute at a time."""

    def __init__(
        self, weights: Path, network: Callable[[], type[AdaptedNetwork]], *, threads: int | None = None
    ) -> None:
        """`network` imports and gives the network's class. `threads` limits torch's CPU threads, for the whole
        process (None: torch's own choice)."""
        self.weights = weights
        self._network = network
        self._threads = threads
        self._lock = threading.Lock()
        self._model: AdaptedNetwork | None = None

    @property
    def card(self) -> dict[str, Any]:
        """How the weights came to be: backbone, data, settings, losses."""
        return card(self.weights)

    @property
    def name(self) -> str:
        """Which weights these are, as kept with what they decided."""
        return f"{self.weights.stem}@{self.card['weights_sha256'][:12]}"

    def ask(self, compute: Callable[[Any], T]) -> T:
        """`compute(network)` without gradients, in bfloat16 where the CPU has it: twice as fast, and what comes out
        differs less than any decision can tell. Raises EmbedderError when the network can't be loaded."""
        import torch

        half = computes_in_half()
        with self._lock:
            if self._model is None:
                self._model = self._load()
            with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                return compute(self._model)

    def _load(self) -> AdaptedNetwork:
        import torch
        from transformers.utils import logging as transformers_logging

        if self._threads is not None:
            torch.set_num_threads(self._threads)
        folder = shipped_folder(BACKBONE)
        if weights_sha256(folder) != self.card["backbone_sha256"]:
            raise EmbedderError(
                f"The installed {BACKBONE} is not the one that {self.weights.stem} was trained on; run `make setup`."
            )
        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        try:
            return self._network().load(
                folder, self.weights, rank=self.card["rank"], alpha=self.card["alpha"]
            )
        except (OSError, ValueError) as error:
            raise EmbedderError(
                f"The weights {self.weights.name} can't be loaded ({error}); install Study Tutor again."
            ) from error
        finally:
            if bars:
                transformers_logging.enable_progress_bar()


@lru_cache(maxsize=8)
def card(weights: Path) -> dict[str, Any]:
    """The card beside a weights file."""
    return json.loads(weights.with_suffix(".json").read_text("utf-8"))


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
