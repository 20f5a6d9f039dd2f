"""What the Chat page's script asks of the server besides answers: ratings, details, sources, renaming, deleting,
saving an answer as a card, and a quiz. A turn whose answer is held back is as good as not there for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from db import conversations, feedback
from db.errors import NotFound
from db.feedback import REASONS
from tutor.socratic import is_held
from tutor.ui import chat_view, feedback_view, what_view
from tutor.ui.calls import UNREADABLE, number_of, text_of, told, value
from tutor.ui.chat_store import ChatStore, word
from tutor.ui.markup import url

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.conversations import Turn
    from tutor.services import Services

HELD = "This comes with the answer."


class ChatCalls:
    """Each method takes the one value that the browser sent and does not trust it."""

    def __init__(self, services: Services, store: ChatStore) -> None:
        self._database = services.database
        self._cards = services.cards
        self._quizzes = services.quizzes
        self._store = store

    def rate(self, sent: Any) -> dict[str, Any]:
        """Save a thumb, a reason or a correction -> {id, html} or {error}.

        {turn, rating, correction?, reason?, request_id?}; a reason of "" takes it back.
        """
        rating, correction = value(sent, "rating"), value(sent, "correction")
        reason = "" if rating == "up" else value(sent, "reason")  # a good answer has nothing wrong with it
        if reason not in (None, "", *REASONS):
            return {"error": UNREADABLE}
        if rating not in ("up", "down"):
            return {"error": "This rating could not be read; reload the page and try again."}
        text = correction.strip() if isinstance(correction, str) else None  # "" takes it back
        with self._database.session() as session:
            turn = self._shown(session, value(sent, "turn"))
            if turn is None:
                return {"error": "This answer is not there (any more), so the rating was not saved."}
            saved = feedback.save_feedback(
                session,
                self._store.learner_id,
                turn_id=turn.id,
                question=turn.question,
                answer=turn.answer,
                messages=turn.messages,
                rating=rating,
                correction=text,
                reason=reason,
                request_id=word(value(sent, "request_id"), 64),
            )
        return {"id": saved.id, "html": feedback_view.feedback(turn.id, saved)}

    def unrate(self, sent: Any) -> dict[str, Any]:
        """Delete what the learner said about {turn} -> {html}."""
        with self._database.session() as session:
            turn = self._shown(session, value(sent, "turn"))
            if turn is None:
                return {"error": "This answer is not there (any more), so nothing was removed."}
            said = feedback.feedback_for_turn(session, self._store.learner_id, turn.id)
            if said is not None:
                feedback.delete_feedback(session, said.id)
            out = feedback.opted_out(session, self._store.learner_id)
        return {"html": feedback_view.feedback(turn.id, None, opted_out=out)}

    def details(self, turn_id: Any) -> str:
        """The "What happened" panel of a turn."""
        with self._database.session(readonly=True) as session:
            turn = self._store.turn(session, turn_id)
        if turn is None:
            return "<p>This answer is no longer there.</p>"
        if is_held(turn):
            return f"<p>{HELD}</p>"
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
        title = " ".join(str(value(sent, "title") or "").split())[:120]

        def change(session: Session, conversation: int) -> None:
            if title:
                conversations.rename_conversation(session, conversation, title)

        return self._change(sent, change)

    def delete(self, sent: Any) -> str:
        """Delete a conversation: {conversation, current}; the list as it is now."""
        return self._change(sent, conversations.delete_conversation)

    def save_card(self, sent: Any) -> dict[str, Any]:
        """Make a review card of the answer of {turn} -> {html} that says when it comes."""

        def work() -> dict[str, Any]:
            with self._database.session(readonly=True) as session:
                turn = self._shown(session, value(sent, "turn"))
            if turn is None:
                raise NotFound("This answer is not there (any more), so no card was made.")
            return {"html": chat_view.saved_card(self._store.first_review(self._cards.save_answer(turn.id)))}

        return told(work)

    def quiz(self, sent: Any) -> dict[str, Any]:
        """Begin a quiz on the page that the answer of {turn} rests on, or on {page} -> {link}. {request_id} too."""
        page, request = text_of(sent, "page"), text_of(sent, "request_id", 64)
        if not request:
            return {"error": UNREADABLE}

        def work() -> dict[str, Any]:
            about = page
            with self._database.session(readonly=True) as session:
                turn = self._shown(session, value(sent, "turn"))
                if turn is not None:
                    about = self._store.quiz_page(session, turn) or ""
            started = self._quizzes.start("page", page=about, request_id=request)
            return {"link": url("review", quiz=started.id)}

        return told(work)

    def _shown(self, session: Session, turn_id: Any) -> Turn | None:
        """The learner's turn, unless its answer is held back."""
        turn = self._store.turn(session, turn_id)
        return None if turn is None or is_held(turn) else turn

    def _change(self, sent: Any, change: Callable[[Session, int], object]) -> str:
        chosen = number_of(sent, "conversation")
        with self._database.session() as session:
            if chosen is not None and self._store.owns(session, chosen):
                with suppress(NotFound):  # deleted in another tab meanwhile: the list tells
                    change(session, chosen)
            return self._store.listed(session, number_of(sent, "current"))
