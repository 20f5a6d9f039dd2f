"""Cards with their memory state, and the log of every rating. When a card is due is decided by the tutor.

A review keeps the memory from before it, so the latest one can be taken back exactly. Reviews go with their card.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session

from db.errors import DatabaseError, NotFound
from db.models import CARD_ORIGINS, QuizAttemptRow, ReviewCardRow, ReviewLogRow, StudyEventRow, TurnRow
from db.statements import check_request_id, check_seconds, insert_for, one_at_a_time
from db.study import REVIEW, record_event
from db.types import as_utc, utc_now


@dataclass(frozen=True, slots=True)
class Memory:
    """What FSRS knows of a card: `state` 1 learning, 2 review, 3 relearning; `stability` in days, `difficulty` 1-10."""

    state: int
    step: int | None
    stability: float | None
    difficulty: float | None
    due: datetime
    last_review: datetime | None


@dataclass(frozen=True, slots=True)
class Card:
    """Something to recall. `card_key` names it among the learner's cards; `updated_at` is when its text, or
    whether it is suspended, last changed."""

    id: int
    learner_id: int
    card_key: str
    origin: str
    page: str | None
    turn_id: int | None
    concepts: list[str]
    front: str
    back: str
    memory: Memory
    lapses: int
    suspended: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Review:
    """One rating of one card, 1 again to 4 easy. `before` is the card's memory and lapses as they were, as JSON."""

    id: int
    card_id: int
    attempt_id: int | None
    request_id: str | None
    rating: int
    seconds: float
    before: dict[str, Any]
    reviewed_at: datetime


def put_card(
    session: Session,
    learner_id: int,
    *,
    card_key: str,
    origin: str,
    front: str,
    back: str,
    page: str | None = None,
    turn_id: int | None = None,
    concepts: Sequence[str] = (),
    due: datetime,
    at: datetime,
) -> Card:
    """Make a card, or give the one of this key the new text and concepts; its memory stays.

    The row stays locked until the transaction ends. Raises ValueError for an unknown origin, an empty key or a
    naive time, NotFound if the turn isn't this learner's.
    """
    if origin not in CARD_ORIGINS:
        raise ValueError(f"unknown origin {origin!r}; one of {', '.join(CARD_ORIGINS)}")
    if not card_key:
        raise ValueError("a card needs a key")
    if turn_id is not None:
        turn = session.get(TurnRow, turn_id)
        if turn is None or turn.learner_id != learner_id:
            raise NotFound(f"Turn {turn_id} doesn't exist (any more).")
    text = {"front": front, "back": back, "concepts": list(concepts), "updated_at": as_utc(at)}
    insertion = insert_for(session, ReviewCardRow).values(
        learner_id=learner_id,
        card_key=card_key,
        origin=origin,
        page=page,
        turn_id=turn_id,
        state=1,
        step=0,
        due=as_utc(due),
        created_at=as_utc(at),
        **text,
    )
    card_id = session.scalar(
        insertion.on_conflict_do_update(index_elements=["learner_id", "card_key"], set_=text).returning(
            ReviewCardRow.id
        )
    )
    assert card_id is not None
    return _card(session.get_one(ReviewCardRow, card_id, populate_existing=True))


def get_card(session: Session, learner_id: int, card_id: int, *, lock: bool = False) -> Card | None:
    """This learner's card, or None. `lock` keeps it from others until the transaction ends: for what reads the
    memory in order to write a new one."""
    if lock:
        return _card(row) if (row := _lock(session, learner_id, card_id)) else None
    row = session.scalar(_cards(learner_id).where(ReviewCardRow.id == card_id))
    return None if row is None else _card(row)


def find_card(session: Session, learner_id: int, card_key: str) -> Card | None:
    """This learner's card of this key, or None."""
    row = session.scalar(_cards(learner_id).where(ReviewCardRow.card_key == card_key))
    return None if row is None else _card(row)


def cards(session: Session, learner_id: int, *, page: str | None = None) -> list[Card]:
    """All cards of a learner, or those of a page, suspended ones too, the first due first."""
    statement = _cards(learner_id)
    if page is not None:
        statement = statement.where(ReviewCardRow.page == page)
    return [_card(row) for row in session.scalars(statement.order_by(ReviewCardRow.due, ReviewCardRow.id))]


def due_cards(session: Session, learner_id: int, now: datetime, limit: int | None = None) -> list[Card]:
    """The cards due at `now` and not suspended, the longest overdue first. Raises ValueError for a naive `now`."""
    statement = _due(_cards(learner_id), now).order_by(ReviewCardRow.due, ReviewCardRow.id).limit(limit)
    return [_card(row) for row in session.scalars(statement)]


