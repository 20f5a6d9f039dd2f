"""The Learn page as HTML: its start, the reader, and a page that waits for an answer. Values in, text out.

The study path is drawn by `path_view.py`, questions and results by `lesson_view.py`. Of a page that is not open yet
only title, reading time, what one will understand and the first question are written, and the one cited section.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tutor.lesson_values import Gate
from tutor.study import GraphNode
from tutor.ui import lesson_view, path_view
from tutor.ui.library import COURSE, Continue, PathPage, concepts_of, page_key, text_of
from tutor.ui.markdown import RenderedPage
from tutor.ui.markup import WORDS_PER_MINUTE, count, day, esc, join, reader_url, url

_LEAD = (
    ("beginner", "In plain words"),
    ("confusion", "Often confused"),
    ("mental_model", "A better picture"),
)
_SECTION = re.compile(r"<section\b.*?</section>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reader:
    """A document, ready to show. `gate` holds its questions and decides if more than the first may be seen."""

    source: str
    path: str
    title: str
    meta: Mapping[str, Any]
    page: RenderedPage
    now: datetime
    gate: Gate = field(default_factory=lambda: Gate(open=True, first=None))
    read: frozenset[str] = field(default_factory=frozenset)
    section: str = ""
    document_id: int | None = None


def home(
    path: Sequence[PathPage],
    nodes: Sequence[GraphNode],
    go_on: Continue | None,
    others: Sequence[tuple[str, str]],
) -> str:
    """The page without a document open: continue here, then the whole path. `others` are (title, link)."""
    if not path and not others:
        return _frame(
            "Learn",
            '<article class="sheet"><h1>Nothing to read yet</h1><p>No material is indexed. Add a folder of Markdown '
            "or text files with <code>study-tutor ingest PATH</code>, then reload this page.</p></article>",
        )
    read = sum(page.state == "read" for page in path)
    heading = f'<p class="meta">{read} of {count(len(path), "page")} read</p>' if path else ""
    whole = path_view.overview(path, nodes) if path else ""
    return _frame(
        "Learn",
        f'<article class="home"><div class="home-head"><div><h1>Your study path</h1>{heading}</div>'
        f"{path_view.continue_card(go_on, path)}</div>{whole}{path_view.other_material(others)}</article>",
    )


def reader(
    opened: Reader, path: Sequence[PathPage], go_on: Continue | None, others: Sequence[tuple[str, str]]
) -> str:
    """A document, or what may be seen of it, beside the study path."""
    wanted = "cite" if opened.page.cited else (f"s-{opened.section}" if opened.section else "")
    key = page_key(opened.source, opened.path)
    side = _side(path_view.path_list(path, current=key, go_on=go_on, others=others), path)
    shown = body(opened, path) if opened.gate.open else _closed(opened)
    return _frame(
        opened.title,
        f'{side}<article class="sheet" id="reader" data-page="{esc(key)}" data-scroll="{esc(wanted)}">'
        f"{_head(opened)}{lesson_view.first_question(opened.gate, opened.now)}"
        f'<div id="page-rest">{shown}</div></article>',
        extra="with-side",
    )


def body(opened: Reader, path: Sequence[PathPage]) -> str:
    """Everything of a page below its first question."""
    concepts = concepts_of(opened.meta)
    chips = f'<ul class="concepts" aria-label="Concepts">{join(f"<li>{esc(c)}</li>" for c in concepts)}</ul>'
    return (
        f"{chips if concepts else ''}{_lead(opened.meta)}"
        f'<div class="text" id="page-body">{_with_read_marks(opened.page.html, opened.read)}</div>'
        f"{lesson_view.later_questions(opened.gate, opened.now)}{_foot(opened, path)}"
    )


def not_found(path: Sequence[PathPage], go_on: Continue | None, others: Sequence[tuple[str, str]]) -> str:
    """A link to a document that is not, or no longer, indexed."""
    return _frame(
        "Not found",
        f"{_side(path_view.path_list(path, current='', go_on=go_on, others=others), path)}"
        '<article class="sheet"><h1>This page is not here</h1><p>It is not part of the indexed material, or it was '
        f'removed. <a href="{esc(url())}">Open the study path</a>.</p></article>',
        extra="with-side",
    )


def _side(inner: str, path: Sequence[PathPage]) -> str:
    summary = path_view.summary(path)
    return (
        '<aside class="side" aria-label="Study path"><div class="side-box"><button type="button" class="side-toggle" '
        f'id="path-toggle" data-act="side" aria-expanded="false" aria-controls="path"><span>{summary}</span>'
        f'</button><div class="side-body" id="path">{inner}</div></div></aside>'
    )


def _head(opened: Reader) -> str:
    words = sum(section.words for section in opened.page.sections)
    facts = [f"{max(1, round(words / WORDS_PER_MINUTE))} min read"]
    if updated := text_of(opened.meta, "updated"):
        facts.append(f"updated {_date(updated)}")
    if opened.source != COURSE:
        facts.append(opened.path)
    understand = text_of(opened.meta, "understand")
    after = (
        f'<p class="understand"><span>After this page you will understand</span> {esc(understand)}</p>'
        if understand
        else ""
    )
    return (
        f'<header class="page-head"><h1 id="page-title">{esc(opened.title)}</h1>'
        f'<p class="meta">{esc(" · ".join(facts))}</p>{after}</header>'
    )


def _closed(opened: Reader) -> str:
    """Of a page that is not open yet: the section with the cited sentence, or nothing."""
    cited = next((s for s in _SECTION.findall(opened.page.html) if 'id="cite"' in s), "")
    if not cited:
        return ""
    return (
        '<p class="meta cited-note">The section that was cited. The whole page opens when you have committed an '
        f'answer.</p><div class="text" id="page-body">{_with_read_marks(cited, opened.read)}</div>'
    )


def _date(text: str) -> str:
    """2026-11-22 -> 22 Nov 2026; anything else as it is."""
    try:
        return day(datetime.fromisoformat(text), year=True)
    except ValueError:
        return text


def _lead(meta: Mapping[str, Any]) -> str:
    rows = [(label, text_of(meta, key)) for key, label in _LEAD]
    shown = join(f"<div><dt>{label}</dt><dd>{esc(text)}</dd></div>" for label, text in rows if text)
    return f'<dl class="lead">{shown}</dl>' if shown else ""


def _with_read_marks(html: str, read: frozenset[str]) -> str:
    for anchor in read:
        mark = f'data-section="{esc(anchor)}"'
        html = html.replace(mark, f"{mark} data-read", 1)
    return html


def _foot(opened: Reader, path: Sequence[PathPage]) -> str:
    places = [page.path for page in path]
    around = ""
    if opened.source == COURSE and opened.path in places:
        at = places.index(opened.path)
        if at > 0:
            around += _turn_page("prev", "Previous", path[at - 1])
        if at + 1 < len(path):
            around += _turn_page("next", "Next", path[at + 1])
    ask = url("chat", page=opened.path) if opened.source == COURSE else url("chat", doc=opened.document_id)
    return (
        f'<footer class="page-foot"><p><a class="button" href="{esc(ask)}">Ask about this page</a></p>'
        f'<nav class="turn-page" aria-label="Pages before and after">{around}</nav></footer>'
    )


def _turn_page(kind: str, label: str, page: PathPage) -> str:
    return (
        f'<a class="{kind}" rel="{kind}" href="{esc(reader_url(COURSE, page.path))}">'
        f"<span>{label}</span><strong>{esc(page.title)}</strong></a>"
    )


def _frame(title: str, body: str, *, extra: str = "") -> str:
    return f'<div class="page {extra}" id="main" tabindex="-1" data-title="{esc(title)}">{body}</div>'
