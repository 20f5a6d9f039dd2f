"""The History page: gathers what was done, how well, and what is known. Its looks: `history_view.py` and its parts.

What the browser may do is a method each, with the one value it sent; each answers {html, ...} or {error}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, get_args

import gradio as gr

from db import conversations, feedback, quizzes, reviews, study
from db.errors import NotFound
from tutor import activity, progress
from tutor.answer import without_citations
from tutor.commands.study import local_zone
from tutor.study import next_step
from tutor.ui import history_charts, history_view, layout, mastery_view, my_data, timeline_view
from tutor.ui.calls import UNREADABLE, number_of, text_of, told, value
from tutor.ui.history_view import Day, PageRead, Question, Totals
from tutor.ui.library import GLANCE_S, Library, page_key
from tutor.ui.markdown import page_sections
from tutor.ui.markup import count, reader_url, url, when
from tutor.ui.timeline import Filters, Kind, about, held_back, timeline

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.documents import StoredDocument
    from tutor.mastery import ConceptMastery
    from tutor.services import Services

MAX_QUESTIONS = 200
_WEEK = timedelta(days=6)


@dataclass(frozen=True, slots=True)
class Seen:
    """The moment and the time zone for which the page is drawn."""

    now: datetime
    zone: tzinfo

    @property
    def today(self) -> date:
        return self.now.astimezone(self.zone).date()


class HistoryPage:
    """Handlers of the History page."""

    def __init__(self, services: Services, library: Library) -> None:
        self._database = services.database
        self._learner = services.learner_id
        self._lessons = services.lessons
        self._quizzes = services.quizzes
        self._library = library

    def build(self, blocks: gr.Blocks) -> None:
        """Lay the page out and connect it."""
        layout.header("History")
        calls = [self.log, self.evidence, self.override, self.delete, self.restore, self.start]
        body = layout.surface("history", "history", calls)
        blocks.load(self.open, outputs=body, queue=False, show_progress="hidden", api_visibility="private")

    def open(self, request: gr.Request) -> str:
        """The page for ?period=, ?kind= and ?page= in the browser's address."""
        return self.show(dict(request.query_params), local_zone(), datetime.now(UTC))

    def show(self, query: Mapping[str, str], zone: tzinfo, now: datetime) -> str:
        """The page for a choice of period, kind and page, as seen at `now` in `zone`."""
        seen = Seen(now, zone)
        today = seen.today
        with self._database.session(readonly=True) as session:
            totals = study.daily_totals(session, self._learner, tz=zone)
            this_week = [t for t in totals if today - _WEEK <= t.day <= today]
            answered = quizzes.attempts(session, self._learner, since=now - timedelta(weeks=13))
            return history_view.page(
                Totals(
                    seconds=sum(t.seconds for t in this_week),
                    sections=sum(t.sections for t in this_week),
                    questions=sum(t.questions for t in this_week),
                    days=len(this_week),
                    answers=sum(t.answers for t in this_week),
                    reviews=sum(t.reviews for t in this_week),
                ),
                history_charts.streak_line(activity.streak(totals, today)),
                history_charts.heatmap(activity.weeks(totals, today), today),
                history_charts.accuracy_chart(activity.accuracy(answered, zone, today)),
                mastery_view.concepts(progress.concept_mastery(session, self._learner, now)),
                self._log(session, query, seen, totals),
                my_data.section(),
            )

    def log(self, sent: Any) -> dict[str, Any]:
        """{period, kind, page} -> what was done."""
        query = {key: text_of(sent, key, 500) for key in ("period", "kind", "page")}

        def work() -> dict[str, Any]:
            seen = Seen(datetime.now(UTC), local_zone())
            with self._database.session(readonly=True) as session:
                totals = study.daily_totals(session, self._learner, tz=seen.zone)
                return {"html": self._log(session, query, seen, totals)}

        return told(work)

    def evidence(self, sent: Any) -> dict[str, Any]:
        """{concept} -> what its score is made of."""
        return told(lambda: {"panel": self._explained(text_of(sent, "concept", 500))[1]})

    def override(self, sent: Any) -> dict[str, Any]:
        """Let {attempt, verdict (null: take it back), reason, concept} count -> {html, panel}."""
        attempt, verdict = number_of(sent, "attempt"), value(sent, "verdict")
        if attempt is None or not isinstance(verdict, str | None):
            return {"error": UNREADABLE}

        def work() -> dict[str, Any]:
            self._lessons.override(attempt, verdict, text_of(sent, "reason", 1000))
            return self._redrawn(sent)

        return told(work)

    def delete(self, sent: Any) -> dict[str, Any]:
        """Delete {kind, ref, concept} from the evidence -> {html, panel}."""
        kind, ref = text_of(sent, "kind", 20), text_of(sent, "ref", 500)
        if kind not in ("attempt", "review", "reading") or not (
            ref if kind == "reading" else ref.isdecimal()
        ):
            return {"error": UNREADABLE}

        def work() -> dict[str, Any]:
            with self._database.session() as session:
                progress.delete_evidence(session, self._learner, kind, ref, datetime.now(UTC))
            return self._redrawn(sent, mastery_view.undo_note(int(ref)) if kind == "attempt" else "")

        return told(work)

    def restore(self, sent: Any) -> dict[str, Any]:
        """Let a deleted {attempt, concept} count again -> {html, panel}."""
        attempt = number_of(sent, "attempt")
        if attempt is None:
            return {"error": UNREADABLE}

        def work() -> dict[str, Any]:
            with self._database.session() as session:
                restored = quizzes.restore_attempt(session, self._learner, attempt)
                card = reviews.find_card(session, self._learner, restored.question_key)
                if card is not None:
                    progress.replay_card(session, self._learner, card.id)
            return self._redrawn(sent)

        return told(work)

    def start(self, sent: Any) -> dict[str, Any]:
        """Begin a quiz on {concept, request_id} -> {quiz}, its id."""

        def work() -> dict[str, Any]:
            request, concept = text_of(sent, "request_id", 64) or None, text_of(sent, "concept", 500)
            return {"quiz": self._quizzes.start("concept", concept=concept, request_id=request).id}

        return told(work)

    def _redrawn(self, sent: Any, note: str = "") -> dict[str, Any]:
        name = text_of(sent, "concept", 500)
        known, panel = self._explained(name, note)
        return {"html": mastery_view.concepts(known, name), "panel": panel}

    def _explained(self, name: str, note: str = "") -> tuple[Sequence[ConceptMastery], str]:
        """All concepts, and the evidence of the one with this name. Raises NotFound."""
        now = datetime.now(UTC).astimezone(local_zone())
        with self._database.session(readonly=True) as session:
            known = progress.concept_mastery(session, self._learner, now)
            concept = next((concept for concept in known if concept.concept == name), None)
            if concept is None:
                raise NotFound("This concept is no longer in the course; reload the page.")
            given = [row for row in concept.evidence if row.kind == "attempt"]
            attempts = {a.id: a for a in quizzes.attempts(session, self._learner)} if given else {}
            overridden = {number for number, a in attempts.items() if a.override_verdict is not None}
            latest: dict[str, quizzes.Attempt] = {}
            for row in given:  # newest first
                if attempt := attempts.get(row.id or 0):
                    latest.setdefault(attempt.question_key, attempt)
            failed = next((a for a in latest.values() if a.counted == "incorrect"), None)
            ahead = next_step(failed.page, progress.study_pages(session, self._learner)) if failed else None
        step = (ahead.path, ahead.title) if ahead else None
        return known, mastery_view.evidence(concept, now, overridden, step, note)

    def _log(
        self, session: Session, query: Mapping[str, str], seen: Seen, totals: Sequence[study.DayTotal]
    ) -> str:
        """What was done in the chosen period; choices that don't exist are none."""
        known = self._known(session)
        touched = {row.page for row in study.reading_progress(session, self._learner)}
        listed = {k: d.title for k, d in known.items() if d.source == "course" or k in touched}
        period = query.get("period", "")
        period = period if period in dict(timeline_view.PERIODS) else "week"
        kind: Kind | None = next((k for k in get_args(Kind) if k == query.get("kind")), None)
        page = query.get("page") if query.get("page") in listed else None
        days = [Day(t.day, t.seconds, t.questions) for t in totals]
        first = {"week": seen.today - _WEEK, "month": seen.today - timedelta(days=29)}.get(
            period, _first(days, seen.today - _WEEK)
        )
        filters = Filters(datetime.combine(first, time(), tzinfo=seen.zone), kind, page)
        found = timeline(session, self._learner, self._library, filters, seen.zone)
        whole = kind is None and page is None  # the chart counts every minute, whatever it was spent on
        return history_view.log(
            timeline_view.filters(period, kind, page, listed),
            history_view.chart(history_view.fill_days(days, first, seen.today)) if whole else "",
            timeline_view.days(found, seen.today, seen.zone),
            history_view.pages(self._pages(session, filters, seen)) if kind in (None, "reading") else "",
            history_view.questions(self._questions(session, filters, seen))
            if kind in (None, "questions")
            else "",
        )

    def _known(self, session: Session) -> dict[str, StoredDocument]:
        documents = [*self._library.course(session), *self._library.others(session)]
        return {page_key(d.source, d.path): d for d in documents}

    def _pages(self, session: Session, filters: Filters, seen: Seen) -> list[PageRead]:
        known = self._known(session)
        rows: dict[str, list[study.SectionRead]] = {}
        for row in study.reading_progress(session, self._learner, page=filters.page):
            rows.setdefault(row.page, []).append(row)
        last = {key: max(row.last_at for row in sections) for key, sections in rows.items()}
        return [
            _page_read(key, known.get(key), rows[key], when(last[key], now=seen.now, tz=seen.zone))
            for key in sorted(rows, key=last.__getitem__, reverse=True)
            if last[key] >= filters.since
            and (any(row.read for row in rows[key]) or sum(row.seconds for row in rows[key]) >= GLANCE_S)
        ]

    def _questions(self, session: Session, filters: Filters, seen: Seen) -> list[Question]:
        rated = {f.turn_id: f.rating for f in feedback.list_feedback(session, learner_id=self._learner)}
        return [
            Question(
                question=turn.question,
                answer="" if held_back(turn) else without_citations(turn.answer),
                status=turn.status,
                link=url("chat", c=turn.conversation_id) + f"#turn-{turn.id}",
                at=when(turn.created_at, now=seen.now, tz=seen.zone),
                rating=rated.get(turn.id),
                held_back=held_back(turn),
            )
            for turn in conversations.recent_turns(session, self._learner, MAX_QUESTIONS, filters.since)
            if about(turn, filters.page)
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
