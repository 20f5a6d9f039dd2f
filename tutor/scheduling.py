"""When a review card is due again: FSRS, deterministic, and safe against clocks that jump. The only home of `fsrs`.

Pure: values in, values out. All arithmetic is in UTC, so daylight saving changes nothing. A moment before the last
review counts as the last review, so elapsed time is never negative and a card is never due before it was reviewed.
Storing cards and reviews is `db.reviews`; which rating an answer earns in a lesson is decided with `rating_for`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType

import fsrs

from db.reviews import Memory

RATINGS: Mapping[str, int] = MappingProxyType({"again": 1, "hard": 2, "good": 3, "easy": 4})
LEECH_LAPSES = 4
"""A card forgotten this often after it had been learned is shown as a leech: its text should be changed."""

LEARNING, REVIEW = 1, 2  # values of Memory.state; the third, relearning, needs no name here
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a review made of a card's memory. `lapsed`: it had been learned and was forgotten."""

    memory: Memory
    lapsed: bool


def new_memory(now: datetime) -> Memory:
    """The memory of a card that was never reviewed, due at once. Raises ValueError for a naive `now`."""
    return Memory(state=LEARNING, step=0, stability=None, difficulty=None, due=_utc(now), last_review=None)


def review(memory: Memory, rating: int, now: datetime) -> Reviewed:
    """The memory after a rating (1 again, 2 hard, 3 good, 4 easy) at `now`.

    Raises ValueError for a naive `now` or another rating.
    """
    if rating not in RATINGS.values():
        raise ValueError(f"a rating is 1 (again), 2 (hard), 3 (good) or 4 (easy), not {rating}")
    card, _ = _scheduler().review_card(_fsrs_card(memory), fsrs.Rating(rating), _not_before(memory, now))
    after = Memory(
        state=int(card.state),
        step=card.step,
        stability=card.stability,
        difficulty=card.difficulty,
        due=card.due,
        last_review=card.last_review,
    )
    return Reviewed(after, lapsed=rating == RATINGS["again"] and memory.state == REVIEW)


def retrievability(memory: Memory, at: datetime) -> float:
    """The chance from 0 to 1 that the card is remembered at `at`; 0.0 if it was never reviewed.

    FSRS-6's forgetting curve, R = (1 + f * t / S) ** -d with f = 0.9 ** (-1 / d) - 1: t days since the last review,
    S the stability in days, d the decay; R is 0.9 at t = S. `fsrs` itself counts whole days only, which would draw
    a staircase. Raises ValueError for a naive `at`.
    """
    at = _not_before(memory, at)
    if memory.last_review is None or not memory.stability:
        return 0.0
    decay = _scheduler().parameters[20]
    factor = 0.9 ** (-1 / decay) - 1
    return float((1 + factor * ((at - memory.last_review) / _DAY) / memory.stability) ** -decay)


def curve(memory: Memory, start: datetime, days: int, points: int = 60) -> list[tuple[float, float]]:
    """(days after `start`, retrievability) at `points` moments, evenly from 0 to `days`.

    Raises ValueError for a naive `start` or fewer than 2 points.
    """
    if points < 2:
        raise ValueError(f"a curve needs at least 2 points, not {points}")
    after = [days * number / (points - 1) for number in range(points)]
    return [(day, retrievability(memory, _utc(start) + timedelta(days=day))) for day in after]


def previews(memory: Memory, now: datetime) -> dict[str, timedelta]:
    """For each rating's name the time until the card would be due again. Raises ValueError for a naive `now`."""
    at = _not_before(memory, now)
    return {name: review(memory, rating, at).memory.due - at for name, rating in RATINGS.items()}


def interval_text(interval: timedelta) -> str:
    """An interval in its largest fitting unit: "10 min", "5 h", "1 d", "3 mo", "1.5 y"; "now" if not positive."""
    if interval <= timedelta(0):
        return "now"
    for unit, seconds, below in (("min", 60, 60), ("h", 3600, 24), ("d", 86_400, 30), ("mo", 2_629_800, 12)):
        if (count := max(1, round(interval.total_seconds() / seconds))) < below:
            return f"{count} {unit}"
    return f"{interval.total_seconds() / 31_557_600:.1f}".removesuffix(".0") + " y"


def replay(reviews: Sequence[tuple[int, datetime]], created_at: datetime) -> tuple[Memory, int]:
    """(memory, lapses) of a card made at `created_at`, after these (rating, at) in the order they were given.

    What deleting or importing a review needs. Raises ValueError for naive times and unknown ratings.
    """
    memory, lapses = new_memory(created_at), 0
    for rating, at in reviews:
        reviewed = review(memory, rating, at)
        memory, lapses = reviewed.memory, lapses + reviewed.lapsed
    return memory, lapses


def rating_for(verdict: str, hints: int, unknown: bool) -> int:
    """The rating that a graded answer earns: a fair answer after two hints was hard, "I don't know" is again.

    Raises ValueError for a verdict other than correct, partial, incorrect.
    """
    if verdict not in ("correct", "partial", "incorrect"):
        raise ValueError(f"a verdict is correct, partial or incorrect, not {verdict!r}")
    if unknown or verdict == "incorrect":
        return RATINGS["again"]
    return RATINGS["hard"] if verdict == "partial" or hints >= 2 else RATINGS["good"]


def is_leech(lapses: int) -> bool:
    """Whether a card was forgotten so often that its text is the problem."""
    return lapses >= LEECH_LAPSES


@lru_cache(maxsize=1)
def _scheduler() -> fsrs.Scheduler:
    """FSRS with its default parameters (90 % retention). No fuzzing: the same answers give the same dates."""
    return fsrs.Scheduler(enable_fuzzing=False)


def _fsrs_card(memory: Memory) -> fsrs.Card:
    """The memory as `fsrs` wants it. A card id of our own, because making one up would sleep a millisecond."""
    learned = memory.stability is not None and memory.difficulty is not None
    state = fsrs.State(memory.state) if learned else fsrs.State.Learning
    return fsrs.Card(
        card_id=0,
        state=state,
        step=None if state == fsrs.State.Review else memory.step or 0,
        stability=memory.stability if learned else None,
        difficulty=memory.difficulty if learned else None,
        due=memory.due,
        last_review=memory.last_review,
    )


def _not_before(memory: Memory, at: datetime) -> datetime:
    """`at` in UTC, or the last review where the clock went back behind it."""
    at = _utc(at)
    return at if memory.last_review is None else max(at, _utc(memory.last_review))


def _utc(at: datetime) -> datetime:
    """The moment with `datetime.UTC` itself: `fsrs` refuses every other time zone, even another UTC."""
    if at.tzinfo is None or at.utcoffset() is None:
        raise ValueError("a datetime without time zone can't be scheduled; pass an aware one")
    return at.astimezone(UTC)
