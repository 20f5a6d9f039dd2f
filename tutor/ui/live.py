"""Turns that are being answered right now: each runs in a thread of its own and hands its events to a page.

Pages come and go in the middle of an answer. So the thread, not the page, owns the tutor's iterator and closes it;
a page only reads events and may raise the stop flag, which takes no time on the event loop.
"""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tutor.events import TurnLogged, TurnStarted

if TYPE_CHECKING:
    from tutor.events import Event, TurnResult
    from tutor.ui.metrics import Metrics

TICK_S = 0.5


class LiveTurn:
    """One answer under way. Iterate `events()` once; `stop()` from any thread."""

    def __init__(self, start: Callable[[], Iterator[Event]], done: Callable[[LiveTurn], None]) -> None:
        self.turn_id: int | None = None
        self.result: TurnResult | None = None
        self._start = start
        self._done = done
        self._stop = threading.Event()
        self._events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._work,), name="turn", daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """End the turn soon; what was shown so far is kept as an interrupted turn."""
        self._stop.set()

    def events(self, tick: float = TICK_S) -> Iterator[Event | None]:
        """The turn's events as they come, and None every `tick` seconds of silence. Raises what the turn raised.

        Leaving the loop early stops the turn.
        """
        try:
            while True:
                try:
                    event = self._events.get(timeout=tick)
                except queue.Empty:
                    yield None
                    continue
                if event is None:
                    return
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            self.stop()

    def join(self, timeout: float) -> None:
        """Wait until the turn is committed, at most `timeout` seconds."""
        self._thread.join(timeout)

    def _work(self) -> None:
        try:
            source = self._start()
            for event in source:
                if isinstance(event, TurnStarted):
                    self.turn_id = event.turn_id
                elif isinstance(event, TurnLogged):
                    self.result = event.result
                self._events.put(event)
                if self.stopped and self.result is None:
                    close = getattr(source, "close", None)  # a repeated request gives a plain iterator
                    if close:
                        close()
                    break
        except BaseException as error:  # noqa: BLE001 - handed to whoever reads the events
            self._events.put(error)
        finally:
            self._done(self)
            self._events.put(None)


class LiveTurns:
    """The answers under way, by browser session, so that a page can stop its own and find those of other tabs."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._turns: dict[LiveTurn, str] = {}

    def start(self, session: str, answer: Callable[[], Iterator[Event]]) -> LiveTurn:
        """Begin a turn for a browser session."""
        self._metrics.began()
        with self._lock:  # so that a turn can't be done before it is listed
            turn = LiveTurn(answer, self._finished)
            self._turns[turn] = session
        return turn

    def stop(self, session: str) -> None:
        """Stop what this browser session has asked for."""
        with self._lock:
            mine = [turn for turn, owner in self._turns.items() if owner == session]
        for turn in mine:
            turn.stop()

    def stop_all(self, wait: float = 2.0) -> None:
        """Stop everything and wait, together at most `wait` seconds, until it is committed."""
        with self._lock:
            turns = list(self._turns)
        for turn in turns:
            turn.stop()
        deadline = time.monotonic() + wait
        for turn in turns:
            turn.join(max(0.0, deadline - time.monotonic()))

    def running(self) -> set[int]:
        """The ids of turns being answered now."""
        with self._lock:
            return {turn.turn_id for turn in self._turns if turn.turn_id is not None}

    def _finished(self, turn: LiveTurn) -> None:
        with self._lock:
            self._turns.pop(turn, None)
        self._metrics.ended(turn.result, saved=turn.turn_id is not None, stopped=turn.stopped)
