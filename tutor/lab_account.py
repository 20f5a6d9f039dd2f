"""What training cost once, what answering has cost so far, and where the two meet. Pure sums of what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from db.jobs import Job
    from db.registry import Adapter
    from db.usage import TurnUsage

Unit = Literal["seconds", "tokens"]


@dataclass(frozen=True, slots=True)
class Training:
    """One run of training; `here` says whether this machine did it (an adapter may come with the program)."""

    name: str
    seconds: float
    tokens: int
    at: datetime
    here: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. Its seconds run from the question to the finished answer, without loading the model."""

    seconds: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Account:
    """Both sides, oldest first."""

    trainings: tuple[Training, ...]
    answers: tuple[Answer, ...]

    def once(self, unit: Unit) -> float:
        """What all training cost."""
        return math.fsum(getattr(training, unit) for training in self.trainings)

    def running(self, unit: Unit) -> list[float]:
        """What answering had cost after each answer."""
        return list(accumulate(float(getattr(answer, unit)) for answer in self.answers))

    def crossing(self, unit: Unit) -> int | None:
        """The number of the answer with which answering had cost as much as training; None if not yet, or if
        nothing was trained."""
        once = self.once(unit)
        if not once:
            return None
        return next((n for n, spent in enumerate(self.running(unit), start=1) if spent >= once), None)

    def still_to_go(self, unit: Unit) -> int | None:
        """How many answers are missing at the mean of those so far; None where there is no mean or no need."""
        spent, once = math.fsum(getattr(a, unit) for a in self.answers), self.once(unit)
        if not spent or not once or spent >= once:
            return None
        return math.ceil((once - spent) / (spent / len(self.answers)))


def make_account(jobs: Iterable[Job], adapters: Iterable[Adapter], turns: Iterable[TurnUsage]) -> Account:
    """What the rows of jobs, adapters and turns say. A job's last word counts; one that never trained is left out."""
    by_job = {adapter.job_id: adapter for adapter in adapters if adapter.job_id is not None}
    trainings = []
    for job in jobs:
        rows = [row for row in job.metrics if isinstance(row, Mapping) and "step" in row]
        seconds = max((_number(row.get("seconds")) for row in rows), default=0.0)
        tokens = max((_number(row.get("tokens")) for row in rows), default=0.0)
        if seconds or tokens:
            made = by_job.get(job.id)
            name = made.name if made else f"job {job.id} ({job.state})"
            trainings.append(
                Training(name, seconds, int(tokens), job.started_at or job.created_at, here=True)
            )
    counted = {training.name for training in trainings}
    for adapter in adapters:
        told = adapter.report.get("training") if isinstance(adapter.report, Mapping) else None
        told = told if isinstance(told, Mapping) else {}
        seconds, tokens = _number(told.get("seconds")), _number(told.get("tokens"))
        if adapter.name not in counted and (seconds or tokens):
            here = adapter.job_id is not None
            trainings.append(Training(adapter.name, seconds, int(tokens), adapter.created_at, here))
    answers = (_answer(turn.timings_ms, turn.tokens) for turn in turns)
    return Account(
        tuple(sorted(trainings, key=lambda t: t.at)), tuple(a for a in answers if a.seconds or a.tokens)
    )


def thinned(points: Sequence[float], most: int) -> list[tuple[int, float]]:
    """(number from 1, value) of at most `most` points: evenly spaced, the first and the last among them."""
    if len(points) <= most:
        return list(enumerate(points, start=1))
    numbers = sorted({round(1 + (len(points) - 1) * step / (most - 1)) for step in range(most)})
    return [(number, points[number - 1]) for number in numbers]


def _answer(timings: Mapping[str, Any], tokens: Mapping[str, Any]) -> Answer:
    waited = max(0.0, _number(timings.get("total")) - _number(timings.get("load")))
    return Answer(waited / 1000, int(_number(tokens.get("prompt")) + _number(tokens.get("completion"))))


def _number(value: Any) -> float:
    """A measured quantity; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return 0.0
    return float(value)
