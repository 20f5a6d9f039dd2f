"""Conversations and their turns: exactly what was asked, sent to the model, drafted and shown.

A turn is stored as `interrupted` when its question arrives and completed once when the answer ended, so a killed
process leaves the question and says so. Deleting a conversation hides it; its rows stay for the study record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Select, exists, func, select, update
from sqlalchemy.orm import Session

from db.errors import DatabaseError, NotFound
from db.feedback import withdraw_conversation
from db.models import TURN_STATUSES, ConversationRow, TurnRow
from db.statements import check_request_id, one_at_a_time
from db.types import as_utc, utc_now

TITLE_CHARS = 80


@dataclass(frozen=True, slots=True)
class Conversation:
    """A learner's conversation; `page` is the course page it was opened from."""

    id: int
    learner_id: int
    title: str
    page: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and what became of it. `replaces` is the turn that this one retries or edits; `socratic` is
    the exchange before its answer, where there was one."""

    id: int
    conversation_id: int
    learner_id: int
    request_id: str | None
    ordinal: int
    question: str
    query: str
    status: str
    messages: list[dict[str, Any]]
    draft: str
    answer: str
    sentences: list[dict[str, Any]]
    citations: list[dict[str, Any]]
    passages: list[dict[str, Any]]
    follow_ups: list[str]
    timings_ms: dict[str, Any]
    tokens: dict[str, Any]
    model: dict[str, Any]
    error: str | None
    replaces: int | None
    created_at: datetime
    completed_at: datetime | None
    socratic: dict[str, Any] | None


def create_conversation(
    session: Session, learner_id: int, *, title: str = "", page: str | None = None
) -> Conversation:
    """Start a conversation. Without a title, its first question becomes the title."""
    now = utc_now()
    row = ConversationRow(learner_id=learner_id, title=title, page=page, created_at=now, updated_at=now)
    session.add(row)
    session.flush()
    session.refresh(row)
    return _conversation(row)


def get_conversation(session: Session, conversation_id: int) -> Conversation | None:
    """The conversation, or None if there is none or it was deleted."""
    row = session.scalar(_live().where(ConversationRow.id == conversation_id))
    return None if row is None else _conversation(row)


def list_conversations(
    session: Session, learner_id: int, limit: int = 50, *, include_empty: bool = False
) -> list[Conversation]:
    """A learner's conversations, the latest used first; those without a turn only if `include_empty`."""
    statement = _live().where(ConversationRow.learner_id == learner_id)
    if not include_empty:
        statement = statement.where(exists().where(TurnRow.conversation_id == ConversationRow.id))
    statement = statement.order_by(ConversationRow.updated_at.desc(), ConversationRow.id.desc()).limit(limit)
    return [_conversation(row) for row in session.scalars(statement)]


def rename_conversation(session: Session, conversation_id: int, title: str) -> Conversation:
    """Set the title. Raises NotFound."""
    row = _locked(session, conversation_id)
    row.title = title
    session.flush()
    session.refresh(row)
    return _conversation(row)


def delete_conversation(session: Session, conversation_id: int) -> None:
    """Hide a conversation and its turns from every list, and take back what was said about it. Raises NotFound."""
    _locked(session, conversation_id).deleted_at = utc_now()
    session.flush()
    withdraw_conversation(session, conversation_id)


def start_turn(
    session: Session,
    conversation_id: int,
    question: str,
    *,
    request_id: str | None = None,
    replaces: int | None = None,
) -> Turn:
    """Store a question before it is answered. A known `request_id` returns its turn and writes nothing.

    `replaces` (retry, edit) hides that turn and all after it. Raises NotFound if the conversation is gone or
    `replaces` isn't one of its turns; DatabaseError if the request belongs to another learner.
    """
    check_request_id(request_id)
    one_at_a_time(session, request_id)
    known = None if request_id is None else find_turn_by_request(session, request_id)
    if known is not None:
        owner = session.scalar(
            select(ConversationRow.learner_id).where(ConversationRow.id == conversation_id)
        )
        if owner != known.learner_id:
            raise DatabaseError("This request_id was used before. Please send the question with a new one.")
        return known
    conversation = _locked(session, conversation_id)
    in_conversation = TurnRow.conversation_id == conversation_id
    if replaces is not None:
        first = session.scalar(select(TurnRow.ordinal).where(in_conversation, TurnRow.id == replaces))
        if first is None:
            raise NotFound(f"Turn {replaces} isn't part of conversation {conversation_id}.")
        session.execute(update(TurnRow).where(in_conversation, TurnRow.ordinal >= first).values(hidden=True))
    last = session.scalar(select(func.max(TurnRow.ordinal)).where(in_conversation))
    now = utc_now()
    row = TurnRow(
        conversation_id=conversation_id,
        learner_id=conversation.learner_id,
        request_id=request_id,
        ordinal=0 if last is None else last + 1,
        replaces=replaces,
        status="interrupted",
        question=question,
        query="",
        draft="",
        answer="",
        created_at=now,
        **{name: [] for name in ("messages", "sentences", "citations", "passages", "follow_ups")},
        **{name: {} for name in ("timings_ms", "tokens", "model")},
    )
    session.add(row)
    conversation.updated_at = now
    conversation.title = conversation.title or " ".join(question.split())[:TITLE_CHARS]
    session.flush()
    session.refresh(row)
    return _turn(row)


