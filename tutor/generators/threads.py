"""How many threads compute the next token, on a machine that has other things to do as well.

Threads that share out microseconds of work wait for the slowest of them. Alone on two cores, two threads write up to
a third faster than one; beside other programs, the one that has to wait for a core holds up the other at every
product: measured 20 times slower. Which it is can only be tried, so now and then it is tried.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import fmean
from typing import Any

_TRIAL = 4  # tokens written the other way to compare
_FIRST_PAUSE, _LONGEST_PAUSE = 64, 1024  # tokens between trials; doubled by each that changed nothing
_BETTER = 0.95  # how much quicker the other way must be
_SLOW = 3.0  # times the mean: a token this slow ends a trial, or starts one


class Threads:
    """Sets torch's number of threads around each piece of work, and back to `most` after it."""

    def __init__(
        self, most: int, set_threads: Callable[[int], None], now: Callable[[], float] = time.perf_counter
    ) -> None:
        self.most = most
        self._set = set_threads
        self._now = now
        self._times: dict[int, deque[float]] = {n: deque(maxlen=16) for n in (1, most)}
        self._used = most
        self._trial = 0  # tokens left to be written the other way
        self._pause = _FIRST_PAUSE
        self._until_trial = 2 * _TRIAL

    def run(self, work: Callable[..., Any], *arguments: Any, tokens: int) -> Any:
        """`work(*arguments)`, which computes so many `tokens` at once."""
        threads = self._other if self._trial and tokens == 1 else self._used
        self._set(threads)
        start = self._now()
        try:
            return work(*arguments)
        finally:
            self._set(self.most)
            if tokens == 1 and self.most > 1:
                self._learn(threads, self._now() - start)

    @property
    def _other(self) -> int:
        return 1 if self._used == self.most else self.most

    def _learn(self, threads: int, seconds: float) -> None:
        usual = fmean(self._times[self._used] or [seconds])
        self._times[threads].append(seconds)
        slow = seconds > _SLOW * usual
        if self._trial:
            self._trial = 0 if slow else self._trial - 1
            if not self._trial:
                self._decide()
        else:
            self._until_trial -= 1
            if self._until_trial <= 0 or (slow and self._used == self.most):
                self._trial = _TRIAL
                self._times[self._other].clear()

    def _decide(self) -> None:
        if fmean(self._times[self._other]) < _BETTER * fmean(self._times[self._used]):
            self._used = self._other
            self._pause = _FIRST_PAUSE
        else:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._until_trial = self._pause
