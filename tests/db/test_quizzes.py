"""Attempts, hints and quizzes: a request counts once, a learner's own verdict stands beside the grader's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db import quizzes, reviews, study
from db.errors import DatabaseError, NotFound
from db.quizzes import Attempt
from db.reviews import Memory
from db.session import Database

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
KEY = "loss.md#q-1"
GIVEN: dict[str, Any] = {
    "page": "loss.md",
    "question_key": KEY,
    "question": "What is loss? 🙂",
    "reference": "How wrong the model is.",
    "answer": "An error.",
    "verdict": "partial",
    "score": 0.5,
    "key_points": [{"text": "wrong", "hit": True, "evidence": "error"}, {"text": "number", "hit": False}],
    "concepts": ["loss", "error"],
    "grader": "test@1",
    "at": NOON,
}


@pytest.fixture
def me(database: Database) -> int:
    with database.session() as session:
        return study.learner(session, "me").id


@pytest.fixture
def save(database: Database, me: int) -> Callable[..., Attempt]:
    def save(learner_id: int = me, **more: Any) -> Attempt:
        with database.session() as session:
            return quizzes.save_attempt(session, learner_id, **(GIVEN | more))

    return save


def test_an_attempt_is_stored_whole_with_the_time_it_took(
    database: Database, me: int, save: Callable[..., Attempt]
) -> None:
    attempt = save(hints=2, seconds=31.5, request_id="r-1", at=NOON.astimezone())
    expected = GIVEN | {"hints": 2, "seconds": 31.5, "request_id": "r-1", "quiz_id": None, "learner_id": me}
    assert {name: getattr(attempt, name) for name in expected if name != "at"} == {
        name: value for name, value in expected.items() if name != "at"
    }
    assert (attempt.created_at, attempt.created_at.tzinfo, attempt.counted) == (NOON, UTC, "partial")
    unknown = save(answer=None, verdict="incorrect", score=0, at=NOON + timedelta(hours=1))
    with database.session(readonly=True) as session:
        assert quizzes.get_attempt(session, me, attempt.id) == attempt
        assert quizzes.get_attempt(session, me + 1, attempt.id) is None
        assert quizzes.attempts(session, me) == [unknown, attempt]
        assert quizzes.attempts(session, me, limit=1) == [unknown]
        assert quizzes.attempts(session, me, since=NOON + timedelta(minutes=1)) == [unknown]
        assert quizzes.attempts(session, me, page="other.md") == []
        assert quizzes.attempts(session, me, question_key=KEY, page="loss.md") == [unknown, attempt]
        assert quizzes.attempts(session, me + 1) == []
        happened = [(event.page, event.ref, event.seconds) for event in study.events(session, me)]
    assert happened == [("loss.md", str(unknown.id), 0.0), ("loss.md", str(attempt.id), 31.5)]


def test_a_repeated_request_returns_the_first_attempt(
    database: Database, me: int, save: Callable[..., Attempt]
) -> None:
    first = save(request_id="r-1")
    assert save(request_id="r-1", answer="Other words", verdict="correct", score=1) == first
    with database.session() as session:
        you = study.learner(session, "you").id
        assert quizzes.find_attempt_by_request(session, me, "r-1") == first
        assert quizzes.find_attempt_by_request(session, you, "r-1") is None
        assert len(study.events(session, me)) == 1
    with pytest.raises(DatabaseError, match="request_id"):
        save(you, request_id="r-1")


def test_the_same_request_twice_at_once_is_one_attempt_one_card_and_one_review(
    database: Database, me: int
) -> None:
    """The second arrives while the first has written but not committed."""
    written, results, errors = threading.Event(), [], []

    def answer(first: bool) -> None:
        try:
            if not first:
                assert written.wait(10)
            with database.session() as session:
                attempt = quizzes.save_attempt(session, me, **GIVEN, request_id="r-1")
                card = reviews.put_card(
                    session, me, card_key=KEY, origin="question", front="?", back="!", due=NOON, at=NOON
                )
                memory = Memory(2, None, 3.0, 5.0, NOON + timedelta(days=3), NOON)
                review = reviews.save_review(
                    session,
                    me,
                    card.id,
                    rating=3,
                    memory=memory,
                    lapsed=False,
                    at=NOON,
                    attempt_id=attempt.id,
                )
                if first:
                    written.set()
                    threading.Event().wait(0.3)  # the other one is at the lock by now
            results.append((attempt.id, card.id, review.id))
        except BaseException as error:  # noqa: BLE001 (a thread's error must reach the test)
            errors.append(error)

    threads = [threading.Thread(target=answer, args=(first,)) for first in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(results) == 2
    assert len(set(results)) == 1
    with database.session(readonly=True) as session:
        assert len(quizzes.attempts(session, me)) == len(reviews.cards(session, me)) == 1
        assert len(reviews.reviews(session, me)) == 1
        assert [event.kind for event in study.events(session, me)] == ["review", "attempt"]


def test_an_override_counts_and_can_be_taken_back(
    database: Database, me: int, save: Callable[..., Attempt]
) -> None:
    attempt, other = save(), save(at=NOON - timedelta(days=1))
    later = NOON + timedelta(hours=1)
    with database.session() as session:
        for mine in (attempt, other):
            changed = quizzes.override_attempt(
                session, me, mine.id, verdict="correct", reason="Same thing.", at=later
            )
            assert (changed.verdict, changed.counted) == ("partial", "correct")
            assert (changed.override_reason, changed.overridden_at) == ("Same thing.", later)
        assert [one.id for one in quizzes.overridden_attempts(session)] == [other.id, attempt.id]
        quizzes.delete_attempt(session, me, other.id, later)
        assert [one.id for one in quizzes.overridden_attempts(session)] == [attempt.id]
        assert quizzes.override_attempt(session, me, attempt.id, verdict=None, at=later) == attempt
        assert quizzes.overridden_attempts(session) == []


def test_a_deleted_attempt_is_hidden_until_restored(
    database: Database, me: int, save: Callable[..., Attempt]
) -> None:
    attempt = save()
    with database.session() as session:
        gone = quizzes.delete_attempt(session, me, attempt.id, NOON)
        assert quizzes.delete_attempt(session, me, attempt.id, NOON + timedelta(days=1)) == gone
        assert gone.deleted_at == NOON
        assert quizzes.attempts(session, me) == []
        assert quizzes.attempts(session, me, include_deleted=True) == [gone]
        assert quizzes.get_attempt(session, me, attempt.id) == gone
        assert study.daily_totals(session, me, tz=UTC)[0].answers == 0
        assert quizzes.restore_attempt(session, me, attempt.id) == attempt
        assert quizzes.attempts(session, me) == [attempt]


def test_hints_count_from_the_last_attempt_whatever_the_clock_says(
    database: Database, me: int, save: Callable[..., Attempt]
) -> None:
    def level(key: str = KEY, learner_id: int = me) -> int:
        with database.session(readonly=True) as session:
            return quizzes.hint_level(session, learner_id, key)

    def show(number: int, at: datetime = NOON) -> None:
        with database.session() as session:
            quizzes.record_hint(session, me, page="loss.md", question_key=KEY, level=number, at=at)

    assert level() == 0
    show(1)
    show(2)
    show(1)
    assert (level(), level("loss.md#q-2"), level(learner_id=me + 1)) == (2, 0, 0)
    save(question_key="loss.md#q-2")
    assert level() == 2
    attempt = save()
    assert level() == 0
    show(1, NOON - timedelta(days=400))  # the clock was set back
    assert level() == 1
    with database.session() as session:
        quizzes.delete_attempt(session, me, attempt.id, NOON)
    assert level() == 1


def test_a_quiz_is_started_once_and_finished_once(
    database: Database, me: int, save: Callable[..., Attempt]
) -> None:
    items = [{"kind": "term", "key": "loss.md#t-1"}, {"kind": "question", "key": KEY}]
    start: dict[str, Any] = {"kind": "page", "page": "loss.md", "title": "Loss", "items": items, "at": NOON}
    with database.session() as session:
        quiz = quizzes.start_quiz(session, me, **start, request_id="q-1")
        assert quizzes.start_quiz(session, me, **(start | {"items": []}), request_id="q-1") == quiz
        assert quizzes.start_quiz(session, me, **start).id != quiz.id
        assert (quiz.items, quiz.created_at, quiz.finished_at) == (items, NOON, None)
        assert quizzes.get_quiz(session, me, quiz.id) == quiz
        you = study.learner(session, "you").id
        assert quizzes.get_quiz(session, you, quiz.id) is None
        with pytest.raises(DatabaseError, match="request_id"):
            quizzes.start_quiz(session, you, **start, request_id="q-1")
    inside = save(quiz_id=quiz.id)
    save()
    with database.session() as session:
        assert quizzes.attempts(session, me, quiz_id=quiz.id) == [inside]
        done = quizzes.finish_quiz(session, me, quiz.id, NOON)
        assert quizzes.finish_quiz(session, me, quiz.id, NOON + timedelta(days=1)) == done
        assert done.finished_at == NOON


def test_what_is_not_this_learners_or_makes_no_sense_is_refused(
    database: Database, me: int, save: Callable[..., Attempt]
) -> None:
    attempt = save()
    with database.session() as session:
        you = study.learner(session, "you").id
        quiz = quizzes.start_quiz(session, me, kind="due", page=None, title="", items=[], at=NOON)
        for write in (
            lambda: quizzes.override_attempt(session, you, attempt.id, verdict="correct", at=NOON),
            lambda: quizzes.delete_attempt(session, you, attempt.id, NOON),
            lambda: quizzes.restore_attempt(session, you, attempt.id),
            lambda: quizzes.finish_quiz(session, you, quiz.id, NOON),
            lambda: quizzes.save_attempt(session, you, **GIVEN, quiz_id=quiz.id),
        ):
            with pytest.raises(NotFound):
                write()
    for wrong, words in (
        ({"verdict": "fine"}, "verdict"),
        ({"score": 1.1}, "score"),
        ({"score": float("nan")}, "score"),
        ({"hints": -1}, "hints"),
        ({"seconds": -1.0}, "seconds"),
        ({"at": datetime(2025, 3, 1)}, "time zone"),
        ({"request_id": ""}, "request_id"),
    ):
        with pytest.raises(ValueError, match=words):
            save(**wrong)
    with database.session(readonly=True) as session:
        assert quizzes.attempts(session, me) == [attempt]
        assert quizzes.attempts(session, you) == []
