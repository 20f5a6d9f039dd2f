"""Learners and what they did: sections read, events, totals by day. Answers are in `db.quizzes`, cards in `db.reviews`.

Reading is written in two forms: one row a section (how far am I?) and events (when was that?). `record_reading`
writes both, so callers never record an event for reading themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.errors import NotFound
from db.models import (
    FeedbackRow,
    LearnerRow,
    QuizAttemptRow,
    ReadingProgressRow,
    ReviewLogRow,
    StudyEventRow,
    TurnRow,
)
from db.statements import check_seconds, insert_for
from db.types import as_utc, utc_now

READING = "reading"
SECTION_READ = "section_read"
ATTEMPT = "attempt"  # ref: the attempt's id
REVIEW = "review"  # ref: the review's id
HINT = "hint"  # ref: the question's key
# Reading within one slot is one event. Every time zone is a multiple of 15 minutes off UTC, so a slot never
# spans midnight anywhere.
_SLOT = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Learner:
    """Whose study this is."""

    id: int
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SectionRead:
    """How far one section of a page is read; `section` is its anchor."""

    page: str
    section: str
    seconds: float
    first_at: datetime
    last_at: datetime
    read: bool


@dataclass(frozen=True, slots=True)
class StudyEvent:
    """Something a learner did at a moment, and how many seconds it took."""

    id: int
    learner_id: int
    kind: str
    page: str | None
    ref: str | None
    seconds: float
    data: dict[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class DayTotal:
    """One day in the learner's time zone: seconds of study, different pages touched, sections finished,
    questions asked (retries and edits not counted again), answers rated; answers given to the tutor's questions
    (deleted ones don't count), and cards reviewed (a review that came with an answer is that answer)."""

    day: date
    seconds: float
    pages: int
    sections: int
    questions: int
    ratings: int
    answers: int = 0
    reviews: int = 0


def learner(session: Session, name: str) -> Learner:
    """The learner of this name, made if new. Raises ValueError for an empty name."""
    if not name:
        raise ValueError("a learner needs a name")
    statement = select(LearnerRow).where(LearnerRow.name == name)
    row = session.scalar(statement)
    if row is None:
        insertion = insert_for(session, LearnerRow).values(name=name, created_at=utc_now())
        session.execute(insertion.on_conflict_do_nothing(index_elements=["name"]))
        row = session.scalars(statement).one()
    return Learner(id=row.id, name=row.name, created_at=row.created_at)


def get_learner(session: Session, learner_id: int) -> Learner:
    """The learner of this id. Raises NotFound."""
    row = session.get(LearnerRow, learner_id)
    if row is None:
        raise NotFound(f"Learner {learner_id} doesn't exist (any more).")
    return Learner(id=row.id, name=row.name, created_at=row.created_at)


def record_reading(
    session: Session, learner_id: int, page: str, section: str, *, seconds: float, read: bool, at: datetime
) -> SectionRead:
    """Add seconds to a section; once read it stays read, and a clock set back never moves `last_at` back.

    Raises ValueError for negative seconds or a naive `at`.
    """
    check_seconds(seconds)
    at = as_utc(at)
    insertion = insert_for(session, ReadingProgressRow).values(
        learner_id=learner_id, page=page, section=section, seconds=0.0, read=False, first_at=at, last_at=at
    )
    session.execute(insertion.on_conflict_do_nothing(index_elements=["learner_id", "page", "section"]))
    this = _this(ReadingProgressRow, learner_id, page=page, section=section)
    row = session.scalars(select(ReadingProgressRow).where(*this).with_for_update()).one()
    if read and not row.read:
        record_event(session, learner_id, SECTION_READ, page=page, ref=section, at=at)
    row.seconds += seconds
    row.read = row.read or read
    row.first_at, row.last_at = min(row.first_at, at), max(row.last_at, at)
    if seconds:
        _add_reading_event(session, learner_id, page, section, seconds, at)
    session.flush()
    session.refresh(row)
    return _section(row)


def reading_progress(session: Session, learner_id: int, page: str | None = None) -> list[SectionRead]:
    """What a learner read, of one page or all, in the order first opened."""
    statement = select(ReadingProgressRow).where(ReadingProgressRow.learner_id == learner_id)
    if page is not None:
        statement = statement.where(ReadingProgressRow.page == page)
    statement = statement.order_by(ReadingProgressRow.first_at, ReadingProgressRow.id)
    return [_section(row) for row in session.scalars(statement)]


def delete_reading(session: Session, learner_id: int, page: str) -> int:
    """Forget that a page was read, with the time it took; return how many of its sections were touched."""
    sections = delete(ReadingProgressRow).where(*_this(ReadingProgressRow, learner_id, page=page))
    touched = session.scalars(sections.returning(ReadingProgressRow.id)).all()
    happened = delete(StudyEventRow).where(*_this(StudyEventRow, learner_id, page=page))
    session.execute(happened.where(StudyEventRow.kind.in_((READING, SECTION_READ))))
    return len(touched)


def last_reading(session: Session, learner_id: int) -> SectionRead | None:
    """The section last read: where to continue."""
    statement = select(ReadingProgressRow).where(ReadingProgressRow.learner_id == learner_id)
    order = ReadingProgressRow.last_at.desc(), ReadingProgressRow.id.desc()
    row = session.scalar(statement.order_by(*order).limit(1))
    return None if row is None else _section(row)


def record_event(
    session: Session,
    learner_id: int,
    kind: str,
    *,
    page: str | None = None,
    ref: str | None = None,
    seconds: float = 0.0,
    data: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> StudyEvent:
    """Record that something happened, now by default. Raises ValueError for negative seconds or a naive `at`."""
    check_seconds(seconds)
    if not kind:
        raise ValueError("an event needs a kind")
    row = StudyEventRow(
        learner_id=learner_id,
        kind=kind,
        page=page,
        ref=ref,
        seconds=float(seconds),
        data=dict(data or {}),
        at=utc_now() if at is None else as_utc(at),
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return _event(row)


def events(
    session: Session,
    learner_id: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    kinds: Collection[str] | None = None,
    limit: int | None = None,
) -> list[StudyEvent]:
    """Events from `since` up to before `until`, newest first. Raises ValueError for naive times."""
    statement = select(StudyEventRow).where(StudyEventRow.learner_id == learner_id)
    if since is not None:
        statement = statement.where(StudyEventRow.at >= as_utc(since))
    if until is not None:
        statement = statement.where(StudyEventRow.at < as_utc(until))
    if kinds is not None:
        statement = statement.where(StudyEventRow.kind.in_(kinds))
    statement = statement.order_by(StudyEventRow.at.desc(), StudyEventRow.id.desc()).limit(limit)
    return [_event(row) for row in session.scalars(statement)]


def daily_totals(
    session: Session, learner_id: int, *, tz: tzinfo, since: datetime | None = None
) -> list[DayTotal]:
    """Totals of each day with activity, oldest first; days begin at midnight in `tz`.

    Deleting a conversation doesn't change what was studied. Raises ValueError for a naive `since`.
    """
    seconds: dict[date, float] = defaultdict(float)
    pages: dict[date, set[str]] = defaultdict(set)
    sections: dict[date, set[tuple[str | None, str | None]]] = defaultdict(set)
    counts: dict[str, dict[date, int]] = defaultdict(lambda: defaultdict(int))
    days: set[date] = set()

    event = StudyEventRow
    columns = event.at, event.kind, event.page, event.ref, event.seconds
    for row in session.execute(_since(select(*columns), event, event.at, learner_id, since)):
        day = row.at.astimezone(tz).date()
        days.add(day)
        seconds[day] += row.seconds
        if row.page is not None:
            pages[day].add(row.page)
        if row.kind == SECTION_READ:
            sections[day].add((row.page, row.ref))
    asked = select(TurnRow.created_at).where(TurnRow.replaces.is_(None))
    rated = select(FeedbackRow.created_at)
    answered = select(QuizAttemptRow.created_at).where(QuizAttemptRow.deleted_at.is_(None))
    reviewed = select(ReviewLogRow.reviewed_at).where(ReviewLogRow.attempt_id.is_(None))
    counted: tuple[tuple[str, Any, Any, Any], ...] = (
        ("questions", asked, TurnRow, TurnRow.created_at),
        ("ratings", rated, FeedbackRow, FeedbackRow.created_at),
        ("answers", answered, QuizAttemptRow, QuizAttemptRow.created_at),
        ("reviews", reviewed, ReviewLogRow, ReviewLogRow.reviewed_at),
    )
    for name, statement, table, column in counted:
        for at in session.scalars(_since(statement, table, column, learner_id, since)):
            day = at.astimezone(tz).date()
            days.add(day)
            counts[name][day] += 1
    return [
        DayTotal(
            day=day,
            seconds=seconds[day],
            pages=len(pages[day]),
            sections=len(sections[day]),
            questions=counts["questions"][day],
            ratings=counts["ratings"][day],
            answers=counts["answers"][day],
            reviews=counts["reviews"][day],
        )
        for day in sorted(days)
    ]


def _add_reading_event(
    session: Session, learner_id: int, page: str, section: str, seconds: float, at: datetime
) -> None:
    slot = at - (at - at.replace(hour=0, minute=0, second=0, microsecond=0)) % _SLOT
    this = _this(StudyEventRow, learner_id, kind=READING, page=page, ref=section)
    within = StudyEventRow.at >= slot, StudyEventRow.at < slot + _SLOT
    row = session.scalars(select(StudyEventRow).where(*this, *within).limit(1)).one_or_none()
    if row is None:
        record_event(session, learner_id, READING, page=page, ref=section, seconds=seconds, at=at)
    else:
        row.seconds += seconds


def _this(table: Any, learner_id: int, **values: str) -> list[Any]:
    return [
        table.learner_id == learner_id,
        *(getattr(table, name) == value for name, value in values.items()),
    ]


def _since(statement: Any, table: Any, column: Any, learner_id: int, since: datetime | None) -> Any:
    statement = statement.where(table.learner_id == learner_id)
    return statement if since is None else statement.where(column >= as_utc(since))


def _section(row: ReadingProgressRow) -> SectionRead:
    return SectionRead(**{field.name: getattr(row, field.name) for field in fields(SectionRead)})


def _event(row: StudyEventRow) -> StudyEvent:
    return StudyEvent(**{field.name: getattr(row, field.name) for field in fields(StudyEvent)})
