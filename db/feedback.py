"""Ratings and corrections, and what became of each. Checking and using them is left to `finetune`.

    queued -> rejected (why) | in_dataset N -> in_adapter M        any -> withdrawn, or deleted

Whoever takes feedback back, one by one, with its conversation or by opting out, marks the data sets that hold it, and
through them the adapters trained on it: see `db.registry`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Select, or_, select, update
from sqlalchemy.orm import Session

from db.errors import DatabaseError, NotFound
from db.models import (
    FATES,
    RATINGS,
    REASONS,
    AdapterRow,
    ConversationRow,
    FeedbackRequestRow,
    FeedbackRow,
    LearnerRow,
    TurnRow,
)
from db.registry import mark_withdrawn
from db.statements import batches, check_request_id, insert_for, one_at_a_time
from db.types import as_utc, utc_now

OPTED_OUT = "you opted out of training"
CONVERSATION_DELETED = "its conversation was deleted"


@dataclass(frozen=True, slots=True)
class Feedback:
    """One learner's word on one answer. `request_id` is the latest request that wrote it, `adapter` the name of
    the adapter that was trained on it."""

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
    reason: str | None = None
    dataset_id: int | None = None
    adapter_id: int | None = None
    adapter: str | None = None


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
    reason: str | None = None,
    request_id: str | None = None,
) -> Feedback:
    """Store feedback: one row a learner and turn, so a later call changes it; without a turn always a new row.

    On a change, None keeps the old correction, comment or reason and "" removes it; whatever changed is queued
    again. `messages` default to the turn's. A known `request_id` returns what it wrote and changes nothing.
    Raises ValueError for an unknown rating or reason, NotFound if the turn isn't this learner's, DatabaseError if
    the request is another learner's.
    """
    if rating not in RATINGS:
        raise ValueError(f"unknown rating {rating!r}; one of {', '.join(RATINGS)}")
    if reason and reason not in REASONS:
        raise ValueError(f"unknown reason {reason!r}; one of {', '.join(REASONS)}")
    check_request_id(request_id)
    one_at_a_time(session, request_id)
    known = None if request_id is None else session.get(FeedbackRequestRow, request_id)
    if known is not None:
        row = session.get_one(FeedbackRow, known.feedback_id)
        if row.learner_id != learner_id:
            raise DatabaseError("This request_id was used before. Please send the feedback with a new one.")
        return _feedback(session, row)
    turn = None if turn_id is None else session.get(TurnRow, turn_id)
    if turn_id is not None and (turn is None or turn.learner_id != learner_id):
        raise NotFound(f"Turn {turn_id} doesn't exist (any more).")
    if messages is None:
        messages = [] if turn is None else turn.messages
    now = utc_now()
    fate = _first_fate(session, learner_id, turn)
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
            reason=reason or None,
            created_at=now,
            **values,
            **fate,
        )
        .on_conflict_do_nothing(index_elements=["learner_id", "turn_id"])
        .returning(FeedbackRow.id)
    )
    if inserted is not None:
        row = session.get_one(FeedbackRow, inserted)
    else:
        mine = FeedbackRow.learner_id == learner_id, FeedbackRow.turn_id == turn_id
        row = session.scalars(select(FeedbackRow).where(*mine).with_for_update()).one()
        for name, value in (("correction", correction), ("comment", comment), ("reason", reason)):
            if value is not None:
                values[name] = value or None
        if any(getattr(row, name) != values.get(name, getattr(row, name)) for name in _JUDGED):
            values |= fate
        for name, value in values.items():
            setattr(row, name, value)
    if request_id is not None:
        session.add(FeedbackRequestRow(request_id=request_id, feedback_id=row.id))
    session.flush()
    session.refresh(row)
    return _feedback(session, row)


_JUDGED = ("rating", "correction", "comment", "reason")


def list_feedback(
    session: Session, *, learner_id: int | None = None, since: datetime | None = None
) -> list[Feedback]:
    """Feedback written or changed since then, the latest first; withdrawn ones, which nobody may train on, too.

    Raises ValueError for a naive `since`.
    """
    statement = _SELECT.order_by(FeedbackRow.updated_at.desc(), FeedbackRow.id.desc())
    if learner_id is not None:
        statement = statement.where(FeedbackRow.learner_id == learner_id)
    if since is not None:
        statement = statement.where(FeedbackRow.updated_at >= as_utc(since))
    return [_made(row, adapter) for row, adapter in session.execute(statement)]


def feedback_for_turn(session: Session, learner_id: int, turn_id: int) -> Feedback | None:
    """What this learner said about this turn, or None."""
    mine = FeedbackRow.learner_id == learner_id, FeedbackRow.turn_id == turn_id
    found = session.execute(_SELECT.where(*mine)).first()
    return None if found is None else _made(*found)


def set_fate(
    session: Session,
    feedback_ids: Iterable[int],
    fate: str,
    *,
    reason: str | None = None,
    dataset_id: int | None = None,
    adapter_id: int | None = None,
) -> int:
    """Note what became of these; the number of rows changed.

    What was withdrawn stays so. `in_adapter` goes only to what is in a data set: what was said anew meanwhile is
    queued and waits for the next job. Ids that are None keep what the row has, except that `rejected` and `queued`
    name neither. Raises ValueError for an unknown fate.
    """
    if fate not in FATES:
        raise ValueError(f"unknown fate {fate!r}; one of {', '.join(FATES)}")
    values: dict[str, Any] = {"fate": fate, "fate_reason": reason}
    if dataset_id is not None or fate in ("queued", "rejected"):
        values["dataset_id"] = dataset_id
    if adapter_id is not None or fate != "in_adapter":
        values["adapter_id"] = adapter_id
    before = ("in_dataset", "in_adapter") if fate == "in_adapter" else FATES[:-1]
    ids = sorted(set(feedback_ids))
    if fate == "withdrawn":
        return _withdraw(session, FeedbackRow.id.in_(ids), reason)
    changed = 0
    for batch in batches(ids):
        fits = FeedbackRow.id.in_(batch), FeedbackRow.fate.in_(before)
        statement = update(FeedbackRow).where(*fits).values(values).returning(FeedbackRow.id)
        changed += len(session.scalars(statement).all())
    session.expire_all()
    return changed


def delete_feedback(session: Session, feedback_id: int) -> bool:
    """Delete one feedback for good and mark what was made from it; False if there was none."""
    row = session.scalar(select(FeedbackRow).where(FeedbackRow.id == feedback_id).with_for_update())
    if row is not None:
        mark_withdrawn(session, [row.id])
        session.delete(row)
        session.flush()
    return row is not None


def withdraw_conversation(session: Session, conversation_id: int) -> int:
    """Take back what was said about a conversation that its learner deletes; the number of rows."""
    turns = select(TurnRow.id).where(TurnRow.conversation_id == conversation_id)
    return _withdraw(session, FeedbackRow.turn_id.in_(turns), CONVERSATION_DELETED)


def withdraw_all(session: Session, learner_id: int) -> int:
    """Mark what was made from this learner's feedback, before all of it is deleted; the number of rows."""
    return _withdraw(session, FeedbackRow.learner_id == learner_id, OPTED_OUT)


