"""What the Review page's script asks about a quiz: begin it, the next task, grade an answer, appeal.

Each method takes the one value that the browser sent and does not trust it; grading and choosing tasks are
`tutor.quizzes` and `tutor.lessons`. How it looks is `quiz_view.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from db.errors import NotFound
from tutor.ui import quiz_view
from tutor.ui.calls import UNREADABLE, number_of, seconds_of, text_of, told, value
from tutor.ui.chat_store import number

if TYPE_CHECKING:
    from tutor.lesson_values import QuizState
    from tutor.lessons import Lessons
    from tutor.quizzes import Quizzes

MAX_SECONDS = 1800.0  # on one task; what is longer was an open window, not thinking


class QuizCalls:
    """Handlers of a quiz."""

    def __init__(self, lessons: Lessons, quizzes: Quizzes, now: Callable[[], datetime]) -> None:
        """`now` gives the present in the learner's time zone."""
        self._lessons = lessons
        self._quizzes = quizzes
        self._now = now

    def page(self, quiz: str) -> str:
        """The page of the quiz with this id, as it stands in an address."""
        try:
            return quiz_view.page(self._quizzes.get(number(quiz) or 0), self._now())
        except NotFound:
            return quiz_view.missing()

    def start(self, sent: Any) -> dict[str, Any]:
        """Begin a quiz: {kind, concept?, page?, request_id} -> {quiz}, its id."""
        kind = text_of(sent, "kind", 16)

        def work() -> dict[str, Any]:
            quiz = self._quizzes.start(
                kind,  # type: ignore[arg-type]  # another kind is refused with a LessonError
                page=text_of(sent, "page", 500) or None,
                concept=text_of(sent, "concept", 500) or None,
                request_id=text_of(sent, "request_id", 64) or None,
            )
            return {"quiz": quiz.id}

        return told(work)

    def task(self, sent: Any) -> dict[str, Any]:
        """{quiz} -> the next task without an answer, or the summary."""
        return self._on_quiz(sent, lambda quiz_id: (self._quizzes.get(quiz_id), None))

    def answer(self, sent: Any) -> dict[str, Any]:
        """Grade {quiz, number, answer (null: I don't know), request_id, seconds} -> the task with its result."""
        given, place = value(sent, "answer"), number_of(sent, "number")
        if place is None or not isinstance(given, str | None):
            return {"error": UNREADABLE}

        def work(quiz_id: int) -> tuple[QuizState, int | None]:
            request, seconds = text_of(sent, "request_id", 64) or None, seconds_of(sent, MAX_SECONDS)
            return self._quizzes.answer(quiz_id, place, given, request_id=request, seconds=seconds), place

        return self._on_quiz(sent, work)

    def override(self, sent: Any) -> dict[str, Any]:
        """Let {quiz, attempt, verdict (null: take it back), reason, number} count -> task `number` or the summary."""
        attempt, verdict = number_of(sent, "attempt"), value(sent, "verdict")
        if attempt is None or not isinstance(verdict, str | None):
            return {"error": UNREADABLE}

        def work(quiz_id: int) -> tuple[QuizState, int | None]:
            self._lessons.override(attempt, verdict, text_of(sent, "reason", 1000))
            return self._quizzes.get(quiz_id), number_of(sent, "number")

        return self._on_quiz(sent, work)

    def _on_quiz(self, sent: Any, work: Callable[[int], tuple[QuizState, int | None]]) -> dict[str, Any]:
        """{html} of the quiz at the task that `work(quiz id)` gives with its state."""
        quiz_id = number_of(sent, "quiz")
        if quiz_id is None:
            return {"error": UNREADABLE}

        def drawn() -> dict[str, Any]:
            state, shown = work(quiz_id)
            return {"html": quiz_view.task(state, self._now(), shown)}

        return told(drawn)
