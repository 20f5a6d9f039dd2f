"""How well each concept is known, from evidence rows only, so that every bar can be explained and corrected.

Pure: pages, answers, cards and reviews in, scores with their evidence out. Nothing a model wrote is believed; what
fades, fades by the forgetting curve of `scheduling.py`. Reading the rows, and deleting them, is `progress.py`'s.

An item is one question or card of a concept. Its quality q is the mean of its last 3 outcomes, the newest weighted
1, then 1/2 and 1/4; its retention R is the chance that it is still remembered. Then
    recall = sum(q * R) / (items + 1)        one imaginary item without answer: little evidence is no full bar
    score  = recall + (1 - recall) * 0.15 * share of the sections read
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from db.quizzes import Attempt
from db.reviews import Card, Review
from retrieval.sentences import one_line
from tutor.scheduling import RATINGS, retrievability

READING_WEIGHT = 0.15
HINT_COST = 0.15
_WEIGHTS = (1.0, 0.5, 0.25)
_VERDICT_QUALITY = {"correct": 1.0, "partial": 0.5, "incorrect": 0.0}
_RATING_NAMES = {number: name for name, number in RATINGS.items()}
_RATING_QUALITY = {"again": 0.0, "hard": 0.6, "good": 0.9, "easy": 1.0}

Kind = Literal["attempt", "review", "reading"]


@dataclass(frozen=True, slots=True)
class PageConcepts:
    """A page, the concepts it teaches, and how far it was read: seconds on it, and when last (None: never)."""

    page: str
    title: str
    concepts: tuple[str, ...]
    sections_total: int
    sections_read: int
    reading_seconds: float
    read_at: datetime | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One row that the score rests on; `id` is None for reading. `outcome` is its result in words.

    `quality` 0 to 1 is how good it was, `retention` 0 to 1 how much of it is likely remembered, `points` its share
    of the score: 0 for outcomes that newer ones have replaced.
    """

    kind: Kind
    id: int | None
    page: str | None
    at: datetime
    text: str
    outcome: str
    quality: float
    retention: float
    points: float


@dataclass(frozen=True, slots=True)
class ConceptMastery:
    """How well a concept is known, 0 to 1; `score` is None without evidence. The points of the evidence, newest
    first, add up to the score. `page` is the first page that teaches the concept."""

    concept: str
    page: str
    title: str
    score: float | None
    recall: float
    read_share: float
    evidence: tuple[Evidence, ...]


@dataclass(slots=True)
class _Outcome:
    """One answer or review of an item."""

    kind: Kind
    id: int
    page: str | None
    at: datetime
    text: str
    outcome: str
    quality: float


@dataclass(slots=True)
class _Item:
    """One question or card, with what came of it."""

    concepts: set[str] = field(default_factory=set)
    retention: float = 1.0
    outcomes: list[_Outcome] = field(default_factory=list)


def mastery(
    pages: Sequence[PageConcepts],
    attempts: Iterable[Attempt],
    cards: Iterable[Card],
    reviews: Iterable[Review],
    now: datetime,
) -> tuple[ConceptMastery, ...]:
    """Every concept of the pages, in their order, each once. Deleted attempts don't count.

    A review that came with an attempt is that attempt, and counts as it. `now` is aware.
    """
    items = [item for item in _items(attempts, cards, reviews, now) if item.outcomes]
    taught: dict[str, list[PageConcepts]] = {}
    names: dict[str, str] = {}
    for page in pages:
        for concept in dict.fromkeys(_name(c) for c in page.concepts):
            taught.setdefault(concept, []).append(page)
        for concept in page.concepts:
            names.setdefault(_name(concept), one_line(concept))
    return tuple(
        _concept(names[concept], on, [item for item in items if concept in item.concepts], now)
        for concept, on in taught.items()
    )


