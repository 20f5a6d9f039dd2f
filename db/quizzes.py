"""Graded answers, the hints shown before them, and quizzes: rounds of tasks, fixed when they start.

An attempt is never rewritten: the learner's own verdict stands beside the grader's, and a deleted one is only
hidden. Asking, grading and scheduling are left to the tutor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from db.errors import DatabaseError, NotFound
from db.models import QUIZ_KINDS, VERDICTS, QuizAttemptRow, QuizRow, StudyEventRow
from db.statements import check_request_id, check_seconds, one_at_a_time
from db.study import ATTEMPT, HINT, record_event
from db.types import as_utc

Row = TypeVar("Row", QuizAttemptRow, QuizRow)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One graded answer. `answer` None means "I don't know yet"; `score` is 0 to 1; `hints` were shown before it."""

    id: int
    learner_id: int
    request_id: str | None
    quiz_id: int | None
    page: str
    question_key: str
    question: str
    reference: str
    answer: str | None
    verdict: str
    score: float
    key_points: list[dict[str, Any]]
    concepts: list[str]
    grader: str
    hints: int
    seconds: float
    override_verdict: str | None
    override_reason: str | None
    overridden_at: datetime | None
    deleted_at: datetime | None
    created_at: datetime

    @property
    def counted(self) -> str:
        """The verdict that counts: the learner's own where there is one, else the grader's."""
        return self.override_verdict or self.verdict


@dataclass(frozen=True, slots=True)
class Quiz:
    """A round of tasks. Its answers are the attempts with its id."""

    id: int
    learner_id: int
    kind: str
    page: str | None
    title: str
    items: list[dict[str, Any]]
    created_at: datetime
    finished_at: datetime | None


def save_attempt(
    session: Session,
    learner_id: int,
    *,
    page: str,
    question_key: str,
    question: str,
    reference: str,
    answer: str | None,
    verdict: str,
    score: float,
    key_points: Sequence[Mapping[str, Any]],
    concepts: Sequence[str],
    grader: str,
    hints: int = 0,
    seconds: float = 0.0,
    at: datetime,
    quiz_id: int | None = None,
    request_id: str | None = None,
) -> Attempt:
    """Store a graded answer and that it took `seconds`. A known `request_id` returns its attempt, writes nothing.

    Raises ValueError for an unknown verdict, a score outside 0 to 1, negative seconds or hints, or a naive `at`;
    NotFound if the quiz isn't this learner's; DatabaseError if the request is another learner's.
    """
    _check_verdict(verdict)
    if not 0 <= score <= 1:
        raise ValueError(f"a score is a number from 0 to 1, not {score}")
    if hints < 0:
        raise ValueError(f"hints must be a number of at least 0, not {hints}")
    check_seconds(seconds)
    check_request_id(request_id)
    one_at_a_time(session, request_id)
    known = None if request_id is None else _by_request(session, QuizAttemptRow, request_id)
    if known is not None:
        if known.learner_id != learner_id:
            raise DatabaseError("This request_id was used before. Please send the answer with a new one.")
        return _attempt(known)
    if quiz_id is not None:
        _mine(session, QuizRow, learner_id, quiz_id)
    row = QuizAttemptRow(
        learner_id=learner_id,
        request_id=request_id,
        quiz_id=quiz_id,
        page=page,
        question_key=question_key,
        question=question,
        reference=reference,
        answer=answer,
        verdict=verdict,
        score=float(score),
        key_points=[dict(point) for point in key_points],
        concepts=list(concepts),
        grader=grader,
        hints=hints,
        seconds=float(seconds),
        created_at=as_utc(at),
    )
    session.add(row)
    session.flush()
    record_event(session, learner_id, ATTEMPT, page=page, ref=str(row.id), seconds=seconds, at=at)
    session.refresh(row)
    return _attempt(row)


def find_attempt_by_request(session: Session, learner_id: int, request_id: str) -> Attempt | None:
    """The attempt of this learner that the request wrote, or None."""
    row = _by_request(session, QuizAttemptRow, request_id)
    return None if row is None or row.learner_id != learner_id else _attempt(row)


