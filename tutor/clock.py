"""How long each stage of a turn took. Only measures; what the stages are is `turn.py`'s."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class StageClock:
    """Milliseconds by stage, and marks since the turn began."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._spent: dict[str, float] = {"retrieve": 0.0, "generate": 0.0, "verify": 0.0}
        self._marks: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._spent[name] = self._spent.get(name, 0.0) + (time.perf_counter() - began) * 1000

    def timed(self, name: str, items: Iterable[str]) -> Iterator[str]:
        """`items`, with only the waiting for them counted."""
        source = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item

    def mark(self, name: str) -> None:
        """Note the first time something happened."""
        self._marks.setdefault(name, (time.perf_counter() - self._start) * 1000)

    def timings(self) -> dict[str, float]:
        total = (time.perf_counter() - self._start) * 1000
        return {name: round(ms, 1) for name, ms in {**self._spent, **self._marks, "total": total}.items()}
