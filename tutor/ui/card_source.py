"""Where a card comes from: the page, the section and, as a link, the sentence to read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db import conversations, documents, quizzes
from retrieval.words import content_stems
from tutor.ui.library import COURSE
from tutor.ui.markup import reader_url

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.documents import StoredChunk
    from db.reviews import Card

ENOUGH = 0.5  # a sentence that shares fewer of the card's words does not explain it
_SUMMARY = "takeaway"  # the heading of the section that a takeaway card was made from


@dataclass(frozen=True, slots=True)
class Source:
    """A place to read: the page's title, the section's heading ("" before the first), and the link that opens it."""

    title: str
    section: str
    link: str


def card_source(session: Session, learner_id: int, card: Card) -> Source | None:
    """The place that answers a card; None where the page is gone or the card belongs to none.

    A question's place is the sentence of the key point that its latest answer missed, else made.
    """
    if card.turn_id is not None:
        return _cited(session, learner_id, card.turn_id)
    document = documents.find_document(session, COURSE, card.page) if card.page else None
    if document is None:
        return None
    chunks = documents.document_chunks(session, document.id)
    span = _quoted(session, learner_id, card.card_key) or best_sentence(chunks, card.back)
    if span is None:
        return Source(document.title, "", reader_url(COURSE, document.path))
    return Source(document.title, _heading(chunks, span[0]), reader_url(COURSE, document.path, cite=span))


def best_sentence(chunks: Sequence[StoredChunk], text: str) -> tuple[int, int] | None:
    """(start, end) of the sentence outside the takeaways that shares most words with the text; the first of equals."""
    wanted = set(content_stems(text))
    best, found = 0.0, None
    for chunk in chunks:
        if any(_SUMMARY in heading.casefold() for heading in chunk.heading_path):
            continue
        for start, end, sentence, kind in chunk.sentences:
            shared = len(wanted & set(content_stems(sentence))) / max(1, len(wanted))
            if kind not in ("heading", "code") and shared > best:
                best, found = shared, (start, end)
    return found if best >= ENOUGH else None


def _quoted(session: Session, learner_id: int, key: str) -> tuple[int, int] | None:
    latest = quizzes.attempts(session, learner_id, question_key=key, limit=1)
    points = sorted(latest[0].key_points, key=lambda point: bool(point.get("hit"))) if latest else []
    quotes = [point["quote"] for point in points if point.get("quote")]
    return (int(quotes[0]["start"]), int(quotes[0]["end"])) if quotes else None


def _cited(session: Session, learner_id: int, turn_id: int) -> Source | None:
    turn = conversations.get_turn(session, turn_id)
    if turn is None or turn.learner_id != learner_id or not turn.citations:
        return None
    first = turn.citations[0]
    source, path = str(first.get("source", COURSE)), str(first["document"])
    document = documents.find_document(session, source, path)
    if document is None:
        return None
    link = reader_url(source, path, doc=document.id, cite=(int(first["start"]), int(first["end"])))
    return Source(document.title, str(first.get("heading") or ""), link)


def _heading(chunks: Sequence[StoredChunk], start: int) -> str:
    chunk = next((chunk for chunk in chunks if chunk.start <= start < chunk.end), None)
    return chunk.heading_path[-1] if chunk and chunk.heading_path else ""