def _items(
    attempts: Iterable[Attempt], cards: Iterable[Card], reviews: Iterable[Review], now: datetime
) -> Iterable[_Item]:
    items: dict[str, _Item] = {}
    by_id = {}
    for card in cards:
        by_id[card.id] = card
        item = items.setdefault(card.card_key, _Item())
        item.concepts.update(map(_name, card.concepts))
        if card.memory.last_review is not None:
            item.retention = retrievability(card.memory, now)
    for attempt in attempts:
        if attempt.deleted_at is None:
            item = items.setdefault(attempt.question_key, _Item())
            item.concepts.update(map(_name, attempt.concepts))
            item.outcomes.append(_attempted(attempt))
    for review in reviews:
        if review.attempt_id is None and review.card_id in by_id:
            card = by_id[review.card_id]
            items[card.card_key].outcomes.append(_reviewed(review, card))
    for item in items.values():
        item.outcomes.sort(key=lambda outcome: (outcome.at, outcome.id), reverse=True)
    return items.values()


def _attempted(attempt: Attempt) -> _Outcome:
    outcome = "I don't know yet" if attempt.answer is None else attempt.counted
    if attempt.override_verdict is not None:
        outcome = f"{attempt.override_verdict} (your verdict)"
    if attempt.hints:
        outcome += f", {attempt.hints} hint{'s' if attempt.hints > 1 else ''}"
    quality = max(0.0, _VERDICT_QUALITY[attempt.counted] - HINT_COST * attempt.hints)
    page, at = attempt.page or None, attempt.created_at
    return _Outcome("attempt", attempt.id, page, at, attempt.question, outcome, quality)


def _reviewed(review: Review, card: Card) -> _Outcome:
    name = _RATING_NAMES[review.rating]
    quality = _RATING_QUALITY[name]
    return _Outcome("review", review.id, card.page, review.reviewed_at, card.front, name, quality)


def _concept(
    concept: str, pages: Sequence[PageConcepts], items: Sequence[_Item], now: datetime
) -> ConceptMastery:
    evidence = [e for item in items for e in _weighed(item, share=1 / (len(items) + 1))]
    recall = min(1.0, sum(e.points for e in evidence))
    sections = sum(page.sections_total for page in pages)
    for page in pages:
        if (read := min(page.sections_read, page.sections_total)) > 0:
            points = (1 - recall) * READING_WEIGHT * read / sections
            evidence.append(_read(page, read, points, now))
    evidence.sort(key=lambda e: (e.at, e.id or 0), reverse=True)
    read_share = (
        sum(min(page.sections_read, page.sections_total) for page in pages) / sections if sections else 0.0
    )
    score = min(1.0, recall + (1 - recall) * READING_WEIGHT * read_share) if evidence else None
    return ConceptMastery(
        concept, pages[0].page, pages[0].title, score, recall, read_share, evidence=tuple(evidence)
    )


def _weighed(item: _Item, share: float) -> Iterable[Evidence]:
    """The item's outcomes with their parts of q * R * share."""
    weights = [*_WEIGHTS[: len(item.outcomes)], *[0.0] * (len(item.outcomes) - len(_WEIGHTS))]
    for outcome, weight in zip(item.outcomes, weights, strict=True):
        yield Evidence(
            kind=outcome.kind,
            id=outcome.id,
            page=outcome.page,
            at=outcome.at,
            text=outcome.text,
            outcome=outcome.outcome,
            quality=outcome.quality,
            retention=item.retention,
            points=outcome.quality * weight / sum(weights) * item.retention * share,
        )


def _read(page: PageConcepts, read: int, points: float, now: datetime) -> Evidence:
    outcome = f"{read} of {page.sections_total} sections"
    if page.reading_seconds >= 60:
        outcome += f", {round(page.reading_seconds / 60)} min"
    quality = read / page.sections_total
    return Evidence(
        "reading", None, page.page, page.read_at or now, page.title, outcome, quality, 1.0, points
    )


def _name(concept: str) -> str:
    """A concept as it is compared."""
    return one_line(concept).casefold()
