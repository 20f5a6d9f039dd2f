"""Feedback: one row a learner and turn, a repeated request changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from db import conversations, feedback, study
from db.conversations import Turn
from db.errors import DatabaseError, NotFound
from db.feedback import Feedback
from db.session import Database

SENT = [{"role": "user", "content": "What is loss?"}]
ASKED: dict[str, Any] = {"question": "What is loss?", "answer": "An error."}


@pytest.fixture
def turn(database: Database) -> Turn:
    with database.session() as session:
        conversation = conversations.create_conversation(session, study.learner(session, "me").id)
        started = conversations.start_turn(session, conversation.id, "What is loss?")
        return conversations.complete_turn(
            session, started.id, status="answered", query="", messages=SENT, draft="", answer="An error.",
            sentences=[], citations=[], passages=[], follow_ups=[], timings_ms={}, tokens={}, model={},
        )  # fmt: skip


def _save(database: Database, learner_id: int, **more: Any) -> Feedback:
    with database.session() as session:
        return feedback.save_feedback(session, learner_id, **(ASKED | more))


def test_a_later_word_on_the_same_turn_changes_the_first(database: Database, turn: Turn) -> None:
    me = turn.learner_id
    first = _save(database, me, rating="up", turn_id=turn.id, correction="A measure of error.", comment="ok")
    assert (first.fate, first.messages, first.correction) == ("queued", SENT, "A measure of error.")
    second = _save(database, me, rating="down", turn_id=turn.id)
    assert (second.id, second.created_at, second.rating) == (first.id, first.created_at, "down")
    assert (second.correction, second.comment) == ("A measure of error.", "ok")
    third = _save(database, me, rating="down", turn_id=turn.id, correction="", comment="too long")
    assert (third.id, third.correction, third.comment) == (first.id, None, "too long")
    with database.session(readonly=True) as session:
        assert feedback.list_feedback(session) == [third]
        assert feedback.feedback_for_turn(session, me, turn.id) == third
        assert feedback.feedback_for_turn(session, me + 1, turn.id) is None


def test_only_a_real_change_is_queued_again(database: Database, turn: Turn) -> None:
    saved = _save(database, turn.learner_id, rating="up", turn_id=turn.id)
    with database.session() as session:
        session.execute(text("UPDATE feedback SET fate = 'rejected', fate_reason = 'no passage says so'"))
    same = _save(database, turn.learner_id, rating="up", turn_id=turn.id)
    assert (same.fate, same.fate_reason) == ("rejected", "no passage says so")
    changed = _save(database, turn.learner_id, rating="up", turn_id=turn.id, correction="Better.")
    assert (changed.id, changed.fate, changed.fate_reason) == (saved.id, "queued", None)


def test_a_repeated_request_changes_nothing_even_after_a_newer_one(database: Database, turn: Turn) -> None:
    me = turn.learner_id
    first = _save(database, me, rating="up", turn_id=turn.id, request_id="r-1")
    newer = _save(database, me, rating="down", turn_id=turn.id, request_id="r-2")
    replay = _save(database, me, rating="up", turn_id=turn.id, request_id="r-1")
    assert replay == newer
    assert (first.id, replay.rating, replay.request_id) == (newer.id, "down", "r-2")
    loose = _save(database, me, rating="up", request_id="r-3")
    assert _save(database, me, rating="down", request_id="r-3") == loose
    with database.session() as session:
        you = study.learner(session, "you").id
    with pytest.raises(DatabaseError, match="request_id"):
        _save(database, you, rating="up", request_id="r-3")


def test_feedback_without_a_turn_is_always_new_and_can_be_deleted(database: Database, turn: Turn) -> None:
    me = turn.learner_id
    one = _save(database, me, rating="down", correction="🙂 \0 مرحبا", messages=SENT)
    two = _save(database, me, rating="down", request_id="r-1")
    assert (one.correction, one.messages, two.messages) == ("🙂 \ufffd مرحبا", SENT, [])
    with database.session() as session:
        assert feedback.list_feedback(session, learner_id=me) == [two, one]
        assert feedback.list_feedback(session, learner_id=me + 1) == []
        assert feedback.list_feedback(session, since=datetime.now(UTC) + timedelta(hours=1)) == []
        assert feedback.list_feedback(session, since=two.updated_at) == [two]
        assert feedback.delete_feedback(session, two.id) is True
        assert feedback.delete_feedback(session, two.id) is False
        assert feedback.list_feedback(session) == [one]


def test_wrong_input_is_refused(database: Database, turn: Turn) -> None:
    with database.session() as session:
        you = study.learner(session, "you").id
    with pytest.raises(NotFound):
        _save(database, you, rating="up", turn_id=turn.id)
    with pytest.raises(NotFound):
        _save(database, turn.learner_id, rating="up", turn_id=999)
    with pytest.raises(ValueError, match="rating"):
        _save(database, turn.learner_id, rating="fine")
    with pytest.raises(ValueError, match="time zone"), database.session(readonly=True) as session:
        feedback.list_feedback(session, since=datetime(2025, 1, 1))
