"""The Learn page: opens documents, and writes down what is read. How it looks is `learn_view.py`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import gradio as gr

from db import study
from tutor.ui import layout, learn_view
from tutor.ui.library import Continue, Library, PathPage, continue_at, page_key, study_path
from tutor.ui.markdown import LinkFor, page_sections, render_page
from tutor.ui.markup import reader_url

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.documents import StoredDocument
    from tutor.services import Services

MAX_SECONDS = 120.0  # of one section in one report; the browser reports every few seconds
MAX_SECTIONS = 50
_SPAN = re.compile(r"(\d{1,9})-(\d{1,9})\Z")


class LearnPage:
    """Handlers of the Learn page."""

    def __init__(self, services: Services, library: Library) -> None:
        self._database = services.database
        self._learner = services.learner_id
        self._library = library

    def build(self, blocks: gr.Blocks) -> None:
        """Lay the page out and connect it."""
        layout.header("Learn")
        body = layout.surface("learn", "learn")
        blocks.load(self.open, outputs=body, queue=False, show_progress="hidden", api_visibility="private")

    def open(self, request: gr.Request) -> str:
        """The page for the address in the browser: ?page=, ?doc=, ?section=, ?cite=START-END; the path without."""
        return self.show(dict(request.query_params))

    def show(self, query: Mapping[str, str]) -> str:
        """The page for these query values."""
        with self._database.session(readonly=True) as session:
            path, go_on, others = self._around(session)
            if not query.get("page") and not query.get("doc"):
                return learn_view.home(path, go_on, others)
            document = self._library.find(
                session, doc=query.get("doc"), source=query.get("source"), page=query.get("page")
            )
            if document is None:
                return learn_view.not_found(path, go_on, others)
            key = page_key(document.source, document.path)
            progress = study.reading_progress(session, self._learner, page=key)
            links = _links(document, self._library.ids(session))
        page = render_page(
            document.text,
            title=document.title,
            media_type=document.media_type,
            cite=_cite(query.get("cite", "")),
            link_for=links,
        )
        opened = learn_view.Reader(
            source=document.source,
            path=document.path,
            title=document.title,
            meta=document.meta,
            page=page,
            read=frozenset(row.section for row in progress if row.read),
            section=query.get("section", ""),
            document_id=document.id,
        )
        return learn_view.reader(opened, path, go_on, others)

    def record(self, report: Mapping[str, Any]) -> str | None:
        """Write down {page, sections: [{section, seconds, read}]}; the study path as it looks now, or None.

        Sections and pages that do not exist are ignored: only what was rendered can be read.
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
            for section, seconds, read in rows:
                study.record_reading(session, self._learner, key, section, seconds=seconds, read=read, at=now)
        with self._database.session(readonly=True) as session:
            path, go_on, others = self._around(session)
        return learn_view.path_list(path, current=key, go_on=go_on, others=others)

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