def get_attempt(session: Session, learner_id: int, attempt_id: int) -> Attempt | None:
    """This learner's attempt, a deleted one too, or None."""
    row = session.get(QuizAttemptRow, attempt_id)
    return None if row is None or row.learner_id != learner_id else _attempt(row)


def attempts(
    session: Session,
    learner_id: int,
    *,
    page: str | None = None,
    question_key: str | None = None,
    quiz_id: int | None = None,
    since: datetime | None = None,
    include_deleted: bool = False,
    limit: int | None = None,
) -> list[Attempt]:
    """A learner's attempts, newest first. Raises ValueError for a naive `since`."""
    statement = select(QuizAttemptRow).where(QuizAttemptRow.learner_id == learner_id)
    if page is not None:
        statement = statement.where(QuizAttemptRow.page == page)
    if question_key is not None:
        statement = statement.where(QuizAttemptRow.question_key == question_key)
    if quiz_id is not None:
        statement = statement.where(QuizAttemptRow.quiz_id == quiz_id)
    if since is not None:
        statement = statement.where(QuizAttemptRow.created_at >= as_utc(since))
    if not include_deleted:
        statement = statement.where(QuizAttemptRow.deleted_at.is_(None))
    statement = statement.order_by(QuizAttemptRow.created_at.desc(), QuizAttemptRow.id.desc()).limit(limit)
    return [_attempt(row) for row in session.scalars(statement)]


def override_attempt(
    session: Session, learner_id: int, attempt_id: int, *, verdict: str | None, reason: str = "", at: datetime
) -> Attempt:
    """Let the learner's own verdict count from now on; None takes it back, and the grader's counts again.

    Raises ValueError for an unknown verdict or a naive `at`, NotFound.
    """
    if verdict is not None:
        _check_verdict(verdict)
    row = _mine(session, QuizAttemptRow, learner_id, attempt_id)
    row.override_verdict = verdict
    row.override_reason = None if verdict is None else reason or None
    row.overridden_at = None if verdict is None else as_utc(at)
    return _attempt(_written(session, row))


def delete_attempt(session: Session, learner_id: int, attempt_id: int, at: datetime) -> Attempt:
    """Hide an attempt: it counts nowhere any more. Deleting it again changes nothing. Raises NotFound."""
    row = _mine(session, QuizAttemptRow, learner_id, attempt_id)
    row.deleted_at = row.deleted_at or as_utc(at)
    return _attempt(_written(session, row))


def restore_attempt(session: Session, learner_id: int, attempt_id: int) -> Attempt:
    """Let a deleted attempt count again. Raises NotFound."""
    row = _mine(session, QuizAttemptRow, learner_id, attempt_id)
    row.deleted_at = None
    return _attempt(_written(session, row))


def overridden_attempts(session: Session) -> list[Attempt]:
    """What learners judged otherwise than the grader did, oldest first: data to calibrate it with.

    Of all learners; what its learner deleted is not among it.
    """
    statement = select(QuizAttemptRow).where(
        QuizAttemptRow.override_verdict.is_not(None), QuizAttemptRow.deleted_at.is_(None)
    )
    order = QuizAttemptRow.created_at, QuizAttemptRow.id
    return [_attempt(row) for row in session.scalars(statement.order_by(*order))]


def record_hint(
    session: Session, learner_id: int, *, page: str, question_key: str, level: int, at: datetime
) -> None:
    """Note that a hint was shown; `level` 1 is the first step of the ladder. Raises ValueError."""
    if level < 1:
        raise ValueError(f"the level of a hint is at least 1, not {level}")
    record_event(session, learner_id, HINT, page=page, ref=question_key, data={"level": level}, at=at)


