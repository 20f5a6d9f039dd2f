"""Think first: what is committed, graded once, scheduled with it, and never shown before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from db import quizzes, reviews, study
from db.errors import NotFound
from db.session import Database
from retrieval.ingest import ingest_folder
from tutor.cards import Cards
from tutor.lesson_values import LessonError
from tutor.lessons import Lessons
from tutor.quiz import Grade, Grader, Point, graded
from tutor.quizzes import Quizzes, interleaved

START = datetime(2026, 3, 28, 12, tzinfo=UTC)
PAGE = """---
title: Gears
order: 2
prerequisites: [wheels]
concepts: [gear, ratio]
think_first:
  - question: Why does a small gear turn faster than the large gear that drives it?
    reference: Both move the same number of teeth. The small gear has fewer teeth, so it turns more often.
    key_points:
      - Both gears move the same number of teeth.
      - The small gear has fewer teeth.
  - question: What does a gear ratio tell?
    reference: A ratio tells how often one gear turns for one turn of the other.
    key_points:
      - A ratio compares the turns of one gear with the turns of the other.
      - The ratio follows from the numbers of teeth.
---

Gears pass on turning.

## Teeth

Both gears move the same number of teeth past the point where they meet. A small gear has fewer teeth than a large gear.

## Takeaways

