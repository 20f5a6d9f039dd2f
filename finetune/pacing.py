"""A job makes way for the app: it runs at low priority, on a bounded number of threads, and stands still while an
answer is being written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tutor.busy import is_answering

NICENESS = 10
_POLL_S = 0.1


def give_way(threads: int | None = None) -> None:
    """Lower this process's priority (never raise it), and cap the threads torch computes with."""
    import contextlib

    import psutil

    process = psutil.Process()
    with contextlib.suppress(psutil.Error, OSError):
        if psutil.WINDOWS:
            process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        elif process.nice() < NICENESS:
            process.nice(NICENESS)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def wait_while_answering(
    home: Path, max_wait_s: float = 120.0, should_stop: Callable[[], bool] = lambda: False
) -> float:
    """Return once the app of `home` writes no answer, after `max_wait_s` at the latest: the seconds waited.

    The bound keeps a job alive beside an app that never rests. Called between two rows, so an answer waits for one
    row at most, and that row runs at low priority.
    """
    began = time.monotonic()
    while is_answering(home) and not should_stop() and time.monotonic() - began < max_wait_s:
        time.sleep(_POLL_S)
    return time.monotonic() - began
