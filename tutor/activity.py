"""What the days of study add up to: which ones count, streaks, the heatmap, accuracy by week.

Pure, and by calendar days: totals arrive by day in the learner's time zone (`db.study.daily_totals`), so a day of
23 or 25 hours is a day like any other. Days after `today`, which a clock set wrong can leave, count for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo

from db.quizzes import Attempt
from db.study import DayTotal

MIN_SECONDS = 300
MIN_ANSWERS = 3

_DAY = timedelta(days=1)
_LEVELS = (1.0, 3.0, 6.0)
"""Effort, in minimum days, from which a heatmap cell is at level 2, 3, 4; less than a minimum day is level 1."""


@dataclass(frozen=True, slots=True)
class Streak:
    """Days in a row that count: the present run, the longest so far; whether today is already in it."""

    current: int
    longest: int
    today_counts: bool


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One day of the heatmap: level 0 (nothing) to 4, where 2 and more count for the streak. `total` None: no study."""

    day: date
    level: int
    total: DayTotal | None


@dataclass(frozen=True, slots=True)
class WeekAccuracy:
    """How many answers of the week that begins on Monday `start` were judged how."""

    start: date
    correct: int
    partial: int
    incorrect: int


def counts(day: DayTotal) -> bool:
    """Whether the day was enough for the streak: 5 minutes of study, or 3 answers, reviews and questions together."""
    return _effort(day) >= 1.0


def streak(days: Iterable[DayTotal], today: date) -> Streak:
    """The streak as of `today`; a today that doesn't count yet leaves the run up to yesterday standing."""
    good = {day.day for day in days if day.day <= today and counts(day)}
    run = longest = 0
    previous: date | None = None
    for day in sorted(good):
        run = run + 1 if previous is not None and day - previous == _DAY else 1
        longest = max(longest, run)
        previous = day
    alive = previous is not None and previous >= today - _DAY
    return Streak(run if alive else 0, longest, today in good)


def weeks(days: Iterable[DayTotal], today: date, n: int = 26) -> list[list[HeatCell]]:
    """The last `n` weeks, oldest first, 7 cells each from Monday on; the last week is the one of `today`."""
    by_day = {day.day: day for day in days if day.day <= today}
    monday = _monday(today) - (n - 1) * 7 * _DAY
    return [[_cell(monday + (7 * week + number) * _DAY, by_day) for number in range(7)] for week in range(n)]


def accuracy(attempts: Iterable[Attempt], zone: tzinfo, today: date, weeks: int = 12) -> list[WeekAccuracy]:
    """The last `weeks` weeks, oldest first, empty ones too, by the verdicts that count. Deleted attempts don't."""
    found: Counter[tuple[date, str]] = Counter()
    for attempt in attempts:
        day = attempt.created_at.astimezone(zone).date()
        if attempt.deleted_at is None and day <= today:
            found[_monday(day), attempt.counted] += 1
    starts = [_monday(today) - back * 7 * _DAY for back in reversed(range(weeks))]
    return [
        WeekAccuracy(start, found[start, "correct"], found[start, "partial"], found[start, "incorrect"])
        for start in starts
    ]


def _effort(day: DayTotal) -> float:
    """How many times the minimum of a day that counts was done, by time or by answering, whichever is more."""
    return max(day.seconds / MIN_SECONDS, (day.answers + day.reviews + day.questions) / MIN_ANSWERS)


def _cell(day: date, by_day: dict[date, DayTotal]) -> HeatCell:
    total = by_day.get(day)
    effort = 0.0 if total is None else _effort(total)
    return HeatCell(day, (effort > 0) + sum(effort >= least for least in _LEVELS), total)


def _monday(day: date) -> date:
    return day - day.weekday() * _DAY