- A **gear** is a wheel with teeth.
- The **ratio** of two gears follows from their teeth.
- A small wheel turns **faster** than the large wheel that drives it.
"""
WHEELS = (
    PAGE.replace("title: Gears", "title: Wheels").replace("order: 2", "order: 1").replace("[wheels]", "[]")
)


class Scripted(Grader):
    """Hits the points whose first word the answer names; counts its work."""

    def __init__(self, embedder: Any) -> None:
        super().__init__(embedder, similar=embedder)
        self.graded = 0

    def grade(self, question: str, reference: str, key_points: Any, answer: str) -> Grade:
        self.graded += 1
        hits = [point for point in key_points if point.split()[0].casefold() in answer.casefold()]
        return graded(
            tuple(Point(p, p in hits, False, answer if p in hits else None) for p in key_points), "scripted"
        )


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lessons(database: Database, make_embedder: Callable[..., Any], tmp_path: Path, clock: Clock) -> Lessons:
    folder = tmp_path / "course"
    folder.mkdir()
    (folder / "gears.md").write_text(PAGE, "utf-8")
    (folder / "wheels.md").write_text(WHEELS, "utf-8")
    embedder = make_embedder(dimension=512)
    ingest_folder(database, embedder, folder, source="course")
    with database.session() as session:
        learner = study.learner(session, "me").id
    return Lessons(database, learner, Scripted(embedder), clock)


def first(lessons: Lessons) -> Any:
    posed = lessons.gate("gears.md").first
    assert posed is not None
    return posed


def test_a_gate_opens_with_an_answer_and_not_before(lessons: Lessons) -> None:
    gate = lessons.gate("gears.md")
    assert not gate.open
    assert gate.results == {}
    assert gate.first is not None
    assert [q.question for q in gate.later] == ["What does a gear ratio tell?"]

    result = lessons.answer("gears.md", gate.first.key, "Both do", request_id=gate.first.request_id)

    assert (result.verdict, result.score) == ("partial", 0.5)
    assert [p.hit for p in result.points] == [True, False]
    assert result.points[0].evidence == "Both do"
    quote = result.points[0].quote
    assert quote is not None
    assert quote.text.startswith("Both gears move the same number of teeth past")
    assert PAGE[quote.start : quote.end] == quote.text
    gate = lessons.gate("gears.md")
    assert gate.open
    assert gate.results[result.key].attempt_id == result.attempt_id


def test_i_dont_know_opens_too_and_offers_what_the_page_builds_on(lessons: Lessons) -> None:
    posed = first(lessons)
    result = lessons.answer("gears.md", posed.key, None, request_id=posed.request_id)
    assert (result.verdict, result.answer) == ("incorrect", None)
    assert result.next_step == ("wheels.md", "Wheels")
    assert lessons.gate("gears.md").open


@pytest.mark.parametrize("answer", ["", "   \n", "x" * 4001])
def test_an_empty_or_huge_answer_is_told_and_nothing_is_lost(lessons: Lessons, answer: str) -> None:
    posed = first(lessons)
    with pytest.raises(LessonError):
        lessons.answer("gears.md", posed.key, answer, request_id=posed.request_id)
    assert not lessons.gate("gears.md").open


def test_a_double_submit_is_graded_once(lessons: Lessons) -> None:
    posed = first(lessons)
    results: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(
                lessons.answer("gears.md", posed.key, "Both", request_id=posed.request_id)
            )
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({result.attempt_id for result in results}) == 1
    assert lessons.answer("gears.md", posed.key, "other words", request_id=posed.request_id).repeated
    with lessons.database.session(readonly=True) as session:
        assert len(quizzes.attempts(session, lessons.learner_id)) == 1
        assert len(reviews.reviews(session, lessons.learner_id)) == 1
    assert first(lessons).request_id != posed.request_id  # the next attempt is another one


def test_what_fails_between_grade_and_schedule_leaves_neither(
    lessons: Lessons, monkeypatch: pytest.MonkeyPatch
) -> None:
    posed = first(lessons)

    def killed(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(reviews, "save_review", killed)
        with pytest.raises(KeyboardInterrupt):
            lessons.answer("gears.md", posed.key, "Both", request_id=posed.request_id)
    with lessons.database.session(readonly=True) as session:
        assert quizzes.attempts(session, lessons.learner_id) == []
        assert reviews.cards(session, lessons.learner_id) == []

    again = lessons.answer("gears.md", posed.key, "Both", request_id=posed.request_id)
    assert not again.repeated
    assert again.due == START + timedelta(
        minutes=5.5
    )  # hard, on a first learning step of 1 and a second of 10 minutes


def test_hints_come_one_by_one_and_count(lessons: Lessons) -> None:
    posed = first(lessons)
    assert (posed.hints, posed.hints_left) == ((), 3)
    shown = [lessons.hint("gears.md", posed.key) for _ in range(4)]
    assert [len(hints) for hints in shown] == [1, 2, 3, 3]
    assert first(lessons).hints == shown[-1]
    for hint in shown[-1]:
        assert "same number of teeth" not in hint.casefold()

    right = lessons.answer("gears.md", posed.key, "Both the", request_id=posed.request_id)
    assert (right.verdict, right.hints) == ("correct", 3)
    assert right.due == START + timedelta(minutes=5.5)  # with three hints "correct" is no more than hard
    assert first(lessons).hints == ()  # a new attempt begins without


def test_the_learners_word_counts_and_can_be_taken_back(lessons: Lessons) -> None:
    posed = first(lessons)
    wrong = lessons.answer("gears.md", posed.key, "no idea", request_id=posed.request_id)
    assert wrong.due == START + timedelta(minutes=1)
    mine = lessons.override(wrong.attempt_id, "correct", "I said it in other words")
    assert (mine.verdict, mine.counted, mine.override_reason) == (
        "incorrect",
        "correct",
        "I said it in other words",
    )
    assert mine.due == START + timedelta(minutes=10)
    back = lessons.override(wrong.attempt_id, None)
    assert (back.counted, back.due) == ("incorrect", wrong.due)
    with pytest.raises(LessonError):
        lessons.override(wrong.attempt_id, "brilliant")
    with pytest.raises(NotFound):
        lessons.override(999, "correct")


def test_cards_of_a_page_are_asked_tomorrow_and_rated(lessons: Lessons, clock: Clock) -> None:
    cards = Cards(lessons.database, lessons.learner_id, clock)
    assert cards.open_page_cards("gears.md") == 3
    assert cards.open_page_cards("gears.md") == 3
    queue = cards.due()
    assert (queue.total, queue.next_due) == (0, START + timedelta(days=1))

    clock.now += timedelta(days=1)
    queue = cards.due()
    assert sorted(card.front for card in queue.cards)[0] == "A ____ is a wheel with teeth."
    rated = cards.rate(queue.cards[0].id, "good", request_id="r1", seconds=4)
    assert rated.interval == timedelta(minutes=10)
    assert cards.rate(queue.cards[0].id, "again", request_id="r1").repeated
    assert cards.due().total == 2
    undone = cards.undo()
    assert undone is not None
    assert undone.id == queue.cards[0].id
    assert cards.due().total == 3
    with pytest.raises(LessonError, match="a rating is one of again, hard, good, easy"):
        cards.rate(queue.cards[0].id, "perfect")


def test_a_quiz_asks_grades_and_ends(lessons: Lessons) -> None:
    quiz = Quizzes(lessons)
    state = quiz.start("page", page="gears.md", count=3, request_id="q1")
    assert quiz.start("page", page="gears.md", count=3, request_id="q1").id == state.id
    assert [item.kind for item in state.items] == ["question", "term", "question"]
    assert state.items[1].prompt == "A ____ is a wheel with teeth."

    state = quiz.answer(state.id, 1, "Both, the small one has fewer")
    state = quiz.answer(state.id, 2, "gears")
    assert state.items[1].result is not None
    assert (state.items[1].result.verdict, state.items[1].result.reference) == (
        "correct",
        "A gear is a wheel with teeth.",
    )
    again = quiz.answer(state.id, 2, "something else")
    assert again.items[1].result == state.items[1].result
    assert not state.finished
    state = quiz.answer(state.id, 3, None)
    assert state.finished
    assert state.counts == {"correct": 2, "partial": 0, "incorrect": 1}
    assert lessons.gate("gears.md").open  # the page's own question was answered
    with pytest.raises(LessonError, match="nothing is due now"):
        quiz.start("due", page=None)
    with pytest.raises(NotFound):
        quiz.get(77)


def test_a_repeated_request_gives_the_quiz_even_when_nothing_is_due_any_more(
    lessons: Lessons, clock: Clock
) -> None:
    Cards(lessons.database, lessons.learner_id, clock).open_page_cards("gears.md")
    clock.now += timedelta(days=1)
    quiz = Quizzes(lessons)
    state = quiz.start("due", count=3, request_id="due-1")
    assert {item.kind for item in state.items} == {"term"}
    for item in state.items:
        quiz.answer(state.id, item.number, "no idea")
    assert quiz.start("due", request_id="due-1").id == state.id


def test_a_concept_is_asked_on_every_page_that_teaches_it(lessons: Lessons) -> None:
    state = Quizzes(lessons).start("concept", concept="ratio", count=20)
    assert {item.page for item in state.items} == {"gears.md", "wheels.md"}
    with pytest.raises(LessonError, match="nothing to ask about"):
        Quizzes(lessons).start("concept", concept="steam")


def test_due_tasks_are_mixed_over_pages() -> None:
    items = [{"key": k, "page": p} for k, p in (("a", "x"), ("b", "x"), ("c", "x"), ("d", "y"), ("e", None))]
    assert [item["key"] for item in interleaved(items)] == ["a", "d", "e", "b", "c"]