def count_due(session: Session, learner_id: int, now: datetime) -> int:
    """How many cards are due at `now` and not suspended. Raises ValueError for a naive `now`."""
    count = select(func.count(ReviewCardRow.id)).where(ReviewCardRow.learner_id == learner_id)
    return session.scalars(_due(count, now)).one()


def save_review(
    session: Session,
    learner_id: int,
    card_id: int,
    *,
    rating: int,
    memory: Memory,
    lapsed: bool,
    seconds: float = 0.0,
    at: datetime,
    attempt_id: int | None = None,
    request_id: str | None = None,
) -> Review:
    """Store a rating and the memory it led to. A known `request_id`, or an attempt that this card was already
    rated by, returns the first review and writes nothing.

    Raises ValueError for a rating outside 1 to 4, negative seconds or a naive time; NotFound if the card or the
    attempt isn't this learner's; DatabaseError if the request is another learner's.
    """
    if rating not in (1, 2, 3, 4):
        raise ValueError(f"a rating is 1, 2, 3 or 4, not {rating}")
    check_seconds(seconds)
    check_request_id(request_id)
    one_at_a_time(session, request_id)
    log = ReviewLogRow
    if request_id is not None:
        known = session.scalar(select(log).where(log.request_id == request_id))
        if known is not None:
            if known.learner_id != learner_id:
                raise DatabaseError("This request_id was used before. Please send the rating with a new one.")
            return _review(known)
    card = _locked(session, learner_id, card_id)
    if attempt_id is not None:
        attempt = session.get(QuizAttemptRow, attempt_id)
        if attempt is None or attempt.learner_id != learner_id:
            raise NotFound(f"Answer {attempt_id} doesn't exist (any more).")
        known = session.scalar(select(log).where(log.attempt_id == attempt_id, log.card_id == card_id))
        if known is not None:
            return _review(known)
    row = ReviewLogRow(
        card_id=card_id,
        learner_id=learner_id,
        attempt_id=attempt_id,
        request_id=request_id,
        rating=rating,
        seconds=float(seconds),
        before=_before(card),
        reviewed_at=as_utc(at),
    )
    session.add(row)
    _remember(card, memory, card.lapses + int(lapsed))
    session.flush()
    record_event(session, learner_id, REVIEW, page=card.page, ref=str(row.id), seconds=seconds, at=at)
    session.refresh(row)
    return _review(row)


def find_review_by_request(session: Session, learner_id: int, request_id: str) -> Review | None:
    """The review of this learner that the request wrote, or None."""
    mine = ReviewLogRow.learner_id == learner_id, ReviewLogRow.request_id == request_id
    row = session.scalar(select(ReviewLogRow).where(*mine))
    return None if row is None else _review(row)


def reviews(
    session: Session,
    learner_id: int,
    *,
    card_id: int | None = None,
    since: datetime | None = None,
    limit: int | None = None,
) -> list[Review]:
    """A learner's reviews, of one card or all, newest first. Raises ValueError for a naive `since`."""
    statement = select(ReviewLogRow).where(ReviewLogRow.learner_id == learner_id)
    if card_id is not None:
        statement = statement.where(ReviewLogRow.card_id == card_id)
    if since is not None:
        statement = statement.where(ReviewLogRow.reviewed_at >= as_utc(since))
    statement = statement.order_by(ReviewLogRow.reviewed_at.desc(), ReviewLogRow.id.desc()).limit(limit)
    return [_review(row) for row in session.scalars(statement)]


def rerate_attempt(session: Session, learner_id: int, attempt_id: int, rating: int) -> list[int]:
    """Give the reviews that came with an attempt another rating; return the ids of their cards.

    The memory stays: replay it with `set_memory`. Raises ValueError for a rating outside 1 to 4.
    """
    if rating not in (1, 2, 3, 4):
        raise ValueError(f"a rating is 1, 2, 3 or 4, not {rating}")
    mine = ReviewLogRow.learner_id == learner_id, ReviewLogRow.attempt_id == attempt_id
    statement = update(ReviewLogRow).where(*mine).values(rating=rating).returning(ReviewLogRow.card_id)
    return sorted(session.scalars(statement))


