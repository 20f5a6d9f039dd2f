"""Conversations as the database has them -> the pieces of the Chat page; only the learner's own are ever found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from db import conversations
from db.feedback import feedback_for_turn
from tutor.ui import chat_side, chat_view
from tutor.ui.chat_view import TurnView
from tutor.ui.markup import when

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.conversations import Turn
    from tutor.ui.library import Library
    from tutor.ui.live import LiveTurns

MAX_ID = 2**53
LISTED = 50


class ChatStore:
    """Reads one learner's conversations; every method takes an open session."""

    def __init__(self, learner_id: int, library: Library, live: LiveTurns) -> None:
        self.learner_id = learner_id
        self.library = library
        self._live = live

    def listed(self, session: Session, current: int | None) -> str:
        """The list of conversations."""
        rows = conversations.list_conversations(session, self.learner_id, limit=LISTED)
        return chat_side.conversations(
            [(c.id, c.title or "Untitled", when(c.updated_at)) for c in rows], current
        )

    def owns(self, session: Session, conversation: int) -> bool:
        """Whether the conversation is there and the learner's."""
        known = conversations.get_conversation(session, conversation)
        return known is not None and known.learner_id == self.learner_id

    def turns(self, session: Session, conversation: int | None) -> list[Turn] | None:
        """The conversation's turns, or None where there is no such conversation."""
        if conversation is None or not self.owns(session, conversation):
            return None
        return conversations.turns_of(session, conversation)

    def turn(self, session: Session, turn_id: Any) -> Turn | None:
        """The learner's turn with this id, which may come from a browser."""
        found = conversations.get_turn(session, number(turn_id) or 0)
        return found if found is not None and found.learner_id == self.learner_id else None

    def thread(
        self, session: Session, turns: Sequence[Turn], conversation: int | None, *, last_open: bool = True
    ) -> str:
        """The turns, one under the other."""
        views = [self.view(session, turn) for turn in turns]
        ids = self.library.ids(session)
        return chat_view.thread(views, ids, conversation=conversation, last_open=last_open)

    def sources(self, session: Session, turn: Turn | None) -> str:
        """The sources of a turn."""
        if turn is None:
            return chat_side.sources((), (), {})
        return chat_side.sources(turn.passages, turn.citations, self.library.ids(session), turn_id=turn.id)

    def view(self, session: Session, turn: Turn) -> TurnView:
        """A turn with its rating, ready to be shown."""
        rated = feedback_for_turn(session, self.learner_id, turn.id)
        return TurnView(
            id=turn.id,
            question=turn.question,
            status=turn.status,
            sentences=turn.sentences,
            citations=turn.citations,
            passages=turn.passages,
            follow_ups=turn.follow_ups,
            answer=turn.answer,
            error=turn.error,
            rating=rated.rating if rated else None,
            correction=rated.correction if rated else None,
            running=turn.completed_at is None and turn.id in self._live.running(),
        )


def number(value: Any) -> int | None:
    """A database id from what a browser sent, or None."""
    if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 16:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MAX_ID else None


def word(value: Any, limit: int = 500) -> str | None:
    """A short text from what a browser sent, or None."""
    return value if isinstance(value, str) and 0 < len(value) <= limit else None
