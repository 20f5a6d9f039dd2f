"""The History page: gathers what was read, asked and rated in a period. How it looks is `history_view.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING

import gradio as gr

from db import conversations, feedback, study
from tutor.commands.study import local_zone
from tutor.ui import history_view, layout
from tutor.ui.history_view import Day, PageRead, Question, Totals
from tutor.ui.library import GLANCE_S, Library, page_key
from tutor.ui.markdown import page_sections
from tutor.ui.markup import count, reader_url, url, when

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.documents import StoredDocument
    from tutor.services import Services

MAX_QUESTIONS = 200
_NUMBERS = re.compile(r" \[\d+\]")


class HistoryPage:
    """Handlers of the History page."""

    def __init__(self, services: Services, library: Library) -> None:
        self._database = services.database
        self._learner = services.learner_id
        self._library = library

    def build(self, blocks: gr.Blocks) -> None:
        """Lay the page out and connect it."""
        layout.header("History")
        body = layout.surface("history", "page")
        blocks.load(self.open, outputs=body, queue=False, show_progress="hidden", api_visibility="private")

    def open(self, request: gr.Request) -> str:
        """The page for ?period= in the browser's address."""
        return self.show(dict(request.query_params), local_zone(), datetime.now(UTC))

    def show(self, query: Mapping[str, str], zone: tzinfo, now: datetime) -> str:
        """The page for a period, as seen at `now` in `zone`."""
        period = query.get("period", "")
        period = period if period in dict(history_view.PERIODS) else "week"
        today = now.astimezone(zone).date()
        week = today - timedelta(days=6)
        with self._database.session(readonly=True) as session:
            totals = study.daily_totals(session, self._learner, tz=zone)
            days = [Day(t.day, t.seconds, t.questions) for t in totals]
            first = {"week": week, "month": today - timedelta(days=29)}.get(period, _first(days, week))
            this_week = [t for t in totals if week <= t.day <= today]
            since = datetime.combine(first, time(), tzinfo=zone)
            return history_view.page(
                period,
                Totals(
                    seconds=sum(t.seconds for t in this_week),
                    sections=sum(t.sections for t in this_week),
                    questions=sum(t.questions for t in this_week),
                    days=len(this_week),
                ),
                history_view.fill_days(days, first, today),
                self._pages(session, since, zone, now),
                self._questions(session, since, zone, now),
            )

    def _pages(self, session: Session, since: datetime, zone: tzinfo, now: datetime) -> list[PageRead]:
        documents = [*self._library.course(session), *self._library.others(session)]
        known = {page_key(d.source, d.path): d for d in documents}
        rows: dict[str, list[study.SectionRead]] = {}
        for row in study.reading_progress(session, self._learner):
            rows.setdefault(row.page, []).append(row)
        last = {key: max(row.last_at for row in sections) for key, sections in rows.items()}
        return [
            _page_read(key, known.get(key), rows[key], when(last[key], now=now, tz=zone))
            for key in sorted(rows, key=last.__getitem__, reverse=True)
            if last[key] >= since
            and (any(row.read for row in rows[key]) or sum(row.seconds for row in rows[key]) >= GLANCE_S)
        ]

    def _questions(self, session: Session, since: datetime, zone: tzinfo, now: datetime) -> list[Question]:
        rated = {f.turn_id: f.rating for f in feedback.list_feedback(session, learner_id=self._learner)}
        return [
            Question(
                question=turn.question,
                answer=_NUMBERS.sub("", turn.answer),
                status=turn.status,
                link=url("chat", c=turn.conversation_id) + f"#turn-{turn.id}",
                at=when(turn.created_at, now=now, tz=zone),
                rating=rated.get(turn.id),
            )
            for turn in conversations.recent_turns(session, self._learner, MAX_QUESTIONS, since)
        ]


def _first(days: list[Day], week: date) -> date:
    return min([*(day.day for day in days), week])


def _page_read(
    key: str, document: StoredDocument | None, sections: Sequence[study.SectionRead], last: str
) -> PageRead:
    read = sum(row.read for row in sections)
    total = 0
    if document and document.text:  # only course pages are kept with their text
        total = len(page_sections(document.text, document.title, document.media_type))
    return PageRead(
        title=document.title if document else key,
        link=reader_url(document.source, document.path, doc=document.id) if document else None,
        sections=f"{min(read, total)} of {total} sections" if total else count(read, "section") + " read",
        seconds=sum(row.seconds for row in sections),
        last=last,
    )