def undo_review(session: Session, learner_id: int) -> Card | None:
    """Take back the review that was written last: the card is as it was before. None if there is none.

    An attempt that the review came from stays.
    """
    mine = select(ReviewLogRow).where(ReviewLogRow.learner_id == learner_id)
    row = session.scalar(mine.order_by(ReviewLogRow.id.desc()).limit(1))
    if row is None:
        return None
    card = _locked(session, learner_id, row.card_id)
    memory, lapses = _parse_before(row.before)
    _remember(card, memory, lapses)
    _drop(session, row)
    session.refresh(card)
    return _card(card)


def delete_review(session: Session, learner_id: int, review_id: int) -> int:
    """Delete one review with its study event and return its card's id; replay what is left with `set_memory`.

    Raises NotFound.
    """
    mine = ReviewLogRow.learner_id == learner_id, ReviewLogRow.id == review_id
    row = session.scalar(select(ReviewLogRow).where(*mine))
    if row is None:
        raise NotFound(f"Review {review_id} doesn't exist (any more).")
    card_id = row.card_id
    _drop(session, row)
    return card_id


def set_memory(session: Session, learner_id: int, card_id: int, memory: Memory, lapses: int) -> Card:
    """Replace what is known of a card, after its log changed. Raises NotFound."""
    card = _locked(session, learner_id, card_id)
    _remember(card, memory, lapses)
    return _written(session, card)


def suspend_card(session: Session, learner_id: int, card_id: int, suspended: bool) -> Card:
    """Take a card out of the queue, or let it back in. Raises NotFound."""
    card = _locked(session, learner_id, card_id)
    card.suspended, card.updated_at = suspended, utc_now()
    return _written(session, card)


def edit_card(session: Session, learner_id: int, card_id: int, *, front: str, back: str) -> Card:
    """Change a card's text; its memory stays. Raises NotFound."""
    card = _locked(session, learner_id, card_id)
    card.front, card.back, card.updated_at = front, back, utc_now()
    return _written(session, card)


def delete_card(session: Session, learner_id: int, card_id: int) -> None:
    """Delete a card with its reviews for good; the time they took stays in the study record. Raises NotFound."""
    session.delete(_locked(session, learner_id, card_id))
    session.flush()


def _cards(learner_id: int) -> Select[ReviewCardRow]:
    return select(ReviewCardRow).where(ReviewCardRow.learner_id == learner_id)


def _due(statement: Any, now: datetime) -> Any:
    return statement.where(ReviewCardRow.due <= as_utc(now), ReviewCardRow.suspended.is_(False))


def _lock(session: Session, learner_id: int, card_id: int) -> ReviewCardRow | None:
    statement = _cards(learner_id).where(ReviewCardRow.id == card_id).with_for_update()
    # A rival may have changed what this session read before it got the lock.
    return session.scalar(statement.execution_options(populate_existing=True))


def _locked(session: Session, learner_id: int, card_id: int) -> ReviewCardRow:
    row = _lock(session, learner_id, card_id)
    if row is None:
        raise NotFound(f"Card {card_id} doesn't exist (any more).")
    return row


def _drop(session: Session, row: ReviewLogRow) -> None:
    event = StudyEventRow
    mine = event.learner_id == row.learner_id, event.kind == REVIEW, event.ref == str(row.id)
    session.execute(delete(event).where(*mine))
    session.delete(row)
    session.flush()


def _remember(card: ReviewCardRow, memory: Memory, lapses: int) -> None:
    for field in fields(Memory):
        setattr(card, field.name, getattr(memory, field.name))
    card.lapses = lapses


def _before(card: ReviewCardRow) -> dict[str, Any]:
    values = {field.name: getattr(card, field.name) for field in fields(Memory)}
    times = {name: at.isoformat() for name, at in values.items() if isinstance(at, datetime)}
    return values | times | {"lapses": card.lapses}


def _parse_before(before: dict[str, Any]) -> tuple[Memory, int]:
    values = dict(before)
    lapses = int(values.pop("lapses"))
    for name in ("due", "last_review"):
        if values[name] is not None:
            values[name] = datetime.fromisoformat(values[name])
    return Memory(**values), lapses


def _written(session: Session, card: ReviewCardRow) -> Card:
    session.flush()
    session.refresh(card)
    return _card(card)


def _card(row: ReviewCardRow) -> Card:
    memory = Memory(**{field.name: getattr(row, field.name) for field in fields(Memory)})
    values = {field.name: getattr(row, field.name) for field in fields(Card) if field.name != "memory"}
    return Card(memory=memory, **values)


def _review(row: ReviewLogRow) -> Review:
    return Review(**{field.name: getattr(row, field.name) for field in fields(Review)})
