"""Conversations as the database has them -> the pieces of the Chat page; only the learner's own are ever found.

What is held back of a Socratic turn ends here: the views of it are made without its answer and sources.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from db import conversations, reviews
from db.feedback import feedback_for_turn, opted_out
from tutor import socratic
from tutor.pages import takeaways
from tutor.ui import chat_side, chat_view
from tutor.ui.chat_socratic_view import Held
from tutor.ui.chat_view import TurnView
from tutor.ui.library import COURSE
from tutor.ui.markdown import page_sections
from tutor.ui.markup import count, reader_url, when

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.conversations import Turn
    from db.reviews import Card
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
        cards = self._cards(session)
        views = [self.view(session, turn, cards) for turn in turns]
        ids = self.library.ids(session)
        return chat_view.thread(views, ids, conversation=conversation, last_open=last_open)

    def sources(self, session: Session, turn: Turn | None) -> str:
        """The sources of a turn."""
        if turn is None or socratic.is_held(turn):
            return chat_side.sources((), (), {})
        return chat_side.sources(turn.passages, turn.citations, self.library.ids(session), turn_id=turn.id)

    def view(
        self,
        session: Session,
        turn: Turn,
        cards: Mapping[int, Card] | None = None,
        *,
        just_tried: bool = False,
    ) -> TurnView:
        """A turn with its rating and card, ready to be shown. `cards` are the saved answers by turn, if known."""
        running = turn.completed_at is None and turn.id in self._live.running()
        if socratic.is_held(turn):
            return TurnView(
                turn.id, turn.question, turn.status, held=self._held(session, turn), running=running
            )
        rated = feedback_for_turn(session, self.learner_id, turn.id)
        card = (self._cards(session) if cards is None else cards).get(turn.id)
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
            rated=rated,
            opted_out=opted_out(session, self.learner_id),
            running=running,
            tried=socratic.tried(turn.socratic),
            just_tried=just_tried,
            card=self.first_review(card) if card else None,
            quiz=self.quiz_page(session, turn) is not None,
        )

    def quiz_page(self, session: Session, turn: Turn) -> str | None:
        """The course page to be quizzed about after this turn: the most cited, else where the question was asked."""
        cited = Counter(str(c["document"]) for c in turn.citations if (c.get("source") or COURSE) == COURSE)
        conversation = conversations.get_conversation(session, turn.conversation_id)
        asked_from = [conversation.page] if conversation and conversation.page else []
        wanted = [page for page, _ in cited.most_common()] or asked_from
        return next((page for page in wanted if self.can_be_asked(session, page)), None)

    def can_be_asked(self, session: Session, page: str) -> bool:
        """Whether a course page has anything to make a quiz of."""
        known = next((d for d in self.library.course(session) if d.path == page), None)
        return known is not None and bool(known.meta.get("think_first") or takeaways(known.path, known.text))

    @staticmethod
    def first_review(card: Card) -> str:
        """When a saved answer comes up first, in words; "" once it has been reviewed."""
        if card.memory.last_review is not None:
            return ""
        days = round((card.memory.due - datetime.now(UTC)).total_seconds() / 86_400)
        return {0: "today", 1: "tomorrow"}.get(days, f"in {count(days, 'day')}") if days >= 0 else "now"

    def _cards(self, session: Session) -> dict[int, Card]:
        """The learner's saved answers by turn."""
        found = reviews.cards(session, self.learner_id)
        return {card.turn_id: card for card in found if card.turn_id is not None}

    def _held(self, session: Session, turn: Turn) -> Held:
        nudge = socratic.nudge_of(turn)
        places = [(place.title, place.heading, self._link(session, place)) for place in nudge.places]
        ready = bool(socratic.key_points(turn.sentences))
        return Held(places, nudge.sentence, nudge.question, ready)

    def _link(self, session: Session, place: socratic.Place) -> str:
        """The place in the reader: the section, not the sentence."""
        source = place.source or COURSE
        number = self.library.ids(session).get((source, place.document))
        document = next((d for d in self.library.course(session) if d.id == number), None)
        anchor = ""
        if document is not None:
            headings = place.heading.split(" › ")
            sections = page_sections(document.text, document.title, document.media_type)
            anchor = next((s.anchor for s in sections if s.title in headings), "")
        return reader_url(source, place.document, doc=number, section=anchor)


def number(value: Any) -> int | None:
    """A database id from what a browser sent, or None."""
    if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 16:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MAX_ID else None


def word(value: Any, limit: int = 500) -> str | None:
    """A short text from what a browser sent, or None."""
    return value if isinstance(value, str) and 0 < len(value) <= limit else None