def complete_turn(
    session: Session,
    turn_id: int,
    *,
    status: str,
    query: str,
    messages: Sequence[Mapping[str, Any]],
    draft: str,
    answer: str,
    sentences: Sequence[Mapping[str, Any]],
    citations: Sequence[Mapping[str, Any]],
    passages: Sequence[Mapping[str, Any]],
    follow_ups: Sequence[str],
    timings_ms: Mapping[str, float],
    tokens: Mapping[str, int],
    model: Mapping[str, Any],
    error: str | None = None,
) -> Turn:
    """Store how a turn ended. The first completion counts; a second one changes nothing and returns the first.

    Raises NotFound, or ValueError for an unknown status.
    """
    if status not in TURN_STATUSES:
        raise ValueError(f"unknown status {status!r}; one of {', '.join(TURN_STATUSES)}")
    row = session.scalar(select(TurnRow).where(TurnRow.id == turn_id).with_for_update())
    if row is None:
        raise NotFound(f"Turn {turn_id} doesn't exist (any more).")
    if row.completed_at is None:
        row.status, row.query, row.draft, row.answer, row.error = status, query, draft, answer, error
        row.messages = [dict(message) for message in messages]
        row.sentences = [dict(sentence) for sentence in sentences]
        row.citations = [dict(citation) for citation in citations]
        row.passages = [dict(passage) for passage in passages]
        row.follow_ups = list(follow_ups)
        row.timings_ms, row.tokens, row.model = dict(timings_ms), dict(tokens), dict(model)
        row.completed_at = utc_now()
        session.execute(
            update(ConversationRow)
            .where(ConversationRow.id == row.conversation_id)
            .values(updated_at=row.completed_at)
        )
        session.flush()
        session.refresh(row)
    return _turn(row)


def set_socratic(session: Session, turn_id: int, value: Mapping[str, Any] | None) -> Turn:
    """Store the exchange that came before the answer (hint, question, the learner's try), or None. Raises NotFound."""
    row = session.scalar(select(TurnRow).where(TurnRow.id == turn_id).with_for_update())
    if row is None:
        raise NotFound(f"Turn {turn_id} doesn't exist (any more).")
    row.socratic = None if value is None else dict(value)
    session.flush()
    session.refresh(row)
    return _turn(row)


def get_turn(session: Session, turn_id: int) -> Turn | None:
    """The turn, hidden ones too, or None."""
    row = session.get(TurnRow, turn_id)
    return None if row is None else _turn(row)


def find_turn_by_request(session: Session, request_id: str) -> Turn | None:
    """The turn that this request started, or None."""
    row = session.scalar(select(TurnRow).where(TurnRow.request_id == request_id))
    return None if row is None else _turn(row)


def turns_of(session: Session, conversation_id: int) -> list[Turn]:
    """The visible turns of a conversation, in order; none if it was deleted."""
    statement = _visible().where(TurnRow.conversation_id == conversation_id).order_by(TurnRow.ordinal)
    return [_turn(row) for row in session.scalars(statement)]


def recent_turns(session: Session, learner_id: int, limit: int, since: datetime | None = None) -> list[Turn]:
    """A learner's visible turns, newest first. Raises ValueError for a naive `since`."""
    statement = _visible().where(TurnRow.learner_id == learner_id)
    if since is not None:
        statement = statement.where(TurnRow.created_at >= as_utc(since))
    statement = statement.order_by(TurnRow.created_at.desc(), TurnRow.id.desc()).limit(limit)
    return [_turn(row) for row in session.scalars(statement)]


def _live() -> Select[ConversationRow]:
    return select(ConversationRow).where(ConversationRow.deleted_at.is_(None))


def _visible() -> Select[TurnRow]:
    live = ConversationRow.deleted_at.is_(None)
    return select(TurnRow).join(ConversationRow).where(live, TurnRow.hidden.is_(False))


def _locked(session: Session, conversation_id: int) -> ConversationRow:
    row = session.scalar(_live().where(ConversationRow.id == conversation_id).with_for_update())
    if row is None:
        raise NotFound(f"Conversation {conversation_id} doesn't exist (any more).")
    return row


def _conversation(row: ConversationRow) -> Conversation:
    return Conversation(**{field.name: getattr(row, field.name) for field in fields(Conversation)})


def _turn(row: TurnRow) -> Turn:
    return Turn(**{field.name: getattr(row, field.name) for field in fields(Turn)})
