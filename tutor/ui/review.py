"""The Review page: what is due, one card after the other. Its looks: `review_view.py`; its quizzes: `quiz_calls.py`.

What the browser may do is a method each, with the one value it sent; each answers {html} for the place it changes, or
{error}. Cards are `tutor.cards`; nothing is decided here but what to show.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import gradio as gr

from db import quizzes, reviews
from db.errors import NotFound
from tutor import progress, scheduling
from tutor.commands.study import local_zone
from tutor.ui import curve_view, layout, review_view
from tutor.ui.calls import UNREADABLE, number_of, seconds_of, text_of, told, value
from tutor.ui.card_source import card_source
from tutor.ui.quiz_calls import QuizCalls
from tutor.ui.review_view import Counts, Listed, Shown

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.reviews import Card, Review
    from tutor.services import Services
    from tutor.ui.curve_view import Past
    from tutor.ui.library import Library

MAX_CARD_SECONDS = 300.0  # on one card; what is longer was an open window, not thinking
UNDO_WITHIN = timedelta(hours=1)
_GONE = "This card is no longer there; it was deleted, perhaps in another tab."


class ReviewPage:
    """Handlers of the Review page."""

    def __init__(self, services: Services, library: Library) -> None:
        self._database = services.database
        self._learner = services.learner_id
        self._cards = services.cards
        self._quiz = QuizCalls(services.lessons, services.quizzes, self._now)
        self._library = library

    def build(self, blocks: gr.Blocks) -> None:
        """Lay the page out and connect it."""
        layout.header("Review")
        on_cards = [self.show, self.reveal, self.rate, self.undo, self.edit_form, self.edit, self.suspend]
        on_lists = [self.delete, self.listed, self.curve]
        on_quizzes = [self._quiz.start, self._quiz.task, self._quiz.answer, self._quiz.override]
        body = layout.surface("review", "review", [*on_cards, *on_lists, *on_quizzes])
        blocks.load(self.open, outputs=body, queue=False, show_progress="hidden", api_visibility="private")

    def open(self, request: gr.Request) -> str:
        """The page for the address in the browser: ?quiz=ID, or what is due."""
        return self.draw(dict(request.query_params))

    def draw(self, query: Mapping[str, str]) -> str:
        """The page for these query values."""
        if query.get("quiz"):
            return self._quiz.page(query["quiz"])
        study, now = self._study(), self._now()
        with self._database.session(readonly=True) as session:
            cards = reviews.cards(session, self._learner)
            known = self._pasts(session, cards)
            slipping = [
                self._listed(session, card, known, now, source=True)
                for card in cards
                if scheduling.is_leech(card.lapses)
            ]
        curve = curve_view.mean_chart(list(known.values()), now)
        return review_view.page(study, curve, slipping, len(cards))

    def show(self, sent: Any) -> dict[str, Any]:
        """{} -> what is due now, its back hidden."""
        return told(lambda: {"html": self._study()})

    def reveal(self, sent: Any) -> dict[str, Any]:
        """{card} -> the card with its back and the ratings."""
        return self._on_card(sent, lambda card_id: self._study(card_id, revealed=True))

    def rate(self, sent: Any) -> dict[str, Any]:
        """{card, rating 1..4, request_id, seconds} -> the next card."""
        rating, request = value(sent, "rating"), text_of(sent, "request_id", 64)
        if not isinstance(rating, int) or not request:
            return {"error": UNREADABLE}

        def work(card_id: int) -> str:
            seconds = seconds_of(sent, MAX_CARD_SECONDS)
            self._cards.rate(card_id, rating, request_id=request, seconds=seconds)
            return self._study()

        return self._on_card(sent, work)

    def undo(self, sent: Any) -> dict[str, Any]:
        """{} -> the card whose rating was taken back, to be rated anew."""

        def work() -> dict[str, Any]:
            with self._database.session(readonly=True) as session:
                undoable = self._undoable(session)
            card = self._cards.undo() if undoable else None
            if card is None:
                return {"html": self._study(note="There is no rating of the last hour to take back.")}
            return {"html": self._study(card.id, note="Rating taken back.")}

        return told(work)

    def edit_form(self, sent: Any) -> dict[str, Any]:
        """{card} -> both sides of the card, to change."""

        def work(card_id: int) -> str:
            card = self._cards.reveal(card_id)
            return review_view.edit_form(card.id, card.front, card.back)

        return self._on_card(sent, work)

    def edit(self, sent: Any) -> dict[str, Any]:
        """{card, front, back} -> what is due."""

        def work(card_id: int) -> str:
            card = self._cards.edit(card_id, front=text_of(sent, "front"), back=text_of(sent, "back"))
            due = card.memory.due <= self._cards.now() and not card.suspended
            return self._study(card_id if due else None, note="The card is changed.")

        return self._on_card(sent, work)

    def suspend(self, sent: Any) -> dict[str, Any]:
        """{card, suspended} -> what is due."""
        suspended = value(sent, "suspended") is not False

        def work(card_id: int) -> str:
            self._cards.suspend(card_id, suspended)
            said = (
                "Suspended: it waits in the list of all cards."
                if suspended
                else "The card is back in the queue."
            )
            return self._study(note=said)

        return self._on_card(sent, work)

    def delete(self, sent: Any) -> dict[str, Any]:
        """{card} -> what is due."""

        def work(card_id: int) -> str:
            self._cards.delete(card_id)
            return self._study(note="The card is deleted.")

        return self._on_card(sent, work)

    def listed(self, sent: Any) -> dict[str, Any]:
        """{} -> every card in one list."""

        def work() -> dict[str, Any]:
            now = self._now()
            with self._database.session(readonly=True) as session:
                cards = reviews.cards(session, self._learner)
                known = self._pasts(session, cards)
                order = {page.path: place for place, page in enumerate(self._library.course(session))}
                cards.sort(key=lambda card: (order.get(card.page or "", len(order)), card.page or "~"))
                rows = [self._listed(session, card, known, now) for card in cards]
            return {"html": review_view.listed(rows, now)}

        return told(work)

    def curve(self, sent: Any) -> dict[str, Any]:
        """{card} -> its forgetting curve."""

        def work(card_id: int) -> str:
            card = self._cards.reveal(card_id)
            with self._database.session(readonly=True) as session:
                past = self._pasts(session, [card])[card_id]
            return curve_view.card_chart(past, card.memory.due, self._now())

        return self._on_card(sent, work)

    def _on_card(self, sent: Any, work: Callable[[int], str]) -> dict[str, Any]:
        """{html} that `work(card id)` draws; where the card is gone, what is due and a word about it."""
        card_id = number_of(sent, "card")
        if card_id is None:
            return {"error": UNREADABLE}

        def tried() -> dict[str, Any]:
            try:
                return {"html": work(card_id)}
            except NotFound:
                return {"html": self._study(note=_GONE), "gone": True}

        return told(tried)

    def _study(self, card_id: int | None = None, *, revealed: bool = False, note: str = "") -> str:
        """The card `card_id`, else the one that is due for longest, else that nothing is due."""
        queue, now = self._cards.due(limit=1), self._now()
        card = queue.cards[0] if queue.cards else None
        if card_id is not None:
            card = self._cards.reveal(card_id)
        with self._database.session(readonly=True) as session:
            counts = self._counts(session, queue.total, now)
            if card is not None:
                return review_view.card(self._shown(session, card, revealed, now), counts, note)
            weak = progress.weak_concepts(session, self._learner, now) if counts.cards else []
        known = [(concept.concept, concept.score or 0.0) for concept in weak]
        return review_view.done(
            counts, queue.next_due and queue.next_due.astimezone(now.tzinfo), now, known, note
        )

    def _shown(self, session: Session, card: Card, revealed: bool, now: datetime) -> Shown:
        named = (
            f"{card.card_key}|{card.created_at}|{card.memory.last_review}|{card.memory.due}|{self._learner}"
        )
        return Shown(
            id=card.id,
            origin=card.origin,
            front=card.front,
            # the same in every tab that shows this card at this point of its life: rated once
            request_id=f"review-{hashlib.sha256(named.encode()).hexdigest()[:32]}",
            back=card.back if revealed else None,
            rests=tuple(
                (name, scheduling.interval_text(rest))
                for name, rest in scheduling.previews(card.memory, now).items()
            ),
            source=card_source(session, self._learner, card) if revealed else None,
            leech=scheduling.is_leech(card.lapses),
        )

    def _counts(self, session: Session, due: int, now: datetime) -> Counts:
        midnight = datetime.combine(now.date(), time(), tzinfo=now.tzinfo)
        today = [r for r in reviews.reviews(session, self._learner, since=midnight) if r.attempt_id is None]
        return Counts(due, len(today), len(reviews.cards(session, self._learner)), self._undoable(session))

    def _undoable(self, session: Session) -> bool:
        """Only a rating on this page, and a fresh one: an answer that was graded is appealed instead."""
        latest: list[Review] = reviews.reviews(session, self._learner, limit=1)
        return any(
            review.attempt_id is None and review.reviewed_at >= self._cards.now() - UNDO_WITHIN
            for review in latest
        )

    def _pasts(self, session: Session, cards: list[Card]) -> dict[int, Past]:
        card_id = cards[0].id if len(cards) == 1 else None
        log = reviews.reviews(session, self._learner, card_id=card_id)
        answered = quizzes.attempts(session, self._learner, include_deleted=True)
        return curve_view.pasts(cards, log, {a.id for a in answered if a.deleted_at is not None})

    def _listed(
        self, session: Session, card: Card, known: dict[int, Past], now: datetime, *, source: bool = False
    ) -> Listed:
        page = self._library.find(session, page=card.page) if card.page else None
        return Listed(
            id=card.id,
            front=card.front,
            origin=card.origin,
            page=page.title if page else card.page or "",
            due=card.memory.due,
            chance=known[card.id].remembered(now),
            lapses=card.lapses,
            suspended=card.suspended,
            source=card_source(session, self._learner, card) if source else None,
        )

    def _now(self) -> datetime:
        return self._cards.now().astimezone(local_zone())
