"""How far one learner has come: the study path, mastery by concept, and taking evidence back.

Reads the database and calls the pure modules (`study.py`, `mastery.py`, `scheduling.py`); every function works in
the caller's session. What a lesson writes is `lessons.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from db import documents, quizzes, reviews, study
from db.errors import NotFound
from tutor import mastery, scheduling
from tutor.mastery import ConceptMastery, PageConcepts
from tutor.pages import texts
from tutor.study import State, StudyPage
from tutor.ui.markdown import page_sections

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.documents import StoredDocument
    from db.reviews import Card
    from db.study import SectionRead

COURSE = "course"
GLANCE_S = (
    15.0  # a shorter visit, such as following a citation, does not start a page, nor is it where one stopped
)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A course page and what the learner read of it."""

    document: StoredDocument
    sections_total: int
    sections_read: int
    seconds: float
    read_at: datetime | None

    @property
    def state(self) -> State:
        if self.sections_total and self.sections_read == self.sections_total:
            return "read"
        return "started" if self.sections_read or self.seconds >= GLANCE_S else "new"


def study_pages(session: Session, learner_id: int) -> list[StudyPage]:
    """The pages of the course in their order, each with its state. Prerequisites are paths of pages."""
    readings = _readings(session, learner_id)
    return [
        StudyPage(
            path=reading.document.path,
            title=reading.document.title,
            prerequisites=tuple(f"{slug}.md" for slug in texts(reading.document.meta.get("prerequisites"))),
            state=reading.state,
        )
        for reading in readings
    ]


def concept_mastery(session: Session, learner_id: int, now: datetime) -> tuple[ConceptMastery, ...]:
    """Every concept of the course with its score and evidence, in the order of the pages."""
    pages = [
        PageConcepts(
            page=reading.document.path,
            title=reading.document.title,
            concepts=texts(reading.document.meta.get("concepts")),
            sections_total=reading.sections_total,
            sections_read=reading.sections_read,
            reading_seconds=reading.seconds,
            read_at=reading.read_at,
        )
        for reading in _readings(session, learner_id)
    ]
    return mastery.mastery(
        pages,
        quizzes.attempts(session, learner_id),
        reviews.cards(session, learner_id),
        reviews.reviews(session, learner_id),
        now,
    )


def weak_concepts(session: Session, learner_id: int, now: datetime, limit: int = 4) -> list[ConceptMastery]:
    """The concepts with the lowest scores, the lowest first. Those without evidence are unknown, not weak."""
    known = [(c.score, c) for c in concept_mastery(session, learner_id, now) if c.score is not None]
    return [concept for _, concept in sorted(known, key=lambda pair: pair[0])[:limit]]


def delete_evidence(session: Session, learner_id: int, kind: str, ref: int | str, now: datetime) -> None:
    """Take one row of evidence back, and what followed from it.

    `kind` "attempt" or "review" with its id: the cards concerned are scheduled anew from the reviews that are left.
    `kind` "reading" with a page's path: the page counts as never read. Raises NotFound for what is not this
    learner's, ValueError for another kind.
    """
    if kind == "attempt":
        quizzes.delete_attempt(session, learner_id, int(ref), now)
        for card_id in {r.card_id for r in reviews.reviews(session, learner_id) if r.attempt_id == int(ref)}:
            replay_card(session, learner_id, card_id)
    elif kind == "review":
        replay_card(session, learner_id, reviews.delete_review(session, learner_id, int(ref)))
    elif kind == "reading":
        study.delete_reading(session, learner_id, str(ref))
    else:
        raise ValueError(f"evidence is an attempt, a review or reading, not {kind!r}")


def replay_card(session: Session, learner_id: int, card_id: int) -> Card:
    """Schedule a card anew from its log, after the log or an attempt changed; reviews that came with a deleted
    attempt are left out. Raises NotFound."""
    card = reviews.get_card(session, learner_id, card_id, lock=True)
    if card is None:
        raise NotFound(f"Card {card_id} doesn't exist (any more).")
    answered = quizzes.attempts(session, learner_id, question_key=card.card_key, include_deleted=True)
    deleted = {attempt.id for attempt in answered if attempt.deleted_at is not None}
    log = [r for r in reviews.reviews(session, learner_id, card_id=card_id) if r.attempt_id not in deleted]
    memory, lapses = scheduling.replay([(r.rating, r.reviewed_at) for r in reversed(log)], card.created_at)
    return reviews.set_memory(session, learner_id, card_id, memory, lapses)


def _readings(session: Session, learner_id: int) -> list[_Reading]:
    """The course pages in their order, then by title, each with what was read of it."""
    rows: dict[str, list[SectionRead]] = {}
    for row in study.reading_progress(session, learner_id):
        rows.setdefault(row.page, []).append(row)
    pages = documents.list_documents(session, COURSE, with_text=True)
    pages.sort(key=lambda page: (_order(page.meta), page.title))
    return [_reading(page, rows.get(page.path, [])) for page in pages]


def _reading(document: StoredDocument, rows: list[SectionRead]) -> _Reading:
    known = {s.anchor for s in page_sections(document.text, document.title, document.media_type)}
    read = [row for row in rows if row.read and row.section in known]
    return _Reading(
        document=document,
        sections_total=len(known),
        sections_read=len(read),
        seconds=sum(row.seconds for row in rows),
        read_at=max((row.last_at for row in read), default=None),
    )


def _order(meta: Mapping[str, Any]) -> float:
    order = meta.get("order")
    return float(order) if isinstance(order, int | float) and not isinstance(order, bool) else float("inf")
