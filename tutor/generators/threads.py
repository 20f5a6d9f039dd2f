"""How many threads compute the next token, on a machine that has other things to do as well.

Threads that share out microseconds of work wait for the slowest of them. Alone on two cores, two threads write a
fifth faster than one; beside other programs, the one that has to wait for a core holds up the other for milliseconds
at every product: measured 20 times slower. So all threads are used until that is seen, then one for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_SLOW = 2.5  # times the best time of a token
_FIRST_REST, _LONGEST_REST = (
    16,
    1024,
)  # tokens for which one thread is used; doubled each time it is seen again
_GOOD_RUN = 64  # tokens after which all is forgotten

Setter = Callable[[int], None]


class Threads:
    """Sets torch's number of threads around each piece of work, and back to `most` after it."""

    def __init__(self, most: int, set_threads: Setter, now: Callable[[], float] = time.perf_counter) -> None:
        self.most = most
        self._set = set_threads
        self._now = now
        self._best = float("inf")
        self._rest = _FIRST_REST
        self._resting = 0
        self._good = 0

    def run(self, work: Callable[..., Any], *arguments: Any, tokens: int) -> Any:
        """`work(*arguments)`, which computes so many `tokens` at once."""
        alone = self._resting > 0
        self._set(1 if alone else self.most)
        start = self._now()
        try:
            return work(*arguments)
        finally:
            self._set(self.most)
            if alone:
                self._resting = max(0, self._resting - tokens)
            elif tokens == 1:
                self._learn(self._now() - start)

    def _learn(self, seconds: float) -> None:
        self._best = min(self._best, seconds)
        if seconds > _SLOW * self._best:
            self._resting = self._rest
            self._rest = min(2 * self._rest, _LONGEST_REST)
            self._good = 0
        else:
            self._good += 1
            if self._good >= _GOOD_RUN:
                self._rest = _FIRST_REST
