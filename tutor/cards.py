"""Review cards: what is due, rating, undo, the learner's own cards. How long a card rests is `tutor.scheduling`'s.

Question cards are made by `tutor.lessons` with the first answer; takeaway cards when a page has been read; the
learner's own from an answer of the tutor.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from db import conversations, documents, reviews
from db.errors import NotFound
from tutor import progress, scheduling
from tutor.lesson_values import DueQueue, LessonError, Rated
from tutor.pages import concepts_in, takeaways, texts
from tutor.progress import COURSE
from tutor.socratic import is_held

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.reviews import Card
    from db.session import Database

FIRST_REST = timedelta(days=1)  # a card made from what was just read or asked is asked tomorrow, not at once
MAX_SIDE_CHARS = 4000


class Cards:
    """One learner's cards. Safe to share between threads."""

    def __init__(
        self, database: Database, learner_id: int, clock: Callable[[], datetime] | None = None
    ) -> None:
        """`clock` gives the present as an aware UTC time; tests pass their own."""
        self.database = database
        self.learner_id = learner_id
        self.now = clock or (lambda: datetime.now(UTC))

    def due(self, limit: int = 50) -> DueQueue:
        """What is due now. Whoever shows it keeps `back` until it is asked for (`reveal`)."""
        now = self.now()
        with self.database.session(readonly=True) as session:
            found = reviews.due_cards(session, self.learner_id, now, limit)
            total = reviews.count_due(session, self.learner_id, now)
            waiting = [
                card.memory.due
                for card in reviews.cards(session, self.learner_id)
                if not card.suspended and card.memory.due > now
            ]
        return DueQueue(now, total, tuple(found), min(waiting, default=None))

    def reveal(self, card_id: int) -> Card:
        """The card with its back. Raises NotFound."""
        with self.database.session(readonly=True) as session:
            return self._card(session, card_id)

    def rate(
        self, card_id: int, rating: str | int, *, request_id: str | None = None, seconds: float = 0.0
    ) -> Rated:
        """Write down how well a card was remembered, and when it comes back. A repeated request changes nothing.

        Raises LessonError for an unknown rating, NotFound for a card that is not there.
        """
        number = scheduling.RATINGS.get(rating) if isinstance(rating, str) else rating
        if number is None or number not in scheduling.RATINGS.values():
            raise LessonError(
                f"a rating is one of {', '.join(scheduling.RATINGS)} (or 1 to 4), not {rating!r}"
            )
        now = self.now()
        with self.database.session() as session:
            known = (
                reviews.find_review_by_request(session, self.learner_id, request_id) if request_id else None
            )
            if known is not None:
                card = self._card(session, known.card_id)
                return Rated(known.id, card, card.memory.due - known.reviewed_at, repeated=True)
            card = self._card(session, card_id, lock=True)
            after = scheduling.review(card.memory, number, now)
            saved = reviews.save_review(
                session,
                self.learner_id,
                card_id,
                rating=number,
                memory=after.memory,
                lapsed=after.lapsed,
                seconds=seconds,
                at=now,
                request_id=request_id,
            )
            return Rated(saved.id, self._card(session, card_id), after.memory.due - now)

    def undo(self) -> Card | None:
        """Take the latest rating back; the card as it was before, or None where there is nothing to undo."""
        with self.database.session() as session:
            card = reviews.undo_review(session, self.learner_id)
            # What the log says now, not what was stored before: an earlier review may have been deleted meanwhile.
            return progress.replay_card(session, self.learner_id, card.id) if card else None

    def open_page_cards(self, page: str) -> int:
        """Make the takeaway cards of a page that was read; how many there are. Known ones stay as they are."""
        now = self.now()
        with self.database.session() as session:
            document = documents.find_document(session, COURSE, page)
            if document is None:
                return 0
            concepts = texts(document.meta.get("concepts"))
            made = takeaways(page, document.text)
            for takeaway in made:
                if reviews.find_card(session, self.learner_id, takeaway.key):
                    continue  # with the words the learner may have given it
                reviews.put_card(
                    session,
                    self.learner_id,
                    card_key=takeaway.key,
                    origin="takeaway",
                    front=takeaway.front,
                    back=takeaway.sentence,
                    page=page,
                    concepts=concepts_in(takeaway.sentence, concepts),
                    due=now + FIRST_REST,
                    at=now,
                )
        return len(made)

    def save_answer(self, turn_id: int) -> Card:
        """Make a card of a question the learner asked and the tutor's checked answer. Saving twice is one card.

        Raises NotFound, and LessonError for a turn without an answer.
        """
        now = self.now()
        with self.database.session() as session:
            turn = conversations.get_turn(session, turn_id)
            if turn is None or turn.learner_id != self.learner_id:
                raise NotFound(f"Answer {turn_id} doesn't exist (any more).")
            if is_held(turn):
                raise LessonError("this answer is still held back: try it first, or show it")
            said = [str(s["text"]) for s in turn.sentences if s.get("supported")]
            if not said:
                raise LessonError("this turn has no answer to keep")
            cited = [c for c in turn.citations if c.get("source") == COURSE]
            page = str(cited[0]["document"]) if cited else None
            document = documents.find_document(session, COURSE, page) if page else None
            concepts = texts(document.meta.get("concepts")) if document else ()
            return reviews.put_card(
                session,
                self.learner_id,
                card_key=f"answer#{turn.created_at.isoformat()}",  # an id would name another turn after an import
                origin="answer",
                front=turn.question,
                back=" ".join(said),
                page=page,
                turn_id=turn.id,
                concepts=concepts_in(" ".join([turn.question, *said]), concepts),
                due=now + FIRST_REST,
                at=now,
            )

    def suspend(self, card_id: int, suspended: bool) -> Card:
        """Let a card rest until further notice, or take it back into the queue. Raises NotFound."""
        with self.database.session() as session:
            return reviews.suspend_card(session, self.learner_id, card_id, suspended)

    def edit(self, card_id: int, *, front: str, back: str) -> Card:
        """Change a card's words; its memory stays. Raises LessonError for an empty or huge side, NotFound."""
        sides = front.strip(), back.strip()
        if not all(sides):
            raise LessonError("a card needs something on both sides")
        if max(map(len, sides)) > MAX_SIDE_CHARS:
            raise LessonError(f"each side of a card has at most {MAX_SIDE_CHARS:,} characters")
        with self.database.session() as session:
            return reviews.edit_card(session, self.learner_id, card_id, front=sides[0], back=sides[1])

    def delete(self, card_id: int) -> None:
        """Delete a card with its reviews. Raises NotFound."""
        with self.database.session() as session:
            reviews.delete_card(session, self.learner_id, card_id)

    def _card(self, session: Session, card_id: int, *, lock: bool = False) -> Card:
        card = reviews.get_card(session, self.learner_id, card_id, lock=lock)
        if card is None:
            raise NotFound(f"Card {card_id} doesn't exist (any more).")
        return card
