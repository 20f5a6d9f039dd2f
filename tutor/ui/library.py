"""What the pages know about the material: the study path and how far it has been read, what to continue, what to ask.

The decisions are pure functions over stored documents and reading progress; `Library` only fetches and remembers
what does not change until the index does. Nothing here holds the answers of a page's `think_first` questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from db import documents
from db.study import SectionRead
from retrieval.loaders import LoadError, read_again
from tutor.progress import COURSE, GLANCE_S
from tutor.ui.markdown import PageSection, page_sections
from tutor.ui.markup import WORDS_PER_MINUTE

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.documents import StoredDocument

State = Literal["new", "started", "read"]


@dataclass(frozen=True, slots=True)
class PathPage:
    """One page of the study path and how far the learner has come with it."""

    path: str
    title: str
    understand: str
    sections: tuple[PageSection, ...]
    read: frozenset[str]
    touched: bool

    @property
    def minutes(self) -> int:
        """Reading time at 200 words a minute, at least 1."""
        return max(1, round(sum(s.words for s in self.sections) / WORDS_PER_MINUTE))

    @property
    def state(self) -> State:
        if len(self.read) >= len(self.sections) and self.sections:
            return "read"
        return "started" if self.read or self.touched else "new"

    @property
    def next_section(self) -> PageSection | None:
        """The first section that is not read yet."""
        return next((s for s in self.sections if s.anchor not in self.read), None)


@dataclass(frozen=True, slots=True)
class Continue:
    """Where to go on: a page and, unless it is its beginning, a section of it."""

    page: PathPage
    section: PageSection | None
    first_time: bool


def page_key(source: str, path: str) -> str:
    """The name under which reading a document is recorded; course pages go by their path alone."""
    return path if source == COURSE else f"{source}/{path}"


def study_path(pages: Sequence[StoredDocument], progress: Iterable[SectionRead]) -> list[PathPage]:
    """The pages in `order`, then by title, each with the sections that were read."""
    read: dict[str, set[str]] = {}
    seconds: dict[str, float] = {}
    for section in progress:
        seconds[section.page] = seconds.get(section.page, 0.0) + section.seconds
        if section.read:
            read.setdefault(section.page, set()).add(section.section)
    found = []
    for document in sorted(pages, key=_place):
        key = page_key(document.source, document.path)
        sections = page_sections(document.text, document.title, document.media_type)
        known = {section.anchor for section in sections}
        found.append(
            PathPage(
                path=document.path,
                title=document.title,
                understand=text_of(document.meta, "understand"),
                sections=sections,
                read=frozenset(read.get(key, set()) & known),
                touched=seconds.get(key, 0.0) >= GLANCE_S,
            )
        )
    return found


def continue_at(path: Sequence[PathPage], progress: Iterable[SectionRead]) -> Continue | None:
    """Where the learner stopped: the next unread section of the last page, else of the first page with one left."""
    rows = [row for row in progress if row.read or row.seconds >= GLANCE_S]
    last = max(rows, key=lambda row: row.last_at, default=None)
    by_path = {page.path: page for page in path}
    stopped = by_path.get(last.page) if last else None
    candidates = [stopped, *path[path.index(stopped) + 1 :], *path] if stopped else list(path)
    for page in candidates:
        if page and (section := page.next_section):
            beginning = page.sections and section is page.sections[0]
            return Continue(page, None if beginning else section, first_time=last is None)
    return None


def text_of(meta: Mapping[str, Any], key: str) -> str:
    """A front-matter value as one line of text; "" where it is missing or something else."""
    value = meta.get(key)
    return " ".join(str(value).split()) if isinstance(value, str | int | float) else ""


def concepts_of(meta: Mapping[str, Any]) -> list[str]:
    """The page's concepts, as far as they are plain text."""
    listed = meta.get("concepts")
    return [str(c) for c in listed if isinstance(c, str | int | float)] if isinstance(listed, list) else []


@lru_cache(maxsize=256)
def questions_of(path: str, text: str, media_type: str = "text/markdown") -> tuple[str, ...]:
    """The questions that a page itself poses as headings."""
    try:
        sections = read_again(path, text, media_type).sections
    except LoadError:
        return ()
    headings = [section.heading_path[-1] for section in sections if section.heading_path]
    return tuple(heading for heading in headings if heading.endswith("?"))


def suggestions(pages: Sequence[StoredDocument], current: StoredDocument | None, limit: int = 4) -> list[str]:
    """Questions to start with: the current page's own and about its concepts, else one from each page."""
    if current is not None:
        own = list(questions_of(current.path, current.text, current.media_type))
        about = [f"What does “{concept}” mean?" for concept in concepts_of(current.meta)]
        return [*about[:1], *own, *about[1:]][:limit]
    found = []
    for page in sorted(pages, key=_place):
        own = list(questions_of(page.path, page.text, page.media_type))
        found += own[:1] or [f"What does “{concept}” mean?" for concept in concepts_of(page.meta)[:1]]
    return found[:limit]


class Library:
    """The indexed documents, read from the database when the index has changed. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._version = -1
        self._course: tuple[StoredDocument, ...] = ()
        self._others: tuple[StoredDocument, ...] = ()
        self._ids: dict[tuple[str, str], int] = {}

    def course(self, session: Session) -> tuple[StoredDocument, ...]:
        """The pages of the study path, with their text."""
        return self._fresh(session)._course

    def others(self, session: Session) -> tuple[StoredDocument, ...]:
        """Everything else that is indexed, without text."""
        return self._fresh(session)._others

    def ids(self, session: Session) -> Mapping[tuple[str, str], int]:
        """(source, path) -> document id."""
        return self._fresh(session)._ids

    def find(
        self, session: Session, *, doc: str | None = None, source: str | None = None, page: str | None = None
    ) -> StoredDocument | None:
        """The document a link names: by id, or by path in a source (the course unless given)."""
        ids = self.ids(session)
        if doc and doc.isdecimal() and len(doc) < 18:
            number: int | None = int(doc) if int(doc) in ids.values() else None
        else:
            number = ids.get((source or COURSE, page or ""))
        known = next((d for d in self._course if d.id == number), None)
        return known or (documents.get_document(session, number) if number is not None else None)

    def _fresh(self, session: Session) -> Library:
        with self._lock:
            version = documents.index_version(session)
            if version != self._version:
                listed = documents.list_documents(session)
                opened = (documents.get_document(session, d.id) for d in listed if d.source == COURSE)
                course = [document for document in opened if document is not None]
                self._course = tuple(sorted(course, key=_place))
                self._others = tuple(d for d in listed if d.source != COURSE)
                self._ids = {(d.source, d.path): d.id for d in listed}
                self._version = version
        return self


def _place(document: StoredDocument) -> tuple[float, str]:
    order = document.meta.get("order")
    number = float(order) if isinstance(order, int | float) and not isinstance(order, bool) else float("inf")
    return number, document.title
