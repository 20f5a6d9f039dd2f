"""Cards and reviews: a rating counts once and can be taken back; a card's text can change, its memory stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from db import conversations, quizzes, reviews, study
from db.errors import DatabaseError, NotFound
from db.reviews import Card, Memory, Review
from db.session import Database

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LATER = Memory(2, None, 0.1 + 0.2, 5.123456789012345, NOON + 3 * DAY, NOON)


@pytest.fixture
def me(database: Database) -> int:
    with database.session() as session:
        return study.learner(session, "me").id


@pytest.fixture
def put(database: Database, me: int) -> Callable[..., Card]:
    def put(key: str = "loss.md#q-1", **more: Any) -> Card:
        given: dict[str, Any] = {
            "origin": "question",
            "front": "Loss? 🙂",
            "back": "How wrong.",
            "page": "loss.md",
            "due": NOON,
            "at": NOON,
        }
        with database.session() as session:
            return reviews.put_card(session, more.pop("learner_id", me), card_key=key, **(given | more))

    return put


@pytest.fixture
def rate(database: Database, me: int) -> Callable[..., Review]:
    def rate(card: Card, **more: Any) -> Review:
        given: dict[str, Any] = {"rating": 3, "memory": LATER, "lapsed": False, "at": NOON}
        with database.session() as session:
            return reviews.save_review(session, more.pop("learner_id", me), card.id, **(given | more))

    return rate


def _card(database: Database, card: Card) -> Card:
    with database.session(readonly=True) as session:
        found = reviews.get_card(session, card.learner_id, card.id)
    assert found is not None
    return found


def test_a_card_put_again_has_the_new_text_and_the_old_memory(
    database: Database, me: int, put: Callable[..., Card], rate: Callable[..., Review]
) -> None:
    first = put(concepts=["loss"])
    assert first.memory == Memory(1, 0, None, None, NOON, None)
    assert (first.lapses, first.suspended, first.created_at, first.concepts) == (0, False, NOON, ["loss"])
    rate(first, lapsed=True)
    again = put(
        front="Loss, better?", back="By how much.", concepts=("error",), due=NOON + 9 * DAY, at=NOON + DAY
    )
    assert again == replace(
        first,
        front="Loss, better?",
        back="By how much.",
        concepts=["error"],
        memory=LATER,
        lapses=1,
        updated_at=NOON + DAY,
    )
    with database.session() as session:
        assert reviews.find_card(session, me, first.card_key) == again
        assert reviews.find_card(session, me + 1, first.card_key) is None
        assert reviews.get_card(session, me + 1, first.id, lock=True) is None
        assert reviews.get_card(session, me, first.id, lock=True) == again
        assert reviews.cards(session, me) == [again]
        you = study.learner(session, "you").id
    assert put(learner_id=you).id != first.id


def test_the_queue_holds_what_is_due_the_longest_overdue_first(
    database: Database, me: int, put: Callable[..., Card]
) -> None:
    now = put("b", page="b.md")
    early = put("a", due=NOON - DAY)
    later = put("c", due=NOON + timedelta(microseconds=1))
    resting = put("d", due=NOON - 9 * DAY)
    with database.session() as session:
        resting = reviews.suspend_card(session, me, resting.id, True)
        berlin = NOON.astimezone(tz=None)
        assert reviews.due_cards(session, me, berlin) == [early, now]
        assert reviews.due_cards(session, me, NOON, 1) == [early]
        assert (reviews.count_due(session, me, NOON), reviews.count_due(session, me + 1, NOON)) == (2, 0)
        assert reviews.cards(session, me) == [resting, early, now, later]
        assert reviews.cards(session, me, page="b.md") == [now]
        reviews.suspend_card(session, me, resting.id, False)
        assert reviews.count_due(session, me, NOON) == 3


def test_a_rating_counts_once(
    database: Database, me: int, put: Callable[..., Card], rate: Callable[..., Review]
) -> None:
    card, other = put(), put("b")
    review = rate(card, seconds=4.5, request_id="r-1", lapsed=True)
    assert review.before == {
        "state": 1, "step": 0, "stability": None, "difficulty": None, "due": NOON.isoformat(),
        "last_review": None, "lapses": 0,
    }  # fmt: skip
    assert rate(card, rating=1, memory=card.memory, request_id="r-1", lapsed=True) == review
    assert _card(database, card) == replace(card, memory=LATER, lapses=1)
    second = rate(other, rating=4, at=NOON + DAY)
    with database.session() as session:
        you = study.learner(session, "you").id
        assert reviews.find_review_by_request(session, me, "r-1") == review
        assert reviews.find_review_by_request(session, you, "r-1") is None
        assert reviews.reviews(session, me) == [second, review]
        assert reviews.reviews(session, me, card_id=card.id) == [review]
        assert reviews.reviews(session, me, since=NOON + DAY) == [second]
        assert reviews.reviews(session, me, limit=1) == [second]
        happened = study.events(session, me, kinds=[study.REVIEW])
        assert [(event.ref, event.seconds) for event in happened] == [
            (str(second.id), 0.0),
            (str(review.id), 4.5),
        ]
        assert [(day.answers, day.reviews) for day in study.daily_totals(session, me, tz=UTC)] == [
            (0, 1),
            (0, 1),
        ]
    with pytest.raises(DatabaseError, match="request_id"):
        rate(put(learner_id=you), learner_id=you, request_id="r-1")


def test_a_review_that_came_with_an_answer_is_that_answer(
    database: Database, me: int, put: Callable[..., Card], rate: Callable[..., Review]
) -> None:
    card = put()
    with database.session() as session:
        attempt = quizzes.save_attempt(
            session, me, page="loss.md", question_key=card.card_key, question="?", reference="", answer="x",
            verdict="partial", score=0.5, key_points=[], concepts=[], grader="test", at=NOON,
        )  # fmt: skip
    review = rate(card, rating=2, attempt_id=attempt.id)
    assert rate(card, rating=4, attempt_id=attempt.id) == review
    with database.session() as session:
        (day,) = study.daily_totals(session, me, tz=UTC)
        assert (day.answers, day.reviews) == (1, 0)
        assert reviews.rerate_attempt(session, me + 1, attempt.id, 3) == []
        assert reviews.rerate_attempt(session, me, attempt.id, 3) == [card.id]
        assert reviews.reviews(session, me) == [replace(review, rating=3)]
        assert reviews.undo_review(session, me) == card
        assert quizzes.get_attempt(session, me, attempt.id) == attempt


def test_undo_takes_back_what_was_written_last_even_by_a_clock_set_back(
    database: Database, me: int, put: Callable[..., Card], rate: Callable[..., Review]
) -> None:
    card, other = put(), put("b")
    first = rate(card)
    rate(other)
    relearning = Memory(3, 0, 0.5, 6.0, NOON + timedelta(minutes=10), NOON)
    rate(card, rating=1, memory=relearning, lapsed=True, at=NOON - 9 * DAY)
    with database.session() as session:
        assert reviews.undo_review(session, me + 1) is None
        assert reviews.undo_review(session, me) == replace(card, memory=LATER)
        assert reviews.undo_review(session, me) == other
        assert reviews.reviews(session, me) == [first]
        assert [event.ref for event in study.events(session, me)] == [str(first.id)]
        assert reviews.undo_review(session, me) == card
        assert reviews.undo_review(session, me) is None
        assert study.events(session, me) == []


def test_a_deleted_review_leaves_the_rest_and_a_memory_to_set(
    database: Database, me: int, put: Callable[..., Card], rate: Callable[..., Review]
) -> None:
    card = put()
    first, second = rate(card, rating=1, lapsed=True), rate(card)
    with database.session() as session:
        assert reviews.delete_review(session, me, first.id) == card.id
        assert reviews.reviews(session, me) == [second]
        assert [event.ref for event in study.events(session, me)] == [str(second.id)]
        changed = reviews.set_memory(session, me, card.id, replace(LATER, stability=9.0), 0)
        assert (changed.memory.stability, changed.lapses) == (9.0, 0)
    assert _card(database, card) == changed


def test_a_card_is_edited_and_deleted_with_its_reviews_but_its_time_stays(
    database: Database, me: int, put: Callable[..., Card], rate: Callable[..., Review]
) -> None:
    card = put()
    rate(card, seconds=9)
    with database.session() as session:
        edited = reviews.edit_card(session, me, card.id, front="New \0", back="Text")
        assert (edited.front, edited.back, edited.memory) == ("New \ufffd", "Text", LATER)
        reviews.delete_card(session, me, card.id)
        assert reviews.cards(session, me) == reviews.reviews(session, me) == []
        assert [event.seconds for event in study.events(session, me)] == [9.0]
    assert put().memory.last_review is None


def test_what_is_not_this_learners_or_makes_no_sense_is_refused(
    database: Database, me: int, put: Callable[..., Card], rate: Callable[..., Review]
) -> None:
    card = put()
    review = rate(card)
    with database.session() as session:
        you = study.learner(session, "you").id
        conversation = conversations.create_conversation(session, me)
        turn = conversations.start_turn(session, conversation.id, "Why?")
    for write in (
        lambda: rate(card, learner_id=you),
        lambda: rate(put("y", learner_id=you), learner_id=you, attempt_id=999),
        lambda: put("x", learner_id=you, origin="answer", turn_id=turn.id),
    ):
        with pytest.raises(NotFound):
            write()
    with database.session() as session:
        for call in (
            lambda: reviews.delete_review(session, you, review.id),
            lambda: reviews.set_memory(session, you, card.id, LATER, 0),
            lambda: reviews.suspend_card(session, you, card.id, True),
            lambda: reviews.edit_card(session, you, card.id, front="", back=""),
            lambda: reviews.delete_card(session, you, card.id),
        ):
            with pytest.raises(NotFound):
                call()
    for wrong, words in (
        ({"rating": 5}, "rating"),
        ({"seconds": -1.0}, "seconds"),
        ({"at": datetime(2025, 3, 1)}, "time zone"),
        ({"memory": replace(LATER, due=datetime(2025, 3, 1))}, "time zone"),
    ):
        with pytest.raises(ValueError, match=words):
            rate(card, **wrong)
    for wrong, words in (
        ({"origin": "x"}, "origin"),
        ({"key": ""}, "key"),
        ({"due": datetime(2025, 1, 1)}, "zone"),
    ):
        with pytest.raises(ValueError, match=words):
            put(**wrong)
    assert put("z", origin="answer", turn_id=turn.id, page=None).turn_id == turn.id
    with database.session(readonly=True) as session:
        assert reviews.reviews(session, me) == [review]


CHILD = """
import sys
from datetime import UTC, datetime
from db import quizzes, reviews, study
from db.reviews import Memory
from db.session import Database
at = datetime(2025, 3, 1, tzinfo=UTC)
database = Database.open(sys.argv[1])
with database.session() as session:
    me = study.learner(session, "me").id
