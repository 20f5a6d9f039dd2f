"""What lessons, cards and quizzes hand to the pages, the command line and the API. Frozen values, no behaviour.

A `Posed` question and an unanswered `QuizItem` never hold the answer, so that whoever shows them can't leak it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from db.reviews import Card

Verdict = Literal["correct", "partial", "incorrect"]
ItemKind = Literal["question", "term", "recall"]
QuizKind = Literal["page", "concept", "due"]
MAX_ANSWER_CHARS = 4000


class LessonError(ValueError):
    """An answer or a choice that can't be taken as it stands. `str()` is one line for the learner."""


@dataclass(frozen=True, slots=True)
class Posed:
    """A page's question as the learner may see it before answering. A form sends `request_id` back, so that a
    double click or a second tab is one attempt."""

    key: str
    page: str
    title: str
    number: int
    question: str
    hints: tuple[str, ...]
    hints_left: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Quote:
    """A sentence of a page; `start`/`end` are character offsets in the page's text."""

    page: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PointResult:
    """One key point: whether the answer makes it, the learner's words that do, the page's sentence that says it."""

    text: str
    hit: bool
    contradicted: bool
    evidence: str | None
    quote: Quote | None


@dataclass(frozen=True, slots=True)
class Result:
    """A graded answer. `verdict` is the grader's, `counted` what holds after the learner's own word.

    `next_step` is (page, title) of an unread prerequisite, after a failed question. `repeated` says that this
    request had been graded before.
    """

    attempt_id: int
    key: str
    page: str
    title: str
    question: str
    answer: str | None
    verdict: str
    counted: str
    score: float
    points: tuple[PointResult, ...]
    feedback: str
    reference: str
    hints: int
    card_id: int | None
    due: datetime | None
    next_step: tuple[str, str] | None
    override_reason: str | None
    at: datetime
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Gate:
    """What stands before a page. `later` are the questions for after reading; `results` the latest of each key."""

    open: bool
    first: Posed | None
    later: tuple[Posed, ...] = ()
    results: dict[str, Result] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DueQueue:
    """The cards that are due, the longest overdue first. `next_due` is when the next one will be, if none is now."""

    now: datetime
    total: int
    cards: tuple[Card, ...]
    next_due: datetime | None


@dataclass(frozen=True, slots=True)
class Rated:
    """A card after a rating, and how long it will rest."""

    review_id: int
    card: Card
    interval: timedelta
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class QuizItem:
    """One task of a quiz: a page's question, a term to fill in, or an answer the learner saved."""

    number: int
    kind: ItemKind
    key: str
    page: str
    title: str
    prompt: str
    request_id: str
    result: Result | None


@dataclass(frozen=True, slots=True)
class QuizState:
    """A quiz as far as it is done. `counts` has correct, partial and incorrect answers so far."""

    id: int
    kind: QuizKind
    title: str
    items: tuple[QuizItem, ...]
    counts: dict[str, int]

    @property
    def current(self) -> QuizItem | None:
        """The first item without an answer."""
        return next((item for item in self.items if item.result is None), None)

    @property
    def finished(self) -> bool:
        return self.current is None
