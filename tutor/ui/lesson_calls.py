"""What the Learn page's script asks of the server: commit an answer, one more hint, ask again, appeal.

Each method takes the one value that the browser sent and does not trust it; all answer {html, ...} or {error}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tutor.lesson_values import Gate, LessonError, Posed
from tutor.ui import lesson_view
from tutor.ui.calls import UNREADABLE, seconds_of, text_of, told, value

if TYPE_CHECKING:
    from tutor.lessons import Lessons

MAX_SECONDS = 1800.0  # on one answer; the browser counts only while it is looked at
MAX_ID = 64
ANSWERED_BEFORE = "You had answered this before, perhaps in another tab. This is that answer."


class LessonCalls:
    """Handlers of the questions on a page."""

    def __init__(self, lessons: Lessons, body: Callable[[str, str], str]) -> None:
        """`body(page, cite)` is what becomes visible of a page once its question is answered."""
        self._lessons = lessons
        self._body = body

    def commit(self, sent: Any) -> dict[str, Any]:
        """Grade {page, key, answer (null: I don't know), request_id, seconds, cite} -> {html, rest}.

        `rest` is the page below, or None for a later question of a page that is open.
        """
        page, key, request = (text_of(sent, name) for name in ("page", "key", "request_id"))
        answer = value(sent, "answer")
        if not page or not key or not request or len(request) > MAX_ID or not isinstance(answer, str | None):
            return {"error": UNREADABLE}

        def work() -> dict[str, Any]:
            result = self._lessons.answer(
                page, key, answer, request_id=request, seconds=seconds_of(sent, MAX_SECONDS)
            )
            note = ANSWERED_BEFORE if result.repeated and result.answer != _stripped(answer) else ""
            gate = self._lessons.gate(page)
            first = gate.first is not None and gate.first.key == key
            rest = self._body(page, text_of(sent, "cite")) if gate.open and first else None
            html = lesson_view.answered(result, self._lessons.now(), note=note, read_on=bool(rest))
            return {"html": html, "rest": rest}

        return told(work)

    def hint(self, sent: Any) -> dict[str, Any]:
        """Show the next hint for {page, key} -> {html} of all shown so far."""
        page, key = text_of(sent, "page"), text_of(sent, "key")

        def work() -> dict[str, Any]:
            shown = self._lessons.hint(page, key)
            posed = _posed(self._lessons.gate(page), key)
            return {"html": lesson_view.hints(shown, posed.hints_left)}

        return told(work)

    def again(self, sent: Any) -> dict[str, Any]:
        """Pose {page, key} anew -> {html}."""

        def work() -> dict[str, Any]:
            posed = _posed(self._lessons.gate(text_of(sent, "page")), text_of(sent, "key"))
            return {"html": lesson_view.asked(posed, again=True)}

        return told(work)

    def override(self, sent: Any) -> dict[str, Any]:
        """Let {attempt, verdict (null: take it back), reason} count -> {html}."""
        attempt, verdict = value(sent, "attempt"), value(sent, "verdict")
        if not isinstance(attempt, int) or isinstance(attempt, bool) or not isinstance(verdict, str | None):
            return {"error": UNREADABLE}

        def work() -> dict[str, Any]:
            result = self._lessons.override(attempt, verdict, text_of(sent, "reason"))
            return {"html": lesson_view.answered(result, self._lessons.now())}

        return told(work)


def _posed(gate: Gate, key: str) -> Posed:
    asked = (gate.first, *gate.later)
    found = next((posed for posed in asked if posed is not None and posed.key == key), None)
    if found is None:
        raise LessonError("this question is no longer on the page; reload it")
    return found


def _stripped(answer: str | None) -> str | None:
    return answer.strip() if answer is not None else None
