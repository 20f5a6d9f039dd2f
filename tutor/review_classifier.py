"""A classifier small enough to watch: softmax regression on sentence vectors, trained by gradient descent in numpy.

Training is the one function here that gives other weights than it was given; `probabilities` only reads them.
Everything is deterministic: the same examples from the same weights give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LABELS = ("positive", "neutral", "negative")
EPOCHS = 60
RATE = 3.0  # step size: vectors have length 1, so gradients are small
DECAY = 1e-3  # pulls weights towards 0, so that a handful of reviews can't make the model cocksure

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A row and an offset for each label. Stored, and hashed, as the float32 that `probabilities` computes from."""

    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def parameters(self) -> int:
        return int(self.matrix.size + self.offset.size)

    def to_bytes(self) -> bytes:
        return self.matrix.astype("<f4").tobytes() + self.offset.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, dimension: int) -> Weights:
        """Raises ValueError where the bytes aren't weights for vectors of this dimension."""
        values = np.frombuffer(data, "<f4")
        if values.size != len(LABELS) * (dimension + 1) or not np.isfinite(values).all():
            raise ValueError(f"no weights for vectors of {dimension} numbers")
        matrix = values[: len(LABELS) * dimension].reshape(len(LABELS), dimension)
        return cls(matrix.astype(np.float32), values[len(LABELS) * dimension :].astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """What a run of training did. `losses` has one more entry than epochs: it begins with the loss before."""

    weights: Weights
    losses: tuple[float, ...]
    change: float  # Euclidean length of all that the weights moved


def zeros(dimension: int) -> Weights:
    """Weights that know nothing: every label is equally likely."""
    return Weights(np.zeros((len(LABELS), dimension), np.float32), np.zeros(len(LABELS), np.float32))


def probabilities(weights: Weights, vectors: Any) -> Array:
    """The probability of each label for each row. Inference: the weights are read, never written."""
    logits = np.asarray(vectors, np.float64) @ weights.matrix.T.astype(np.float64) + weights.offset
    return _softmax(logits)


def loss_and_gradient(
    matrix: Array, offset: Array, vectors: Array, targets: NDArray[np.int64], decay: float = DECAY
) -> tuple[float, Array, Array]:
    """Mean cross-entropy plus decay, and its derivatives by the matrix and the offset."""
    chances = _softmax(vectors @ matrix.T + offset)
    rows = np.arange(len(targets))
    loss = float(-np.log(np.maximum(chances[rows, targets], 1e-12)).mean() + decay / 2 * (matrix**2).sum())
    wrong = chances.copy()
    wrong[rows, targets] -= 1.0
    wrong /= len(targets)
    return loss, wrong.T @ vectors + decay * matrix, wrong.sum(axis=0)


def train(
    weights: Weights,
    vectors: Any,
    targets: Sequence[int],
    *,
    epochs: int = EPOCHS,
    rate: float = RATE,
    decay: float = DECAY,
) -> Training:
    """Go downhill from these weights, all examples at once, `epochs` steps. Raises ValueError without examples."""
    if not len(targets):
        raise ValueError("training needs examples")
    rows, wanted = np.asarray(vectors, np.float64), np.asarray(targets, np.int64)
    matrix, offset = weights.matrix.astype(np.float64), weights.offset.astype(np.float64)
    losses = []
    for _ in range(epochs):
        loss, by_matrix, by_offset = loss_and_gradient(matrix, offset, rows, wanted, decay)
        losses.append(loss)
        matrix -= rate * by_matrix
        offset -= rate * by_offset
    losses.append(loss_and_gradient(matrix, offset, rows, wanted, decay)[0])
    made = Weights(matrix.astype(np.float32), offset.astype(np.float32))
    return Training(made, tuple(losses), distance(weights, made))


def distance(before: Weights, after: Weights) -> float:
    """How far the weights moved."""
    by_matrix = after.matrix.astype(np.float64) - before.matrix
    by_offset = after.offset.astype(np.float64) - before.offset
    return float(np.sqrt((by_matrix**2).sum() + (by_offset**2).sum()))


def confusion(weights: Weights, vectors: Any, targets: Sequence[int]) -> list[list[int]]:
    """Rows are the true labels, columns what the classifier says."""
    table = [[0] * len(LABELS) for _ in LABELS]
    if len(targets):
        for true, said in zip(targets, probabilities(weights, vectors).argmax(axis=1), strict=True):
            table[true][int(said)] += 1
    return table


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
