"""The Learn page: opens documents, a course page only once its question is answered, and writes down what is read.

How it looks is `learn_view.py`; what its questions ask of the server is `lesson_calls.py`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import gradio as gr

from db import study
from tutor import progress
from tutor.lesson_values import Gate
from tutor.study import graph
from tutor.ui import layout, learn_view, path_view
from tutor.ui.lesson_calls import LessonCalls
from tutor.ui.library import COURSE, Continue, Library, PathPage, continue_at, page_key, study_path
from tutor.ui.markdown import LinkFor, page_sections, render_page
from tutor.ui.markup import reader_url

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.documents import StoredDocument
    from db.study import SectionRead
    from tutor.services import Services

MAX_SECONDS = 120.0  # of one section in one report; the browser reports every few seconds
MAX_SECTIONS = 50
_SPAN = re.compile(r"(\d{1,9})-(\d{1,9})\Z")


class LearnPage:
    """Handlers of the Learn page."""

    def __init__(self, services: Services, library: Library) -> None:
        self._database = services.database
        self._learner = services.learner_id
        self._lessons = services.lessons
        self._cards = services.cards
        self._library = library

    def build(self, blocks: gr.Blocks) -> None:
        """Lay the page out and connect it."""
        layout.header("Learn")
        calls = LessonCalls(self._lessons, self.body)
        body = layout.surface("learn", "lesson", [calls.commit, calls.hint, calls.again, calls.override])
        blocks.load(self.open, outputs=body, queue=False, show_progress="hidden", api_visibility="private")

    def open(self, request: gr.Request) -> str:
        """The page for the address in the browser: ?page=, ?doc=, ?section=, ?cite=START-END; the path without."""
        return self.show(dict(request.query_params))

    def show(self, query: Mapping[str, str]) -> str:
        """The page for these query values."""
        with self._database.session(readonly=True) as session:
            path, go_on, others = self._around(session)
            if not query.get("page") and not query.get("doc"):
                nodes = graph(progress.study_pages(session, self._learner))
                return learn_view.home(path, nodes, go_on, others)
            document = self._library.find(
                session, doc=query.get("doc"), source=query.get("source"), page=query.get("page")
            )
        if document is None:
            return learn_view.not_found(path, go_on, others)
        opened = self._reader(document, query.get("cite", ""), query.get("section", ""))
        return learn_view.reader(opened, path, go_on, others)

    def body(self, page: str, cite: str) -> str:
        """A course page below its first question; "" while that is not answered."""
        with self._database.session(readonly=True) as session:
            path, _, _ = self._around(session)
            document = self._library.find(session, page=page)
        opened = self._reader(document, cite, "") if document else None
        return learn_view.body(opened, path) if opened and opened.gate.open else ""

    def _reader(self, document: StoredDocument, cite: str, section: str) -> learn_view.Reader:
        key = page_key(document.source, document.path)
        with self._database.session(readonly=True) as session:
            rows = study.reading_progress(session, self._learner, page=key)
            links = _links(document, self._library.ids(session))
        page = render_page(
            document.text,
            title=document.title,
            media_type=document.media_type,
            cite=_cite(cite),
            link_for=links,
        )
        gate = self._lessons.gate(document.path) if document.source == COURSE else Gate(open=True, first=None)
        return learn_view.Reader(
            source=document.source,
            path=document.path,
            title=document.title,
            meta=document.meta,
            page=page,
            now=self._lessons.now(),
            gate=gate,
            read=frozenset(row.section for row in rows if row.read),
            section=section,
            document_id=document.id,
        )

    def record(self, report: Mapping[str, Any]) -> str | None:
        """Write down {page, sections: [{section, seconds, read}]}; the study path as it looks now, or None.

        Sections and pages that do not exist are ignored: only what was rendered can be read. A course page that has
        just been read to its end gives its review cards.
        """
        key, sections = report.get("page"), report.get("sections")
        if not isinstance(key, str) or not isinstance(sections, list):
            return None
        with self._database.session(readonly=True) as session:
            document = self._by_key(session, key)
        if document is None:
            return None
        known = {s.anchor for s in page_sections(document.text, document.title, document.media_type)}
        rows = [row for item in sections[:MAX_SECTIONS] if (row := _seen(item, known))]
        if not rows:
            return None
        now = datetime.now(UTC)
        with self._database.session() as session:
            before = study.reading_progress(session, self._learner, key)
            for section, seconds, read in rows:
                study.record_reading(session, self._learner, key, section, seconds=seconds, read=read, at=now)
        with self._database.session(readonly=True) as session:
            path, go_on, others = self._around(session)
        if document.source == COURSE and _just_read(document.path, before, path):
            self._cards.open_page_cards(document.path)
        return path_view.path_list(path, current=key, go_on=go_on, others=others)

    def _around(self, session: Session) -> tuple[list[PathPage], Continue | None, list[tuple[str, str]]]:
        progress = study.reading_progress(session, self._learner)
        path = study_path(self._library.course(session), progress)
        go_on = continue_at(path, progress)
        others = [(d.title, reader_url(d.source, d.path, doc=d.id)) for d in self._library.others(session)]
        return path, go_on, others

    def _by_key(self, session: Session, key: str) -> StoredDocument | None:
        if document := self._library.find(session, page=key):
            return document
        for other in self._library.others(session):
            if page_key(other.source, other.path) == key:
                return self._library.find(session, doc=str(other.id))
        return None


def _just_read(page: str, before: Iterable[SectionRead], path: Iterable[PathPage]) -> bool:
    """Whether the page is read now and was not before."""
    now = next((p for p in path if p.path == page), None)
    return bool(now and now.state == "read" and now.read - {row.section for row in before if row.read})


def _seen(item: Any, known: set[str]) -> tuple[str, float, bool] | None:
    """(section, seconds, read) from what a browser sent, or None where it makes no sense."""
    if not isinstance(item, dict) or item.get("section") not in known:
        return None
    seconds = item.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        return None
    read = item.get("read") is True
    return (item["section"], min(float(seconds), MAX_SECONDS), read) if seconds > 0 or read else None


def _cite(value: str) -> tuple[int, int] | None:
    span = _SPAN.match(value)
    return (int(span[1]), int(span[2])) if span else None


def _links(document: StoredDocument, ids: Mapping[tuple[str, str], int]) -> LinkFor:
    """Links of a document to others of its source, and within itself."""
    folder = posixpath.dirname(document.path)

    def link_for(path: str, fragment: str) -> str | None:
        target = posixpath.normpath(posixpath.join(folder, path)) if path else document.path
        number = ids.get((document.source, target))
        if number is None:
            return None
        return reader_url(document.source, target, doc=number, section=fragment)

    return link_for
