"""What was done, day by day: gathers reading, answers, reviews and questions. Its looks: `timeline_view.py`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Literal

from db import conversations, quizzes, reviews, study
from tutor.ui.library import COURSE, GLANCE_S, Library, page_key
from tutor.ui.markup import count, minutes, reader_url, url

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.conversations import Turn
    from db.documents import StoredDocument

Kind = Literal["reading", "answers", "reviews", "questions"]
STATUS_WORDS = {
    "answered": "Answered",
    "quoted": "Quoted",
    "not_covered": "Not covered",
    "interrupted": "Stopped",
    "failed": "Failed",
}
MAX_ROWS = 2000  # of each kind; a period with more shows its latest


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was done. `tag` is a verdict; `link` None where what it was about is gone."""

    kind: Kind
    at: datetime
    text: str
    detail: str
    facts: str
    link: str | None
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class TimelineDay:
    """A day in the learner's time zone with what was done, the latest first."""

    day: date
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Filters:
    """What is shown: since when, and of which kind and page; None is all."""

    since: datetime
    kind: Kind | None = None
    page: str | None = None


def timeline(
    session: Session, learner_id: int, library: Library, filters: Filters, zone: tzinfo
) -> list[TimelineDay]:
    """The days with something to show, the latest first."""
    known = {page_key(d.source, d.path): d for d in (*library.course(session), *library.others(session))}
    entries: list[Entry] = []
    if filters.kind in (None, "reading"):
        entries += _reading(session, learner_id, known, filters, zone)
    if filters.kind in (None, "answers"):
        entries += _answers(session, learner_id, known, filters)
    if filters.kind in (None, "reviews"):
        entries += _reviews(session, learner_id, filters, zone)
    if filters.kind in (None, "questions"):
        turns = conversations.recent_turns(session, learner_id, MAX_ROWS, filters.since)
        entries += [_asked(turn) for turn in turns if about(turn, filters.page)]
    days: dict[date, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.at, reverse=True):
        days[entry.at.astimezone(zone).date()].append(entry)
    return [TimelineDay(day, tuple(found)) for day, found in sorted(days.items(), reverse=True)]


def held_back(turn: Turn) -> bool:
    """Whether the answer of a Socratic turn is still hidden from the learner."""
    return turn.socratic is not None and not turn.socratic.get("revealed_at")


def about(turn: Turn, page: str | None) -> bool:
    """Whether a question belongs to a page: its answer cites it. Every question does if `page` is None."""
    cited = {page_key(str(c.get("source", COURSE)), str(c.get("document"))) for c in turn.citations}
    return page is None or page in cited


def _reading(
    session: Session, learner_id: int, known: Mapping[str, StoredDocument], filters: Filters, zone: tzinfo
) -> list[Entry]:
    """One entry for each page and day; a glance of a few seconds is none."""
    happened: dict[tuple[date, str], list[study.StudyEvent]] = defaultdict(list)
    for event in study.events(
        session, learner_id, since=filters.since, kinds=(study.READING, study.SECTION_READ)
    ):
        if event.page is not None and filters.page in (None, event.page):
            happened[event.at.astimezone(zone).date(), event.page].append(event)
    found = []
    for (_, page), events in happened.items():
        seconds = sum(event.seconds for event in events)
        sections = len({event.ref for event in events if event.kind == study.SECTION_READ})
        if not sections and seconds < GLANCE_S:
            continue
        document = known.get(page)
        facts = [minutes(seconds)] if seconds else []
        found.append(
            Entry(
                kind="reading",
                at=max(event.at for event in events),
                text=document.title if document else page,
                detail="",
                facts=" · ".join(([f"{count(sections, 'section')} read"] if sections else []) + facts),
                link=reader_url(document.source, document.path, doc=document.id) if document else None,
            )
        )
    return found


def _answers(
    session: Session, learner_id: int, known: Mapping[str, StoredDocument], filters: Filters
) -> list[Entry]:
    given = quizzes.attempts(session, learner_id, page=filters.page, since=filters.since, limit=MAX_ROWS)
    return [
        Entry(
            kind="answers",
            at=attempt.created_at,
            text=attempt.question,
            detail=attempt.answer if attempt.answer is not None else "I don't know yet",
            facts=known[attempt.page].title if attempt.page in known else attempt.page,
            link=reader_url(COURSE, attempt.page) if attempt.page in known else None,
            tag=attempt.counted,
        )
        for attempt in given
    ]


def _reviews(session: Session, learner_id: int, filters: Filters, zone: tzinfo) -> list[Entry]:
    """One entry a day: ratings are many and each says little."""
    page_of: Mapping[int, Any] = {card.id: card.page for card in reviews.cards(session, learner_id)}
    days: dict[date, list[reviews.Review]] = defaultdict(list)
    for review in reviews.reviews(session, learner_id, since=filters.since):
        if review.attempt_id is None and filters.page in (None, page_of.get(review.card_id)):
            days[review.reviewed_at.astimezone(zone).date()].append(review)
    found = []
    for log in days.values():
        forgotten = sum(review.rating == 1 for review in log)
        facts = [f"{len(log) - forgotten} remembered"] + ([f"{forgotten} forgotten"] if forgotten else [])
        text, at = count(len(log), "review"), max(review.reviewed_at for review in log)
        found.append(Entry("reviews", at, text, "", " · ".join(facts), url("review")))
    return found


def _asked(turn: Turn) -> Entry:
    said = (
        "Answer held back until you have tried"
        if held_back(turn)
        else STATUS_WORDS.get(turn.status, turn.status)
    )
    link = url("chat", c=turn.conversation_id) + f"#turn-{turn.id}"
    return Entry("questions", turn.created_at, turn.question, "", said, link)
