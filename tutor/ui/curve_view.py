"""Forgetting curves: how likely a card, or the mean of all, is remembered, before today and after. Pure.

The curve is FSRS's (`tutor.scheduling`): it starts at 100 % with every review and falls more slowly the more stable
the memory is. The past is drawn from the log of reviews, the future as if no more reviews came.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from db.reviews import Card, Memory, Review
from tutor import scheduling
from tutor.ui import charts
from tutor.ui.markup import count, day, esc

DAYS_BACK = DAYS_AHEAD = 30
_DAY = timedelta(days=1)
_POINTS = 60
_GOAL = 0.9  # FSRS asks a card again when its chance of being remembered has fallen to this
_PERCENT = ((0.0, "0"), (0.5, "50"), (1.0, "100%"))


@dataclass(frozen=True, slots=True)
class Past:
    """A card's memory after each of its reviews, oldest first."""

    reviewed: tuple[tuple[datetime, Memory], ...]

    def remembered(self, at: datetime) -> float | None:
        """The chance from 0 to 1 that it is remembered at `at`; None before its first review."""
        memory = next((memory for when, memory in reversed(self.reviewed) if when <= at), None)
        return None if memory is None else scheduling.retrievability(memory, at)


def pasts(cards: Iterable[Card], reviews: Iterable[Review], deleted: Collection[int]) -> dict[int, Past]:
    """Each card's past by its id, replayed from the log. `deleted` are the attempts whose reviews don't count."""
    log: dict[int, list[Review]] = defaultdict(list)
    for review in reviews:
        if review.attempt_id not in deleted or review.attempt_id is None:
            log[review.card_id].append(review)
    found = {}
    for card in cards:
        memory = scheduling.new_memory(card.created_at)
        steps = []
        for review in sorted(log[card.id], key=lambda r: r.id):
            memory = scheduling.review(memory, review.rating, review.reviewed_at).memory
            steps.append((memory.last_review or review.reviewed_at, memory))
        found[card.id] = Past(tuple(steps))
    return found


def card_chart(past: Past, due: datetime, now: datetime) -> str:
    """The curve of one card from its first review to well after it is due; its reviews and today are marked."""
    if not past.reviewed:
        return '<p class="hint">No curve yet: it starts with the first review of this card.</p>'
    first, last = past.reviewed[0][0], past.reviewed[-1][0]
    start = min(first, now - _DAY)
    end = max(due, now) + max(3 * _DAY, (max(due, now) - start) / 4)
    place = _scale(start, end)
    points = []
    for number, (at, memory) in enumerate(past.reviewed):
        until = past.reviewed[number + 1][0] if number + 1 < len(past.reviewed) else end
        for step in range(_POINTS + 1):
            when = at + (until - at) * step / _POINTS
            points.append((place(when), scheduling.retrievability(memory, when)))
    marks = "".join(charts.x_mark(place(at), "reviewed") for at, _ in past.reviewed)
    drawing = (
        charts.y_axis(_PERCENT)
        + marks
        + charts.x_mark(place(now), "today")
        + charts.curve(points, "line")
        + _x_labels(start, end, now, place)
    )
    moments = [("Last review", last), ("Today", now), ("Due", due), ("End of the chart", end)]
    rows = [
        (name, _date(at, now), f"{(past.remembered(at) or 0):.0%}")
        for name, at in sorted(moments, key=lambda m: m[1])
    ]
    said = f"Remembered today with a chance of {(past.remembered(now) or 0):.0%}; " + (
        f"asked again on {_date(due, now)}." if due > now else "due now."
    )
    return (
        charts.figure("Forgetting curve of this card", drawing, ("Moment", "Date", "Chance"), rows)
        + f'<p class="hint">{esc(said)} Dotted lines are its reviews.</p>'
    )


def mean_chart(known: Sequence[Past], now: datetime) -> str:
    """The mean over all reviewed cards, 30 days back and, if no more reviews came, 30 days ahead."""
    known = [past for past in known if past.reviewed]
    if not known:
        return '<p class="empty">The curve starts with your first review.</p>'
    start = max(min(past.reviewed[0][0] for past in known), now - DAYS_BACK * _DAY)
    start = min(start, now - _DAY)
    end = now + DAYS_AHEAD * _DAY
    place = _scale(start, end)
    # Reviews of one day make a staircase too fine to see, so the line is drawn at even steps, and through today.
    steps = sorted([start + (end - start) * step / _POINTS for step in range(_POINTS + 1)] + [now])
    line = [(at, mean) for at in steps if (mean := _mean(known, at)) is not None]
    drawing = (
        charts.y_axis(_PERCENT)
        + charts.y_mark(_GOAL, "goal")
        + charts.x_mark(place(now), "today")
        + charts.curve([(place(at), mean) for at, mean in line if at <= now], "line")
        + charts.curve([(place(at), mean) for at, mean in line if at >= now], "line ahead")
        + _x_labels(start, end, now, place)
    )
    shown = [now - n * _DAY for n in (30, 14, 7)] + [now + n * _DAY for n in (0, 7, 14, 30)]
    rows = [
        (_date(at, now), f"{mean:.0%}")
        for at in shown
        if at >= start and (mean := _mean(known, at)) is not None
    ]
    today, later = _mean(known, now) or 0.0, _mean(known, end) or 0.0
    said = (
        f"You would likely recall {today:.0%} of {count(len(known), 'reviewed card')} today, and {later:.0%} "
        f"in {DAYS_AHEAD} days without another review. The thin line is 90%, where a card is asked again."
    )
    figure = charts.figure("Mean chance of recalling a card, by day", drawing, ("Day", "Mean chance"), rows)
    return f'{figure}<p class="hint">{esc(said)}</p>'


def _mean(known: Sequence[Past], at: datetime) -> float | None:
    chances = [chance for past in known if (chance := past.remembered(at)) is not None]
    return sum(chances) / len(chances) if chances else None


def _scale(start: datetime, end: datetime) -> Callable[[datetime], float]:
    """A moment's share of the way from start to end."""
    span = (end - start).total_seconds()
    return lambda at: min(1.0, max(0.0, (at - start).total_seconds() / span))


def _x_labels(start: datetime, end: datetime, now: datetime, place: Callable[[datetime], float]) -> str:
    """Both ends and today; an end too near to today gives way."""
    here = place(now)
    anchor = "start" if here < 0.06 else "end" if here > 0.94 else "middle"
    ends = [(0.0, start, "start"), (1.0, end, "end")]
    return charts.x_label(here, "today", anchor) + "".join(
        charts.x_label(share, _date(at, now), side) for share, at, side in ends if abs(share - here) > 0.2
    )


def _date(at: datetime, now: datetime) -> str:
    at = at.astimezone(now.tzinfo)
    return day(at, year=at.year != now.year)