def hint_level(session: Session, learner_id: int, question_key: str) -> int:
    """The highest level shown since the last attempt on this question, deleted or not; 0 if none was.

    "Since" goes by the order in which events were written, which a clock that jumps can't change.
    """
    attempt, event = QuizAttemptRow, StudyEventRow
    last = select(func.max(attempt.id)).where(
        attempt.learner_id == learner_id, attempt.question_key == question_key
    )
    attempt_id = session.scalar(last)
    statement = select(event.data).where(
        event.learner_id == learner_id, event.kind == HINT, event.ref == question_key
    )
    if attempt_id is not None:
        written = select(func.max(event.id)).where(
            event.learner_id == learner_id, event.kind == ATTEMPT, event.ref == str(attempt_id)
        )
        statement = statement.where(event.id > func.coalesce(written.scalar_subquery(), 0))
    return max((int(data.get("level", 0)) for data in session.scalars(statement)), default=0)


def start_quiz(
    session: Session,
    learner_id: int,
    *,
    kind: str,
    page: str | None,
    title: str,
    items: Sequence[Mapping[str, Any]],
    request_id: str | None = None,
    at: datetime,
) -> Quiz:
    """Start a quiz with these tasks. A known `request_id` returns its quiz and writes nothing.

    Raises ValueError for an unknown kind or a naive `at`, DatabaseError if the request is another learner's.
    """
    if kind not in QUIZ_KINDS:
        raise ValueError(f"unknown kind of quiz {kind!r}; one of {', '.join(QUIZ_KINDS)}")
    check_request_id(request_id)
    one_at_a_time(session, request_id)
    known = None if request_id is None else _by_request(session, QuizRow, request_id)
    if known is not None:
        if known.learner_id != learner_id:
            raise DatabaseError("This request_id was used before. Please start the quiz with a new one.")
        return _quiz(known)
    row = QuizRow(
        learner_id=learner_id,
        kind=kind,
        page=page,
        title=title,
        items=[dict(item) for item in items],
        request_id=request_id,
        created_at=as_utc(at),
    )
    session.add(row)
    return _quiz(_written(session, row))


def find_quiz_by_request(session: Session, learner_id: int, request_id: str) -> Quiz | None:
    """The quiz of this learner that the request began, or None."""
    row = _by_request(session, QuizRow, request_id)
    return _quiz(row) if row is not None and row.learner_id == learner_id else None


def get_quiz(session: Session, learner_id: int, quiz_id: int) -> Quiz | None:
    """This learner's quiz, or None."""
    row = session.get(QuizRow, quiz_id)
    return None if row is None or row.learner_id != learner_id else _quiz(row)


def finish_quiz(session: Session, learner_id: int, quiz_id: int, at: datetime) -> Quiz:
    """Note when a quiz was finished; the first time counts. Raises NotFound, ValueError for a naive `at`."""
    row = _mine(session, QuizRow, learner_id, quiz_id)
    row.finished_at = row.finished_at or as_utc(at)
    return _quiz(_written(session, row))


def _by_request(session: Session, table: type[Row], request_id: str) -> Row | None:
    return session.scalar(select(table).where(table.request_id == request_id))


def _mine(session: Session, table: type[Row], learner_id: int, row_id: int) -> Row:
    mine: list[ColumnElement[bool]] = [table.learner_id == learner_id, table.id == row_id]
    statement = select(table).where(*mine).with_for_update()
    row = session.scalar(statement.execution_options(populate_existing=True))
    if row is None:
        what = "Answer" if table is QuizAttemptRow else "Quiz"
        raise NotFound(f"{what} {row_id} doesn't exist (any more).")
    return row


def _written(session: Session, row: Row) -> Row:
    session.flush()
    session.refresh(row)
    return row


def _check_verdict(verdict: str) -> None:
    if verdict not in VERDICTS:
        raise ValueError(f"unknown verdict {verdict!r}; one of {', '.join(VERDICTS)}")


def _attempt(row: QuizAttemptRow) -> Attempt:
    return Attempt(**{field.name: getattr(row, field.name) for field in fields(Attempt)})


def _quiz(row: QuizRow) -> Quiz:
    return Quiz(**{field.name: getattr(row, field.name) for field in fields(Quiz)})
