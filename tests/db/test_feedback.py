"""Feedback: one row a learner and turn, a repeated request changes nothing."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from db import conversations, feedback, portable, registry, study
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


def _fates(database: Database, learner_id: int) -> list[tuple[str, str | None]]:
    with database.session(readonly=True) as session:
        rows = sorted(feedback.list_feedback(session, learner_id=learner_id), key=lambda row: row.id)
    return [(row.fate, row.fate_reason) for row in rows]


def test_a_reason_is_kept_changed_and_taken_back(database: Database, turn: Turn) -> None:
    me = turn.learner_id
    first = _save(database, me, rating="down", turn_id=turn.id, reason="too_long")
    assert (first.reason, first.fate) == ("too_long", "queued")
    with database.session() as session:
        feedback.set_fate(session, [first.id], "rejected", reason="nothing says what would have been right")
    assert _save(database, me, rating="down", turn_id=turn.id).fate == "rejected"
    changed = _save(database, me, rating="down", turn_id=turn.id, reason="wrong")
    assert (changed.reason, changed.fate) == ("wrong", "queued")
    assert _save(database, me, rating="down", turn_id=turn.id, reason="").reason is None
    with pytest.raises(ValueError, match="unknown reason 'boring'"):
        _save(database, me, rating="down", turn_id=turn.id, reason="boring")


def test_each_has_a_fate_that_names_where_it_went(database: Database, turn: Turn) -> None:
    me = turn.learner_id
    used, left, said_anew = (_save(database, me, rating="up", question=f"Q{i}") for i in range(3))
    rated = _save(database, me, rating="up", turn_id=turn.id)
    with database.session() as session:
        data = registry.put_dataset(session, "d", "/d", {}, 0, [used.id, rated.id])
        adapter = registry.register_adapter(
            session,
            name="v1",
            path="/v1",
            base_model="m",
            sha256="aa",
            manifest={},
            report={},
            dataset_id=data.id,
        )
        assert feedback.set_fate(session, [used.id, rated.id], "in_dataset", dataset_id=data.id) == 2
        assert feedback.set_fate(session, [left.id], "rejected", reason="it names a person") == 1
    _save(database, me, rating="down", turn_id=turn.id)  # while the job trains
    with database.session() as session:
        assert feedback.set_fate(session, [used.id, rated.id], "in_adapter", adapter_id=adapter.id) == 1
        with pytest.raises(ValueError, match="unknown fate"):
            feedback.set_fate(session, [used.id], "learned")
    with database.session(readonly=True) as session:
        found = {row.id: row for row in feedback.list_feedback(session)}
    told = {number: (row.fate, row.fate_reason, row.dataset_id, row.adapter) for number, row in found.items()}
    assert told == {
        used.id: ("in_adapter", None, data.id, "v1"),
        left.id: ("rejected", "it names a person", None, None),
        said_anew.id: ("queued", None, None, None),
        rated.id: ("queued", None, None, None),
    }
    assert found[used.id].adapter_id == adapter.id


def test_what_was_withdrawn_stays_so_whatever_a_job_says(database: Database, turn: Turn) -> None:
    saved = _save(database, turn.learner_id, rating="up", turn_id=turn.id)
    with database.session() as session:
        conversations.delete_conversation(session, turn.conversation_id)
    for fate in ("queued", "in_dataset", "in_adapter", "rejected"):
        with database.session() as session:
            assert feedback.set_fate(session, [saved.id], fate) == 0
    assert _fates(database, turn.learner_id) == [("withdrawn", feedback.CONVERSATION_DELETED)]
    _save(database, turn.learner_id, rating="down", turn_id=turn.id)  # from a tab that was left open
    assert _fates(database, turn.learner_id) == [("withdrawn", feedback.CONVERSATION_DELETED)]


def test_opting_out_holds_for_what_was_and_what_will_be_said(database: Database, turn: Turn) -> None:
    me = turn.learner_id
    with database.session() as session:
        other = study.learner(session, "somebody else").id
    _save(database, me, rating="up", turn_id=turn.id)
    _save(database, me, rating="up")
    _save(database, other, rating="up")
    with database.session() as session:
        assert feedback.opted_out(session, me) is False
        assert feedback.set_opt_out(session, me, True) == 2
        assert (feedback.opted_out(session, me), feedback.opted_out(session, other)) == (True, False)
    assert _save(database, me, rating="down").fate == "withdrawn"
    assert _fates(database, me) == [("withdrawn", feedback.OPTED_OUT)] * 3
    assert _fates(database, other) == [("queued", None)]
    with database.session() as session:
        conversations.delete_conversation(session, turn.conversation_id)
        assert feedback.set_opt_out(session, me, False) == 2
        assert feedback.opted_out(session, me) is False
    assert _fates(database, me) == [("withdrawn", feedback.CONVERSATION_DELETED), *[("queued", None)] * 2]


def test_what_is_said_while_somebody_opts_out_is_kept_out(database: Database) -> None:
    with database.session() as session:
        me = study.learner(session, "me").id
    said, go = threading.Event(), threading.Event()

    def speak() -> None:
        with database.session() as session:
            feedback.save_feedback(session, me, **ASKED, rating="up")
            said.set()
            go.wait(1)  # SQLite lets nobody else write meanwhile

    def leave() -> None:
        said.wait(10)
        with database.session() as session:
            feedback.set_opt_out(session, me, True)

    threads = [threading.Thread(target=speak), threading.Thread(target=leave)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert _fates(database, me) == [("withdrawn", feedback.OPTED_OUT)]


def test_what_is_deleted_while_a_data_set_is_registered_is_marked_in_it(
    database: Database, turn: Turn
) -> None:
    saved = _save(database, turn.learner_id, rating="up", turn_id=turn.id)
    put, go = threading.Event(), threading.Event()

    def register() -> None:
        with database.session() as session:
            registry.put_dataset(session, "d", "/d", {}, 0, [saved.id])
            put.set()
            go.wait(1)

    def delete() -> None:
        put.wait(10)
        with database.session() as session:
            feedback.delete_feedback(session, saved.id)

    threads = [threading.Thread(target=register), threading.Thread(target=delete)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with database.session(readonly=True) as session:
        (data,) = registry.list_datasets(session)
        assert feedback.list_feedback(session) == []
    assert data.withdrawn == 1


def test_deleting_all_of_a_learners_data_leaves_the_marks(database: Database, turn: Turn) -> None:
    me = turn.learner_id
    saved = _save(database, me, rating="up", turn_id=turn.id)
    with database.session() as session:
        registry.put_dataset(session, "d", "/d", {}, 0, [saved.id])
        feedback.set_opt_out(session, me, True)
        feedback.set_opt_out(session, me, False)
    with database.session() as session:
        exported = portable.export_learner(session, me)
        portable.delete_learner_data(session, me)
        assert [data.withdrawn for data in registry.list_datasets(session)] == [1]
        portable.import_learner(session, me, exported)
        assert [data.withdrawn for data in registry.list_datasets(session)] == [1]
        assert [row.id > saved.id for row in feedback.list_feedback(session)] == [True]  # nobody gets its id


@pytest.mark.parametrize(
    ("fate", "out", "then"),
    [
        ("in_adapter", False, ("queued", None)),
        ("rejected", False, ("rejected", "because")),
        ("withdrawn", False, ("withdrawn", "because")),
        ("in_dataset", True, ("withdrawn", feedback.OPTED_OUT)),
    ],
)
def test_an_import_claims_no_data_set_of_another_home(
    database: Database, turn: Turn, fate: str, out: bool, then: tuple[str, str | None]
) -> None:
    me = turn.learner_id
    _save(database, me, rating="down", turn_id=turn.id, reason="off_topic")
    with database.session() as session:
        session.execute(text("UPDATE feedback SET fate = :fate, fate_reason = 'because'"), {"fate": fate})
        exported = portable.export_learner(session, me)
        portable.delete_learner_data(session, me)
        feedback.set_opt_out(session, me, out)
        portable.import_learner(session, me, exported)
        (row,) = feedback.list_feedback(session)
    assert (row.fate, row.fate_reason, row.reason) == (*then, "off_topic")
    exported["feedback"][0]["reason"] = "boring"
    with (
        database.session() as session,
        pytest.raises(portable.PortableError, match="reason: 'boring' is not one of"),
    ):
        portable.import_learner(session, me, exported)
