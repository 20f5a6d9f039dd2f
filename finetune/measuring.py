"""Time, memory and precision of a training, measured on the machine it runs on."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SAME_LOSS = 0.01  # relative: what bfloat16 may differ by to be taken for the same


class Clock:
    """Counts the seconds of training apart from those of waiting, and knows when a checkpoint is due."""

    def __init__(self, seconds: float, waited: float) -> None:
        self.seconds = seconds
        self.waited = waited
        self._recent: deque[float] = deque(maxlen=20)
        self._last = self._saved = time.monotonic()
        self._paused = 0.0

    @property
    def per_step(self) -> float:
        return sum(self._recent) / len(self._recent) if self._recent else 0.0

    def wait(self, waiting: Callable[[], object]) -> None:
        began = time.monotonic()
        waiting()
        spent = time.monotonic() - began
        self.waited += spent
        self._paused += spent

    def tick(self) -> None:
        """A step is done."""
        now = time.monotonic()
        step = max(0.0, now - self._last - self._paused)
        self._recent.append(step)
        self.seconds += step
        self._last, self._paused = now, 0.0

    def due(self, every_s: float) -> bool:
        """Would more than `every_s` seconds of work be lost, were the coming step the last?"""
        return time.monotonic() - self._saved + self.per_step > every_s

    def saved(self) -> None:
        self._saved = time.monotonic()


def faster_precision(mean_loss: Callable[[bool], torch.Tensor]) -> tuple[str, str]:
    """ "float32" or "bfloat16", whichever a row takes less processor time with, and a sentence with the numbers.

    `mean_loss(bfloat16)` runs the row forward. Where the losses disagree it is float32.
    """
    spent: dict[bool, float] = {}
    loss: dict[bool, float] = {}
    for bfloat16 in (False, True):
        for warm in (False, True):
            began = time.process_time()  # other programs on the machine don't count
            value = mean_loss(bfloat16)
            value.backward()
            if warm:
                spent[bfloat16] = time.process_time() - began
                loss[bfloat16] = value.item()
    same = abs(loss[True] - loss[False]) <= SAME_LOSS * abs(loss[False])
    chosen = "bfloat16" if same and spent[True] < spent[False] else "float32"
    return chosen, (
        f"Precision {chosen}: a row took {spent[False]:.1f} s of the processor in float32 (loss {loss[False]:.4f}), "
        f"{spent[True]:.1f} s in bfloat16 (loss {loss[True]:.4f})."
    )


def peak_memory_bytes(device: torch.device | None = None) -> int:
    """The most memory this process has had so far: of the GPU if it trains on one."""
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    import psutil

    info: Any = psutil.Process().memory_info()
    try:
        import resource
    except ImportError:  # Windows
        return int(getattr(info, "peak_wset", info.rss))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
