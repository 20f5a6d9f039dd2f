"""What the Chat page's script asks of the server besides answers: ratings, details, sources, renaming, deleting."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from db import conversations, feedback
from db.errors import NotFound
from tutor.ui import chat_view, what_view
from tutor.ui.chat_store import ChatStore, number, word

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.session import Database


class ChatCalls:
    """Each method takes the one value that the browser sent and does not trust it."""

    def __init__(self, database: Database, store: ChatStore) -> None:
        self._database = database
        self._store = store

    def rate(self, sent: Any) -> dict[str, Any]:
        """Save a thumb or a correction: {turn, rating, correction?, request_id?} -> {id, html} or {error}."""
        turn_id, rating, correction = (_value(sent, key) for key in ("turn", "rating", "correction"))
        if rating not in ("up", "down"):
            return {"error": "This rating could not be read; reload the page and try again."}
        text = correction.strip() if isinstance(correction, str) and correction.strip() else None
        with self._database.session() as session:
            turn = self._store.turn(session, turn_id)
            if turn is None:
                return {"error": "This answer is no longer there, so the rating was not saved."}
            saved = feedback.save_feedback(
                session,
                self._store.learner_id,
                turn_id=turn.id,
                question=turn.question,
                answer=turn.answer,
                messages=turn.messages,
                rating=rating,
                correction=text,
                request_id=word(_value(sent, "request_id"), 64),
            )
        return {"id": saved.id, "html": chat_view.feedback(turn.id, saved.rating, saved.correction)}

    def details(self, turn_id: Any) -> str:
        """The "What happened" panel of a turn."""
        with self._database.session(readonly=True) as session:
            turn = self._store.turn(session, turn_id)
        if turn is None:
            return "<p>This answer is no longer there.</p>"
        return what_view.what_happened(
            question=turn.question,
            query=turn.query,
            timings_ms=turn.timings_ms,
            passages=turn.passages,
            tokens=turn.tokens,
            model=turn.model,
            messages=turn.messages,
            sentences=turn.sentences,
            error=turn.error,
        )

    def sources_of(self, turn_id: Any) -> str:
        """The sources panel for an earlier turn."""
        with self._database.session(readonly=True) as session:
            return self._store.sources(session, self._store.turn(session, turn_id))

    def rename(self, sent: Any) -> str:
        """Give a conversation another title: {conversation, title, current}; the list as it is now."""
        title = " ".join(str(_value(sent, "title") or "").split())[:120]

        def change(session: Session, conversation: int) -> None:
            if title:
                conversations.rename_conversation(session, conversation, title)

        return self._change(sent, change)

    def delete(self, sent: Any) -> str:
        """Delete a conversation: {conversation, current}; the list as it is now."""
        return self._change(sent, conversations.delete_conversation)

    def _change(self, sent: Any, change: Callable[[Session, int], object]) -> str:
        chosen = number(_value(sent, "conversation"))
        with self._database.session() as session:
            if chosen is not None and self._store.owns(session, chosen):
                with suppress(NotFound):  # deleted in another tab meanwhile: the list tells
                    change(session, chosen)
            return self._store.listed(session, number(_value(sent, "current")))


def _value(sent: Any, key: str) -> Any:
    return sent.get(key) if isinstance(sent, dict) else None
