"""What training tells while it runs, what it ends with, and why it may end otherwise."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from finetune.config import FinetuneConfig

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class TrainingError(Exception):
    """Training can't go on. `str()` is one line: why, and what to do. The last checkpoint and every adapter stay."""


class Cancelled(Exception):  # noqa: N818
    """Somebody asked to stop; a checkpoint of what was done is written."""


@dataclass(frozen=True, slots=True)
class Progress:
    """After a step of the optimizer. `seconds` is time spent training, `waited` time spent waiting for answers."""

    step: int
    steps: int
    loss: float
    tokens: int
    examples: int
    seconds: float
    seconds_left: float
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished adapter, in `folder`. `tokens` were read by the model; `examples` are counted once an epoch.

    `notes` are what a reader of the report should know: examples left out, a checkpoint that could not be used.
    """

    folder: Path
    losses: tuple[tuple[int, float], ...]
    seconds: float
    steps: int
    examples: int
    tokens: int
    precision: str
    peak_memory_bytes: int
    waited: float = 0.0
    processes: int = 1
    resumed_at: int = 0
    notes: tuple[str, ...] = ()


def explained(error: BaseException, config: FinetuneConfig) -> TrainingError | None:
    """Out of memory or disk full as a TrainingError; None for what we can't explain: that is our own bug."""
    text = str(error)
    short = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(sign in text.lower() for sign in ("out of memory", "can't allocate memory", "bad alloc"))
    )
    if short:
        return TrainingError(
            f"Not enough memory to train; set a smaller row_tokens (now {config.row_tokens}) or rank (now "
            f"{config.rank}){'' if config.gradient_checkpointing else ', turn gradient_checkpointing on'} or close "
            "other programs. The last checkpoint is kept."
        )
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        where = f" ({error.filename})" if error.filename else ""
        return TrainingError(
            f"The disk is full{where}; free some space and resume the job. The last checkpoint is kept."
        )
    return None
