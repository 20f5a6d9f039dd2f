"""Ratings and corrections, and what became of each. Checking and using them is left to `finetune`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.errors import DatabaseError, NotFound
from db.models import RATINGS, FeedbackRequestRow, FeedbackRow, TurnRow
from db.statements import check_request_id, insert_for, one_at_a_time
from db.types import as_utc, utc_now


@dataclass(frozen=True, slots=True)
class Feedback:
    """One learner's word on one answer. `request_id` is the latest request that wrote it."""

    id: int
    learner_id: int
    turn_id: int | None
    question: str
    answer: str
    messages: list[dict[str, Any]]
    rating: str
    correction: str | None
    comment: str | None
    fate: str
    fate_reason: str | None
    request_id: str | None
    created_at: datetime
    updated_at: datetime


def save_feedback(
    session: Session,
    learner_id: int,
    *,
    question: str,
    answer: str,
    rating: str,
    turn_id: int | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    correction: str | None = None,
    comment: str | None = None,
    request_id: str | None = None,
) -> Feedback:
    """Store feedback: one row a learner and turn, so a later call changes it; without a turn always a new row.

    On a change, None keeps the old correction or comment and "" removes it; whatever changed is queued again.
    `messages` default to the turn's. A known `request_id` returns what it wrote and changes nothing.
    Raises ValueError for an unknown rating, NotFound if the turn isn't this learner's, DatabaseError if the
    request is another learner's.
    """
    if rating not in RATINGS:
        raise ValueError(f"unknown rating {rating!r}; one of {', '.join(RATINGS)}")
    check_request_id(request_id)
    one_at_a_time(session, request_id)
    known = None if request_id is None else session.get(FeedbackRequestRow, request_id)
    if known is not None:
        row = session.get_one(FeedbackRow, known.feedback_id)
        if row.learner_id != learner_id:
            raise DatabaseError("This request_id was used before. Please send the feedback with a new one.")
        return _feedback(row)
    turn = None if turn_id is None else session.get(TurnRow, turn_id)
    if turn_id is not None and (turn is None or turn.learner_id != learner_id):
        raise NotFound(f"Turn {turn_id} doesn't exist (any more).")
    if messages is None:
        messages = [] if turn is None else turn.messages
    now = utc_now()
    values: dict[str, Any] = {"rating": rating, "request_id": request_id, "updated_at": now}
    inserted = session.scalar(
        insert_for(session, FeedbackRow)
        .values(
            learner_id=learner_id,
            turn_id=turn_id,
            question=question,
            answer=answer,
            messages=[dict(message) for message in messages],
            correction=correction or None,
            comment=comment or None,
            created_at=now,
            **values,
        )
        .on_conflict_do_nothing(index_elements=["learner_id", "turn_id"])
        .returning(FeedbackRow.id)
    )
    if inserted is not None:
        row = session.get_one(FeedbackRow, inserted)
    else:
        mine = FeedbackRow.learner_id == learner_id, FeedbackRow.turn_id == turn_id
        row = session.scalars(select(FeedbackRow).where(*mine).with_for_update()).one()
        if correction is not None:
            values["correction"] = correction or None
        if comment is not None:
            values["comment"] = comment or None
        if any(getattr(row, name) != values.get(name, getattr(row, name)) for name in _JUDGED):
            values |= {"fate": "queued", "fate_reason": None}
        for name, value in values.items():
            setattr(row, name, value)
    if request_id is not None:
        session.add(FeedbackRequestRow(request_id=request_id, feedback_id=row.id))
    session.flush()
    session.refresh(row)
    return _feedback(row)


_JUDGED = ("rating", "correction", "comment")


def list_feedback(
    session: Session, *, learner_id: int | None = None, since: datetime | None = None
) -> list[Feedback]:
    """Feedback written or changed since then, the latest first. Raises ValueError for a naive `since`."""
    statement = select(FeedbackRow).order_by(FeedbackRow.updated_at.desc(), FeedbackRow.id.desc())
    if learner_id is not None:
        statement = statement.where(FeedbackRow.learner_id == learner_id)
    if since is not None:
        statement = statement.where(FeedbackRow.updated_at >= as_utc(since))
    return [_feedback(row) for row in session.scalars(statement)]


def feedback_for_turn(session: Session, learner_id: int, turn_id: int) -> Feedback | None:
    """What this learner said about this turn, or None."""
    mine = FeedbackRow.learner_id == learner_id, FeedbackRow.turn_id == turn_id
    row = session.scalar(select(FeedbackRow).where(*mine))
    return None if row is None else _feedback(row)


def delete_feedback(session: Session, feedback_id: int) -> bool:
    """Delete one feedback for good; False if there was none."""
    row = session.get(FeedbackRow, feedback_id)
    if row is not None:
        session.delete(row)
        session.flush()
    return row is not None


def _feedback(row: FeedbackRow) -> Feedback:
    return Feedback(**{field.name: getattr(row, field.name) for field in fields(Feedback)})
