"""The named Gradio endpoints of the study tracker: /quiz_start, /quiz_answer, /due, /review, /export.

Parameters and results are the JSON of the command line. Every write takes an optional `request_id` and returns the id
it committed. What `/ask` and the other endpoints share with these is in `api.py`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import gradio as gr

from tutor import wire_study
from tutor.commands.quiz import find_page
from tutor.exporting import FORMATS, make_export
from tutor.lesson_values import LessonError
from tutor.ui.chat_store import number as row_id
from tutor.wire import text_field

if TYPE_CHECKING:
    from tutor.lesson_values import Result
    from tutor.services import Services

MAX_CARDS = 500
MAX_SECONDS = 3600.0  # a longer answer was interrupted: it counts as an hour of study at most

T = TypeVar("T")


class StudyApi:
    """The endpoints; each answers in the words of `told` when something is wrong."""

    def __init__(self, services: Services, told: Callable[[Exception], gr.Error]) -> None:
        self._services = services
        self._told = told

    def build(self) -> None:
        """Publish the endpoints; call inside the Blocks."""
        gr.api(self.quiz_start, api_name="quiz_start")
        gr.api(self.quiz_answer, api_name="quiz_answer")
        gr.api(self.due, api_name="due")
        gr.api(self.review, api_name="review")
        gr.api(self.export, api_name="export")

    def quiz_start(
        self,
        page: str | None = None,
        concept: str | None = None,
        kind: str | None = None,
        count: int = 6,
        request_id: str | None = None,
    ) -> dict:
        """Begin a quiz on a page, on a concept, or (kind "due") on the cards that are due; gives its tasks.

        A repeated request_id gives the first quiz again. `id` is the id that was committed.
        """

        def start() -> dict:
            _check_texts(page=page, concept=concept, kind=kind, request_id=request_id)
            chosen = kind or ("page" if page else "concept" if concept else "due")
            path = find_page(self._services, page).path if page else None
            state = self._services.quizzes.start(
                chosen,  # type: ignore[arg-type]  # it refuses what it doesn't know
                page=path,
                concept=concept,
                count=_whole(count, "count"),
                request_id=request_id or None,
            )
            return wire_study.quiz_json(state)

        return self._do(start)

    def quiz_answer(
        self,
        quiz_id: int | None = None,
        number: int | None = None,
        answer: str | None = None,
        page: str | None = None,
        key: str | None = None,
        request_id: str | None = None,
        seconds: float = 0.0,
    ) -> dict:
        """Answer task `number` of a quiz, or a page's own question by `page` and `key`; None is "I don't know".

        Gives the graded answer, and the quiz as it now stands. A repeated request_id gives the first result again.
        `id` is the id of the attempt that was committed.
        """

        def submit() -> dict:
            _check_texts(answer=answer, page=page, key=key, request_id=request_id)
            spent = _seconds(seconds)
            if quiz_id is not None and number is not None:
                return self._answer_task(quiz_id, number, answer, request_id, spent)
            if quiz_id is not None or not page or not key:
                raise LessonError("give quiz_id and number, or page and key")
            return self._answer_page(page, key, answer, request_id, spent)

        return self._do(submit)

    def due(self, limit: int = 50, answers: bool = False) -> dict:
        """The cards that are due, the longest overdue first; with `answers` their backs too."""

        def listed() -> dict:
            queue = self._services.cards.due(min(_whole(limit, "limit"), MAX_CARDS))
            return wire_study.due_json(queue, backs=answers)

        return self._do(listed)

    def review(self, card_id: int, rating: str, request_id: str | None = None, seconds: float = 0.0) -> dict:
        """Rate a card: again, hard, good or easy (or 1 to 4). A repeated request_id changes nothing.

        Gives when the card comes back. `id` is the id of the review that was committed.
        """

        def rate() -> dict:
            _check_texts(request_id=request_id)
            given: str | int = int(rating) if str(rating) in ("1", "2", "3", "4") else rating
            rated = self._services.cards.rate(
                _id(card_id, "Card"), given, request_id=request_id or None, seconds=_seconds(seconds)
            )
            return wire_study.rated_json(rated)

        return self._do(rate)

    def export(self, format: str = "json") -> dict:
        """Everything of the learner as a file: {filename, media_type, rows, text}, or base64 instead of text."""

        def packed() -> dict:
            if format not in FORMATS:
                raise LessonError(f"the format is one of {', '.join(FORMATS)}, not {format!r}")
            services = self._services
            with services.database.session(readonly=True) as session:
                made = make_export(session, services.learner_id, format, datetime.now(UTC))
            described = {"filename": made.filename, "media_type": made.media_type, "rows": made.rows}
            if made.is_text:
                return described | {"text": made.data.decode()}
            return described | {"base64": base64.b64encode(made.data).decode()}

        return self._do(packed)

    def _answer_task(
        self, quiz_id: int, number: int, answer: str | None, request_id: str | None, seconds: float
    ) -> dict:
        state = self._services.quizzes.answer(
            _id(quiz_id, "Quiz"), number, answer, request_id=request_id or None, seconds=seconds
        )
        item = next(item for item in state.items if item.number == number)
        if item.result is None:
            raise LessonError("this request_id belongs to another answer; use a new one for each")
        return _answered(item.result) | {"quiz": wire_study.quiz_json(state)}

    def _answer_page(
        self, page: str, key: str, answer: str | None, request_id: str | None, seconds: float
    ) -> dict:
        path = find_page(self._services, page).path
        if not request_id:
            gate = self._services.lessons.gate(path)
            posed = next((q for q in (gate.first, *gate.later) if q and q.key == key), None)
            request_id = posed.request_id if posed else ""
        result = self._services.lessons.answer(path, key, answer, request_id=request_id, seconds=seconds)
        return _answered(result)

    def _do(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except Exception as error:
            raise self._told(error) from error


def _answered(result: Result) -> dict[str, Any]:
    return {"id": result.attempt_id} | wire_study.result_json(result)


def _id(value: Any, what: str) -> int:
    found = row_id(value)
    if found is None:
        raise LessonError(f"{what} {value!r} doesn't exist (any more).")
    return found


def _check_texts(**given: Any) -> None:
    """Raise InputError for a parameter that a program sent as something else than text, or as broken text."""
    for name in given:
        text_field(given, name)


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise LessonError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value


def _seconds(value: Any) -> float:
    """How long the learner took, of what a program says. Raises LessonError for what is no time."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise LessonError(f"seconds must be a number of at least 0, not {value!r}")
    return min(float(value), MAX_SECONDS)
