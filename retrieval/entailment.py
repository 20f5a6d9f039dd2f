"""Does one text state another, contradict it, or neither? A small cross-encoder on the shipped embedder's backbone.

The task is natural language inference: a premise (what a learner wrote) and a hypothesis (a key point). The weights
are a low-rank adapter of all-MiniLM-L6-v2 and a classifying head, trained offline by `python -m tests.bench grading
--fit` and shipped beside this file with their card. The backbone is the shipped embedder's, whichever embedder search
is configured with. What follows from a judgement is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from retrieval.fitted import Fitted
from retrieval.records import Vectors

if TYPE_CHECKING:
    from retrieval.cross_encoder import CrossEncoder

NEUTRAL, STATED, CONTRADICTED = range(3)
WEIGHTS = Path(__file__).with_name("entailment.safetensors")
_BATCH = 32


class Judge(Protocol):
    """Says of (hypothesis, premise) pairs how likely the premise leaves open, states or contradicts it: [n, 3]."""

    @property
    def name(self) -> str: ...
    def judge(self, pairs: Sequence[tuple[str, str]]) -> Vectors: ...


class Entailment:
    """Judges pairs of texts. Its weights load with the first pair; safe to share between threads."""

    def __init__(self, *, weights: Path = WEIGHTS, threads: int | None = None) -> None:
        """`threads` limits torch's CPU threads, for the whole process (None: torch's own choice)."""
        self._fitted = Fitted(weights, _network, threads=threads)

    @property
    def name(self) -> str:
        """Which weights judge, as kept with every judgement."""
        return self._fitted.name

    def judge(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """(hypothesis, premise) pairs -> probabilities [n, 3]: neutral, stated, contradicted.

        Raises EmbedderError when the backbone is missing or is not the one that the weights were trained on.
        """
        found = np.zeros((len(pairs), 3), dtype=np.float32)
        # Alike in length, so that little is padded.
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
        for start in range(0, len(order), _BATCH):
            part = order[start : start + _BATCH]
            found[part] = self._fitted.ask(partial(_probabilities, pairs=[pairs[i] for i in part]))
        return found


def _probabilities(network: CrossEncoder, pairs: Sequence[tuple[str, str]]) -> Vectors:
    return network([h for h, _ in pairs], [p for _, p in pairs]).float().softmax(dim=-1).numpy()


def _network() -> type[CrossEncoder]:
    from retrieval.cross_encoder import CrossEncoder

    return CrossEncoder
