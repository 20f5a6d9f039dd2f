"""Export and import: everything comes back, twice is once, a broken file changes nothing, deleting leaves nothing."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from db import conversations, feedback, quizzes, reviews, study
from db.errors import NotFound
from db.maintenance import check
from db.models import Base
from db.portable import PortableError, delete_learner_data, export_learner, import_learner
from db.reviews import Memory
from db.session import Database

NOON = datetime(2025, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
DAY = timedelta(days=1)
DONE: dict[str, Any] = {
    "status": "answered",
    "query": "loss",
    "messages": [{"role": "user", "content": "Loss? 🙂 \u202eשלום"}],
    "draft": "Loss is an error.",
    "answer": "Loss is an error. [1]",
    "sentences": [{"text": "Loss is an error.", "supported": True, "citations": [1]}],
    "citations": [{"n": 1, "start": 0}],
    "passages": [{"score": 0.1 + 0.2}],
    "follow_ups": ["What is a gradient?"],
    "timings_ms": {"total": 12.5},
    "tokens": {"prompt": 9},
    "model": {"base": "m", "adapter": None},
}
Data = dict[str, Any]


def _study(database: Database, name: str, tag: str = "") -> int:
    """Fill every table and every kind of row: hidden, deleted, overridden, undone, without its card."""
    with database.session() as session:
        me = study.learner(session, name).id
        talk = conversations.create_conversation(session, me, page="loss.md")
        first = conversations.start_turn(session, talk.id, "What is loss?", request_id=f"{tag}t-1")
        conversations.complete_turn(session, first.id, **DONE)
        second = conversations.start_turn(session, talk.id, "What is loss, really?", replaces=first.id)
        conversations.complete_turn(session, second.id, **DONE)
        conversations.set_socratic(session, second.id, {"hint": "Think of distance.", "tries": 1})
        gone = conversations.create_conversation(session, me, title="gone")
        conversations.start_turn(session, gone.id, "Never answered")
        conversations.delete_conversation(session, gone.id)
        for number, rating in enumerate(("up", "down")):
            feedback.save_feedback(
                session, me, question="What is loss?", answer="An error.", rating=rating,
                turn_id=second.id, comment="long", request_id=f"{tag}f-{number}",
            )  # fmt: skip
        feedback.save_feedback(session, me, question="Q", answer="A", rating="up", correction="B \0")
        study.record_reading(session, me, "loss.md", "top", seconds=40.5, read=True, at=NOON)
        quiz = quizzes.start_quiz(
            session, me, kind="page", page="loss.md", title="Loss", at=NOON, request_id=f"{tag}q-1",
            items=[{"kind": "question", "key": "loss.md#q-1"}],
        )  # fmt: skip
        quizzes.finish_quiz(session, me, quiz.id, NOON + DAY)
        quizzes.record_hint(session, me, page="loss.md", question_key="loss.md#q-1", level=2, at=NOON)
        attempts = [
            quizzes.save_attempt(
                session, me, page="loss.md", question_key="loss.md#q-1", question="Loss?", reference="Error.",
                answer=answer, verdict="partial", score=0.5, key_points=[{"text": "error", "hit": True}],
                concepts=["loss"], grader="g@1", hints=2, seconds=9.5, at=NOON, quiz_id=quiz.id, request_id=request,
            )
            for answer, request in (("An error", f"{tag}a-1"), (None, None), ("Twin", None))
        ]  # fmt: skip
        quizzes.override_attempt(
            session, me, attempts[0].id, verdict="correct", reason="It is.", at=NOON + DAY
        )
        quizzes.delete_attempt(session, me, attempts[1].id, NOON + DAY)
        cards = [
            reviews.put_card(
                session, me, card_key=key, origin=origin, front="F", back="B", page="loss.md", turn_id=turn_id,
                concepts=["loss"], due=NOON, at=NOON,
            )
            for key, origin, turn_id in (
                ("loss.md#q-1", "question", None), ("answer#1", "answer", second.id), ("gone", "takeaway", None)
            )
        ]  # fmt: skip
        for number, card in enumerate(cards, start=1):
            memory = Memory(2, None, 0.1 + 0.2, 5.123456789012345, NOON + number * DAY, NOON)
            reviews.save_review(
                session, me, card.id, rating=number, memory=memory, lapsed=number == 1, seconds=3.25, at=NOON,
                attempt_id=attempts[0].id if number == 1 else None,
                request_id=f"{tag}r-{number}" if number > 1 else None,
            )  # fmt: skip
        reviews.suspend_card(session, me, cards[1].id, True)
        reviews.delete_card(session, me, cards[2].id)
        study.record_event(
            session, me, "chat", page="loss.md", data={"n": [1, {"x": None}]}, seconds=2, at=NOON
        )
    return me


def _export(database: Database, learner_id: int) -> Data:
    with database.session(readonly=True) as session:
        data = export_learner(session, learner_id)
    parsed: Data = json.loads(json.dumps(data, allow_nan=False))
    return parsed


def _import(database: Database, learner_id: int, data: Any) -> dict[str, int]:
    with database.session() as session:
        return import_learner(session, learner_id, data)


def _learner(database: Database, name: str) -> int:
    with database.session() as session:
        return study.learner(session, name).id


def _rows(database: Database) -> dict[str, int]:
    with database.session(readonly=True) as session:
        tables = Base.metadata.tables.items()
        return {
            name: session.scalars(select(func.count()).select_from(table)).one() for name, table in tables
        }


COUNTS = {
    "conversations": 2, "turns": 3, "feedback": 2, "reading": 1, "quizzes": 1, "attempts": 3, "cards": 2,
    "reviews": 2, "events": 10,
}  # fmt: skip  # events: reading, section, hint, 3 attempts, 3 reviews, chat


def test_an_empty_learner_gets_everything_back(database: Database) -> None:
    _study(database, "before", "other")  # so that ids differ from the numbers in the file
    me = _study(database, "me")
    data = _export(database, me)
    assert {name: len(entries) for name, entries in data.items() if isinstance(entries, list)} == COUNTS
    assert [turn["replaces"] for turn in data["turns"]] == [None, 1, None]
    assert data["feedback"][0]["requests"] == ["f-0", "f-1"]
    with database.session() as session:
        totals = study.daily_totals(session, me, tz=UTC)
        assert delete_learner_data(session, me) == COUNTS
        assert study.get_learner(session, me).name == "me"
    assert {len(entries) for entries in _export(database, me).values() if isinstance(entries, list)} == {0}
    assert _import(database, me, data) == COUNTS
    assert _export(database, me) == data
    with database.session() as session:
        assert study.daily_totals(session, me, tz=UTC) == totals
        assert quizzes.hint_level(session, me, "loss.md#q-1") == 0  # shown before the last attempt
        known = quizzes.find_attempt_by_request(session, me, "a-1")
        assert known is not None
        assert (known.counted, known.score, known.created_at) == ("correct", 0.5, NOON)
        before = reviews.find_card(session, me, "answer#1")
        undone = reviews.undo_review(session, me)
        assert undone is not None
        assert before is not None
        assert (undone.id, undone.memory.last_review) == (before.id, None)
    assert check(database).problems == ()


def test_importing_again_adds_nothing(database: Database) -> None:
    me = _study(database, "me")
    data = _export(database, me)
    rows = _rows(database)
    for _ in range(2):
        assert set(_import(database, me, data).values()) == {0}
    assert _export(database, me) == data
    assert _rows(database) == rows


def test_another_learner_gets_all_but_the_request_ids(database: Database) -> None:
    data = _export(database, _study(database, "me"))
    you = _learner(database, "you")
    assert _import(database, you, data) == COUNTS
    assert set(_import(database, you, data).values()) == {0}
    got = _export(database, you)
    assert got.pop("learner") == "you"
    expected = copy.deepcopy(data)
    for entries in (entries for entries in expected.values() if isinstance(entries, list)):
        for entry in entries:
            entry |= {"request_id": None} if "request_id" in entry else {}
            entry |= {"requests": []} if "requests" in entry else {}
    expected.pop("learner")
    assert got == expected


def test_two_devices_merge_and_the_further_state_wins(database: Database) -> None:
    me = _study(database, "me")
    data = _export(database, me)
    there = _learner(database, "there")
    _import(database, there, data)
    with database.session() as session:  # the other device goes on ...
        talk = conversations.list_conversations(session, there)[0]
        conversations.start_turn(session, talk.id, "Asked there")
        study.record_reading(session, there, "loss.md", "top", seconds=10, read=False, at=NOON + DAY)
        card = reviews.find_card(session, there, "loss.md#q-1")
        assert card is not None
        later = Memory(3, 0, 9.0, 6.0, NOON + 9 * DAY, NOON + 2 * DAY)
        reviews.save_review(session, there, card.id, rating=1, memory=later, lapsed=True, at=NOON + 2 * DAY)
    with database.session() as session:  # ... and so does this one
        talk = conversations.list_conversations(session, me)[0]
        conversations.start_turn(session, talk.id, "Asked here")
        card = reviews.find_card(session, me, "answer#1")
        assert card is not None
        mine = Memory(2, None, 20.0, 4.0, NOON + 20 * DAY, NOON + 3 * DAY)
        reviews.save_review(session, me, card.id, rating=4, memory=mine, lapsed=False, at=NOON + 3 * DAY)
    added = _import(database, me, _export(database, there))
    assert {name: count for name, count in added.items() if count} == {"turns": 1, "reviews": 1, "events": 2}
    assert set(_import(database, me, _export(database, there)).values()) == {0}
    with database.session(readonly=True) as session:
        asked = [turn.question for turn in conversations.turns_of(session, talk.id)]
        assert asked == ["What is loss, really?", "Asked here", "Asked there"]
        (section,) = study.reading_progress(session, me)
        assert (section.seconds, section.read, section.last_at) == (50.5, True, NOON + DAY)
        memories = {card.card_key: (card.memory, card.lapses) for card in reviews.cards(session, me)}
    assert memories == {"loss.md#q-1": (later, 2), "answer#1": (mine, 0)}


def _set(table: str, place: int, field: str, value: Any) -> Callable[[Data], Any]:
    return lambda data: data[table][place].update({field: value})


BROKEN: dict[str, tuple[Callable[[Data], Any], str]] = {
    "format": (lambda data: data.update(format="other"), "format isn't"),
    "version": (lambda data: data.update(version=2), "version: 2 is not 1"),
    "missing table": (lambda data: data.pop("cards"), "the file, cards: it is missing"),
    "unknown table": (lambda data: data.update(jobs=[]), "the file, 'jobs': there is no such field"),
    "no list": (lambda data: data.update(turns={}), "turns: an object is not a list"),
    "no object": (lambda data: data["turns"].append("x"), "turns, entry 4: 'x' is not an object"),
    "missing field": (lambda data: data["turns"][1].pop("query"), "turns, entry 2, query: it is missing"),
    "unknown field": (_set("cards", 0, "x\n", 1), r"cards, entry 1, 'x\\n': there is no such field"),
    "number as text": (
        _set("attempts", 0, "score", "1"),
        "attempts, entry 1, score: '1' is not a number from 0 to 1",
    ),
    "true as number": (_set("events", 9, "seconds", True), "events, entry 10, seconds: True is not a number"),
    "huge number": (
        _set("events", 9, "seconds", 10**400),
        "events, entry 10, seconds: 1000.* is not a number",
    ),
    "huge integer": (_set("attempts", 0, "hints", 2**31), "attempts, entry 1, hints: 2147483648 is not"),
    "not a number": (
        _set("reading", 0, "seconds", float("nan")),
        "reading, entry 1, seconds: null is not a value",
    ),
    "naive time": (
        _set("quizzes", 0, "created_at", "2025-03-01T12:00:00"),
        "quizzes, entry 1, created_at: .*time",
    ),
    "impossible time": (_set("quizzes", 0, "created_at", "0001-01-01T00:00:00+14:00"), "is not an ISO time"),
    "choice": (
        _set("cards", 1, "origin", "dream"),
        "cards, entry 2, origin: 'dream' is not one of question, ",
    ),
    "memory": (_set("cards", 1, "stability", 0), "cards, entry 2, stability: 0 is not a number of at least"),
    "list of texts": (
        _set("cards", 1, "concepts", [1]),
        "cards, entry 2, concepts: a list is not a list of texts",
    ),
    "reference": (_set("reviews", 0, "card_id", 7), "reviews, entry 1, card_id: 7 is not an id of cards"),
    "later turn": (_set("turns", 0, "replaces", 2), "turns, entry 1, replaces: 2 is not an id of turns"),
    "event": (_set("events", 3, "ref", "8"), "events, entry 4, ref: '8' is not an id of attempts"),
    "same id": (_set("turns", 1, "id", 1), "turns, entry 2, id: the same as in entry 1"),
    "same card": (
        _set("cards", 1, "card_key", "loss.md#q-1"),
        "cards, entry 2, card_key: the same as in entry 1",
    ),
    "undo": (
        lambda data: data["reviews"][1]["before"].pop("due"),
        "reviews, entry 2, before, due: it is missing",
    ),
    "undo time": (
        lambda data: data["reviews"][1]["before"].update(due="soon"),
        "before, due: 'soon' is not an ISO",
    ),
    "hint": (
        _set("events", 2, "data", {"level": "x"}),
        "events, entry 3, data, level: 'x' is not a whole number",
    ),
    "half an override": (
        _set("attempts", 0, "overridden_at", None),
        "attempts, entry 1, overridden_at: null is not",
    ),
    "unfinished": (
        _set("turns", 0, "completed_at", None),
        "turns, entry 1, completed_at: null is not a time",
    ),
    "long request": (
        _set("quizzes", 0, "request_id", "x" * 201),
        "request_id: 'xx.*is not a text of 1 to 200",
    ),
}


def test_a_broken_file_is_named_by_entry_and_field_and_changes_nothing(database: Database) -> None:
    data = _export(database, _study(database, "me"))
    you = _learner(database, "you")
    rows = _rows(database)
    for name, (damage, words) in BROKEN.items():
        broken = copy.deepcopy(data)
        damage(broken)
        with database.session() as session:
            with pytest.raises(PortableError, match=words) as caught:
                import_learner(session, you, broken)
            assert "\n" not in str(caught.value), name
            assert len(str(caught.value)) < 300, name
    deep: Any = {}
    for _ in range(5000):
        deep = {"x": deep}
    for broken in (None, [], data | {"events": deep}):
        with pytest.raises(PortableError):
            _import(database, you, broken)
    assert _rows(database) == rows
    assert _import(database, you, data) == COUNTS


def test_deleting_one_learners_data_leaves_anothers(database: Database) -> None:
    me, you = _study(database, "me", "m"), _study(database, "you", "y")
    yours = _export(database, you)
    with database.session() as session:
        assert delete_learner_data(session, me) == COUNTS
        for name, table in Base.metadata.tables.items():
            if "learner_id" in table.columns:
                left = session.scalar(text(f"SELECT count(*) FROM {name} WHERE learner_id = {me}"))
                assert left == 0, name
        assert session.scalar(text("SELECT count(*) FROM feedback_requests")) == 2
    assert _export(database, you) == yours
    with pytest.raises(NotFound), database.session(readonly=True) as session:
        export_learner(session, 999)
    assert check(database).problems == ()


def test_many_entries_keep_their_order(database: Database) -> None:
    """More than one statement's worth, all at the same moment: nothing but the order tells them apart."""
    me = _learner(database, "me")
    data = _export(database, me)
    event = {"kind": "chat", "page": None, "ref": None, "seconds": 0.0, "at": NOON.isoformat()}
    data["events"] = [event | {"id": number, "data": {"n": number}} for number in range(1, 2501)]
    assert _import(database, me, data)["events"] == 2500
    assert set(_import(database, me, data).values()) == {0}
    assert _export(database, me) == data