def opted_out(session: Session, learner_id: int) -> bool:
    """Whether this learner's feedback may not be trained on."""
    return bool(session.scalar(_opt_out_of(learner_id)))


def set_opt_out(session: Session, learner_id: int, out: bool) -> int:
    """Keep this learner's feedback out of training from now on, or let it in again; the number of rows concerned.

    Feedback that was withdrawn with its conversation stays withdrawn.
    """
    change = update(LearnerRow).where(LearnerRow.id == learner_id).values(training_opt_out=out)
    session.execute(change)
    mine = FeedbackRow.learner_id == learner_id
    if out:
        return _withdraw(session, mine, OPTED_OUT)
    held = FeedbackRow.fate == "withdrawn", FeedbackRow.fate_reason == OPTED_OUT
    ids = list(session.scalars(select(FeedbackRow.id).where(mine, *held).with_for_update()))
    mark_withdrawn(session, ids, back=True)
    for batch in batches(ids):
        statement = update(FeedbackRow).where(FeedbackRow.id.in_(batch))
        session.execute(statement.values(fate="queued", fate_reason=None))
    session.expire_all()
    return len(ids)


def _withdraw(session: Session, which: Any, reason: str | None) -> int:
    # Who opts in again must not get back what went with its conversation meanwhile.
    fits = which, or_(FeedbackRow.fate != "withdrawn", FeedbackRow.fate_reason == OPTED_OUT)
    ids = list(session.scalars(select(FeedbackRow.id).where(*fits).with_for_update()))
    mark_withdrawn(session, ids)
    for batch in batches(ids):
        statement = update(FeedbackRow).where(FeedbackRow.id.in_(batch))
        session.execute(statement.values(fate="withdrawn", fate_reason=reason))
    session.expire_all()
    return len(ids)


def _opt_out_of(learner_id: int) -> Select[bool]:
    return select(LearnerRow.training_opt_out).where(LearnerRow.id == learner_id)


def _first_fate(session: Session, learner_id: int, turn: TurnRow | None) -> dict[str, Any]:
    """What new or changed feedback begins with: queued, unless it may not be used."""
    fate: dict[str, Any] = {"fate": "queued", "fate_reason": None, "dataset_id": None, "adapter_id": None}
    conversation = None if turn is None else session.get(ConversationRow, turn.conversation_id)
    # Locked, so that whoever opts out meanwhile waits and then finds what is written here.
    if session.scalar(_opt_out_of(learner_id).with_for_update(read=True)):
        fate |= {"fate": "withdrawn", "fate_reason": OPTED_OUT}
    elif conversation is not None and conversation.deleted_at is not None:
        fate |= {"fate": "withdrawn", "fate_reason": CONVERSATION_DELETED}
    return fate


_SELECT = select(FeedbackRow, AdapterRow.name).outerjoin(AdapterRow, AdapterRow.id == FeedbackRow.adapter_id)


def _feedback(session: Session, row: FeedbackRow) -> Feedback:
    adapter = None if row.adapter_id is None else session.get(AdapterRow, row.adapter_id)
    return _made(row, None if adapter is None else adapter.name)


def _made(row: FeedbackRow, adapter: str | None) -> Feedback:
    values = {field.name: getattr(row, field.name) for field in fields(Feedback) if field.name != "adapter"}
    return Feedback(**values, adapter=adapter)
