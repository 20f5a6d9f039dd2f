"""What /metrics reports: turns by status, how long their stages took, how many are under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from tutor.events import TurnResult

_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 60.0)
_STAGES = ("retrieve", "first_text", "total")


class Metrics:
    """One registry per app, so that two apps in one process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._turns = Counter(
            "study_tutor_turns", "Turns by how they ended", ["status"], registry=self._registry
        )
        self._stages = {
            stage: Histogram(
                f"study_tutor_{stage}_seconds",
                f"Seconds of a turn: {stage.replace('_', ' ')}",
                buckets=_SECONDS,
                registry=self._registry,
            )
            for stage in _STAGES
        }
        self._running = Gauge(
            "study_tutor_turns_in_flight", "Turns being answered now", registry=self._registry
        )

    def began(self) -> None:
        self._running.inc()

    def ended(self, result: TurnResult | None, *, saved: bool, stopped: bool) -> None:
        """Count a turn. Without a result it was stopped or failed; a question that was not `saved` was no turn."""
        self._running.dec()
        if result is None:
            if saved:
                self._turns.labels("interrupted" if stopped else "failed").inc()
            return
        self._turns.labels(result.status).inc()
        for stage in _STAGES:
            if stage in result.timings_ms:
                self._stages[stage].observe(result.timings_ms[stage] / 1000)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)
