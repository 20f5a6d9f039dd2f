"""Holds a Socratic turn's answer back on the server, and hands it out for a reply or on demand.

The turn itself runs as always; it is marked before its first event is passed on, so that no page, not even after a
kill in the middle, shows any of it too early. What may be shown before is made by `tutor.socratic`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from db import conversations
from db.errors import NotFound
from tutor import socratic
from tutor.events import TurnLogged, TurnStarted
from tutor.lesson_values import LessonError
from tutor.ui import chat_view
from tutor.ui.calls import UNREADABLE, number_of, told, value
from tutor.ui.chat_socratic_view import MAX_REPLY_CHARS

if TYPE_CHECKING:
    from db.conversations import Turn
    from tutor.events import Event
    from tutor.services import Services
    from tutor.ui.chat_store import ChatStore


class Socratic:
    """One learner's Socratic turns. Safe to share between threads."""

    def __init__(self, services: Services, store: ChatStore) -> None:
        self._database = services.database
        self._grader = services.lessons.grader
        self._store = store

    def hold(self, events: Iterator[Event]) -> Iterator[Event]:
        """The turn's events, each passed on after the turn is marked as held back. Closing this closes the turn."""
        try:
            for event in events:
                if isinstance(event, TurnStarted):
                    self._mark(event.turn_id)
                elif isinstance(event, TurnLogged):
                    self._pose(event.result.turn_id)
                yield event
        finally:
            close = getattr(events, "close", None)  # a repeated request gives a plain iterator
            if close:
                close()

    def reply(self, sent: Any) -> dict[str, Any]:
        """Grade {turn, reply} against the answer, then show both -> {html, sources}. The first reply counts."""
        text = value(sent, "reply")
        if not isinstance(text, str):
            return {"error": UNREADABLE}

        def work() -> dict[str, Any]:
            reply = text.replace("\x00", "").strip()
            if not reply:
                raise LessonError("write what you think first, or choose “Show the answer”")
            if len(reply) > MAX_REPLY_CHARS:
                raise LessonError(
                    f"an answer has at most {MAX_REPLY_CHARS:,} characters; this has {len(reply):,}"
                )
            turn = self._turn(sent)
            points = socratic.key_points(turn.sentences)
            grade = None
            if socratic.is_held(turn) and points:
                grade = self._grader.grade(turn.query or turn.question, " ".join(points), points, reply)
            return self._open(turn.id, reply if grade else None, grade)

        return told(work)

    def reveal(self, sent: Any) -> dict[str, Any]:
        """Show the answer of {turn} -> {html, sources}."""
        return told(lambda: self._open(self._turn(sent).id))

    def _turn(self, sent: Any) -> Turn:
        with self._database.session(readonly=True) as session:
            turn = self._store.turn(session, number_of(sent, "turn"))
        if turn is None:
            raise NotFound("This answer is no longer there.")
        if turn.completed_at is None:
            raise LessonError("this answer is still being written; try again in a moment")
        return turn

    def _open(self, turn_id: int, reply: str | None = None, grade: Any = None) -> dict[str, Any]:
        """Mark the turn as shown, unless another tab was faster, and draw it."""
        with self._database.session() as session:
            turn = conversations.get_turn(session, turn_id)
            if turn is None:
                raise NotFound("This answer is no longer there.")
            first = socratic.is_held(turn)
            if first:
                asked = socratic.revealed(turn.socratic or {}, datetime.now(UTC), reply, grade)
                turn = conversations.set_socratic(session, turn_id, asked)
            newest = conversations.turns_of(session, turn.conversation_id)[-1:]
            html = chat_view.turn(
                self._store.view(session, turn, just_tried=True),
                self._store.library.ids(session),
                newest=[t.id for t in newest] == [turn_id],
                conversation=turn.conversation_id,
            )
            return {"html": html, "sources": self._store.sources(session, turn)}

    def _mark(self, turn_id: int) -> None:
        with self._database.session() as session:
            conversations.set_socratic(session, turn_id, socratic.begun())

    def _pose(self, turn_id: int) -> None:
        """Write down what the learner reads first; a turn that has nothing to hold back is shown at once."""
        with self._database.session() as session:
            turn = conversations.get_turn(session, turn_id)
            if turn is None or turn.socratic is None or turn.socratic.get("revealed_at"):
                return  # a repeated request: as it was left
            if socratic.is_held(turn):
                asked = socratic.posed(socratic.nudge_of(turn))
            else:
                asked = socratic.revealed(turn.socratic, datetime.now(UTC))
            conversations.set_socratic(session, turn_id, asked)