with database.session() as session:
    attempt = quizzes.save_attempt(
        session, me, page="p", question_key="p#q", question="?", reference="", answer="x", verdict="correct",
        score=1, key_points=[], concepts=[], grader="g", at=at, request_id="r-1",
    )
    if sys.argv[2] == "before the card":
        print("here", flush=True)
        sys.stdin.read()
    card = reviews.put_card(session, me, card_key="p#q", origin="question", front="?", back="!", due=at, at=at)
    memory = Memory(2, None, 3.0, 5.0, at, at)
    reviews.save_review(session, me, card.id, rating=3, memory=memory, lapsed=False, at=at, attempt_id=attempt.id)
    if sys.argv[2] == "before the commit":
        print("here", flush=True)
        sys.stdin.read()
print("here", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("moment", "kept"), [("before the card", 0), ("before the commit", 0), ("after the commit", 1)]
)
def test_a_kill_between_grade_and_schedule_leaves_both_or_neither(
    tmp_path: Path, moment: str, kept: int
) -> None:
    path = tmp_path / "killed.sqlite3"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "here\n"
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL
    child.communicate()
    database = Database.open(path)
    with database.session(readonly=True) as session:
        me = study.learner(session, "me").id
        assert len(quizzes.attempts(session, me)) == kept
        assert len(reviews.cards(session, me)) == len(reviews.reviews(session, me)) == kept
        assert len(study.events(session, me)) == 2 * kept
    database.close()
