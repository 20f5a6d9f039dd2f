"""Conversations and turns: nothing asked is lost, nothing is stored twice, retries hide what they replace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from db import conversations, study
from db.conversations import Turn
from db.errors import DatabaseError, NotFound
from db.session import Database

DONE: dict[str, Any] = {
    "status": "answered",
    "query": "what is loss",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is loss? 🙂 مرحبا"},
    ],
    "draft": "Loss is an error. It is blue.",
    "answer": "Loss is an error. [1]",
    "sentences": [{"text": "Loss is an error.", "supported": True, "citations": [1]}],
    "citations": [{"n": 1, "quote": "loss", "start": 0, "end": 4}],
    "passages": [{"rank": 1, "score": 0.031746031746031744, "heading_path": ["A", "B"]}],
    "follow_ups": ["What is a gradient?"],
    "timings_ms": {"retrieve": 12.5},
    "tokens": {"prompt": 90, "completion": 12},
    "model": {"base": "m", "adapter": None, "weights_sha256": "ab"},
}


def _start(database: Database, question: str = "What is loss?", name: str = "me", **more: Any) -> Turn:
    with database.session() as session:
        conversation_id = more.pop("conversation_id", None)
        if conversation_id is None:
            conversation_id = conversations.create_conversation(session, study.learner(session, name).id).id
        return conversations.start_turn(session, conversation_id, question, **more)


def test_a_turn_is_interrupted_until_it_is_completed(database: Database) -> None:
    turn = _start(database)
    assert (turn.status, turn.completed_at, turn.ordinal, turn.answer) == ("interrupted", None, 0, "")
    with database.session() as session:
        done = conversations.complete_turn(session, turn.id, **DONE)
    assert {name: getattr(done, name) for name in DONE} == DONE
    assert done.completed_at is not None
    assert done.completed_at >= done.created_at
    with database.session() as session:  # a second completion, say by a thread that was given up
        assert conversations.complete_turn(session, turn.id, **{**DONE, "answer": "late"}) == done
    with database.session(readonly=True) as session:
        assert conversations.get_turn(session, turn.id) == done
        assert conversations.turns_of(session, done.conversation_id) == [done]


def test_the_exchange_before_an_answer_is_kept_with_its_turn(database: Database) -> None:
    turn = _start(database)
    assert turn.socratic is None
    asked = {"hint": "Think of distance. 🙂", "question": "From what?", "reply": None}
    with database.session() as session:
        assert conversations.set_socratic(session, turn.id, asked).socratic == asked
        assert conversations.complete_turn(session, turn.id, **DONE).socratic == asked
        assert conversations.set_socratic(session, turn.id, None).socratic is None
        with pytest.raises(NotFound):
            conversations.set_socratic(session, 999, asked)


@pytest.mark.parametrize("done", [False, True], ids=["while it runs", "after it ended"])
def test_a_repeated_request_returns_the_first_turn(database: Database, done: bool) -> None:
    turn = _start(database, request_id="r-1")
    if done:
        with database.session() as session:
            turn = conversations.complete_turn(session, turn.id, **DONE)
    again = _start(database, "Other words", request_id="r-1", conversation_id=turn.conversation_id)
    assert again == turn
    with database.session(readonly=True) as session:
        assert conversations.turns_of(session, turn.conversation_id) == [turn]
        assert conversations.find_turn_by_request(session, "r-1") == turn
        assert conversations.find_turn_by_request(session, "r-2") is None


def test_a_request_of_another_learner_is_not_answered(database: Database) -> None:
    turn = _start(database, request_id="r-1")
    with pytest.raises(DatabaseError, match="request_id"):
        _start(database, name="somebody else", request_id="r-1")
    with pytest.raises(ValueError, match="request_id"):
        _start(database, request_id="x" * 201, conversation_id=turn.conversation_id)


def test_retry_hides_the_turn_and_all_after_it_but_keeps_the_rows(database: Database) -> None:
    first = _start(database, "One?")
    second = _start(database, "Two?", conversation_id=first.conversation_id)
    third = _start(database, "Three?", conversation_id=first.conversation_id)
    edited = _start(database, "Two, better?", conversation_id=first.conversation_id, replaces=second.id)
    again = _start(database, "Two, best?", conversation_id=first.conversation_id, replaces=second.id)
    with database.session(readonly=True) as session:
        visible = conversations.turns_of(session, first.conversation_id)
        assert [turn.question for turn in visible] == ["One?", "Two, best?"]
        recent = conversations.recent_turns(session, first.learner_id, 10)
        assert [turn.id for turn in recent] == [again.id, first.id]
        assert conversations.recent_turns(session, first.learner_id, 1) == recent[:1]
        soon = datetime.now(UTC) + timedelta(hours=1)
        assert conversations.recent_turns(session, first.learner_id, 10, soon) == []
        assert all(conversations.get_turn(session, turn.id) for turn in (second, third, edited))
    assert (again.replaces, again.ordinal) == (second.id, 4)
    other = _start(database)
    with pytest.raises(NotFound):
        _start(database, conversation_id=other.conversation_id, replaces=second.id)


def test_conversations_are_listed_latest_first_and_deleted_softly(database: Database) -> None:
    with database.session() as session:
        me = study.learner(session, "me").id
        empty = conversations.create_conversation(session, me, page="tokens")
        old = conversations.create_conversation(session, me)
        new = conversations.create_conversation(session, me, title="Mine")
        conversations.create_conversation(session, study.learner(session, "you").id)
        conversations.start_turn(session, new.id, "B?")
        turn = conversations.start_turn(session, old.id, "What \n is\tthis? " + "x" * 100)
    with database.session(readonly=True) as session:
        assert [c.id for c in conversations.list_conversations(session, me)] == [old.id, new.id]
        assert [c.id for c in conversations.list_conversations(session, me, 1)] == [old.id]
        everything = conversations.list_conversations(session, me, include_empty=True)
        assert {c.id for c in everything} == {old.id, new.id, empty.id}
        titles = {c.id: (c.title, c.page) for c in everything}
    assert titles == {
        old.id: (("What is this? " + "x" * 100)[:80], None),
        new.id: ("Mine", None),
        empty.id: ("", "tokens"),
    }
    with database.session() as session:
        assert conversations.rename_conversation(session, new.id, "Ours \0").title == "Ours \ufffd"
        conversations.delete_conversation(session, old.id)
    with database.session() as session:
        assert [c.title for c in conversations.list_conversations(session, me)] == ["Ours \ufffd"]
        assert conversations.get_conversation(session, old.id) is None
        assert conversations.turns_of(session, old.id) == []
        assert [t.question for t in conversations.recent_turns(session, me, 9)] == ["B?"]
        assert conversations.get_turn(session, turn.id) == turn
        for write in (
            lambda: conversations.start_turn(session, old.id, "C?"),
            lambda: conversations.delete_conversation(session, old.id),
            lambda: conversations.rename_conversation(session, 999, "x"),
            lambda: conversations.complete_turn(session, 999, **DONE),
        ):
            with pytest.raises(NotFound):
                write()


def test_hostile_text_is_stored_alike_on_both_engines(database: Database) -> None:
    turn = _start(database, "a\0b \ud800 🙂 \u202eשלום")
    odd = {
        "messages": [{"role": "user", "content": "x\0y\udfff🙂", "k\0": ["\0"]}],
        "timings_ms": {"nan": float("nan"), "ok": 0.1},
        "error": "\0",
    }
    with database.session() as session:
        done = conversations.complete_turn(session, turn.id, **(DONE | odd))
    assert done.question == "a\ufffdb \ufffd 🙂 \u202eשלום"
    assert done.messages == [{"role": "user", "content": "x\ufffdy\ufffd🙂", "k\ufffd": ["\ufffd"]}]
    assert done.timings_ms == {"nan": None, "ok": 0.1}
    assert done.error == "\ufffd"


def test_an_unknown_status_is_refused(database: Database) -> None:
    turn = _start(database)
    with pytest.raises(ValueError, match="status"), database.session() as session:
        conversations.complete_turn(session, turn.id, **{**DONE, "status": "fine"})


CHILD = """
import sys
from db import conversations, study
from db.session import Database
database = Database.open(sys.argv[1])
with database.session() as session:
    conversation = conversations.create_conversation(session, study.learner(session, "me").id)
    turn = conversations.start_turn(session, conversation.id, "Is this kept?", request_id="r-9")
print(turn.id, flush=True)
with database.session() as session:
    conversations.start_turn(session, conversation.id, "Never committed")
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_leaves_an_interrupted_turn(tmp_path: Path) -> None:
    path = tmp_path / "killed.sqlite3"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    turn_id = int(child.stdout.readline())
    assert child.stdout.readline() == "writing\n"
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL
    child.communicate()
    database = Database.open(path)
    with database.session() as session:
        turn = conversations.find_turn_by_request(session, "r-9")
        assert turn is not None
        assert (turn.id, turn.question, turn.status) == (turn_id, "Is this kept?", "interrupted")
        again = conversations.start_turn(session, turn.conversation_id, "Is this kept?", request_id="r-9")
        assert again == turn
        assert conversations.turns_of(session, turn.conversation_id) == [turn]
    database.close()
