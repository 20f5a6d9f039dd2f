"""The Learn page as HTML: the study path, the reader, and where to continue. Values in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tutor.ui.library import COURSE, Continue, PathPage, concepts_of, page_key, text_of
from tutor.ui.markdown import RenderedPage
from tutor.ui.markup import WORDS_PER_MINUTE, count, day, esc, icon, join, reader_url, url

_LEAD = (
    ("beginner", "In plain words"),
    ("confusion", "Often confused"),
    ("mental_model", "A better picture"),
)


@dataclass(frozen=True, slots=True)
class Reader:
    """An open document, ready to show."""

    source: str
    path: str
    title: str
    meta: Mapping[str, Any]
    page: RenderedPage
    read: frozenset[str] = field(default_factory=frozenset)
    section: str = ""
    document_id: int | None = None


def home(path: Sequence[PathPage], go_on: Continue | None, others: Sequence[tuple[str, str]]) -> str:
    """The page without a document open: continue here, then the whole path. `others` are (title, link)."""
    if not path and not others:
        return _frame(
            "Learn",
            '<article class="sheet"><h1>Nothing to read yet</h1><p>No material is indexed. Add a folder of Markdown '
            "or text files with <code>study-tutor ingest PATH</code>, then reload this page.</p></article>",
        )
    read = sum(page.state == "read" for page in path)
    heading = f'<p class="meta">{read} of {count(len(path), "page")} read</p>' if path else ""
    return _frame(
        "Learn",
        f'<article class="sheet home"><h1>Your study path</h1>{heading}{_continue_card(go_on, path)}'
        f'<ol class="path-cards">{join(_path_card(page) for page in path)}</ol>{_others(others)}</article>',
    )


def reader(
    opened: Reader, path: Sequence[PathPage], go_on: Continue | None, others: Sequence[tuple[str, str]]
) -> str:
    """A document beside the study path."""
    body = (
        f"{_head(opened)}{_lead(opened.meta)}"
        f'<div class="text" id="page-body">{_with_read_marks(opened)}</div>{_foot(opened, path)}'
    )
    wanted = "cite" if opened.page.cited else (f"s-{opened.section}" if opened.section else "")
    key = page_key(opened.source, opened.path)
    return _frame(
        opened.title,
        f"{_side(path_list(path, current=key, go_on=go_on, others=others), path)}"
        f'<article class="sheet" id="reader" data-page="{esc(key)}" data-scroll="{esc(wanted)}">{body}</article>',
        extra="with-side",
    )


def not_found(path: Sequence[PathPage], go_on: Continue | None, others: Sequence[tuple[str, str]]) -> str:
    """A link to a document that is not, or no longer, indexed."""
    return _frame(
        "Not found",
        f"{_side(path_list(path, current='', go_on=go_on, others=others), path)}"
        '<article class="sheet"><h1>This page is not here</h1><p>It is not part of the indexed material, or it was '
        f'removed. <a href="{esc(url())}">Open the study path</a>.</p></article>',
        extra="with-side",
    )


def path_list(
    path: Sequence[PathPage], *, current: str, go_on: Continue | None, others: Sequence[tuple[str, str]]
) -> str:
    """The path in the margin; sent again whenever a section was read."""
    card = _continue_card(go_on, path) if go_on is None or go_on.page.path != current else ""
    items = join(
        f'<li><a class="path-item is-{page.state}" href="{esc(reader_url(COURSE, page.path))}"'
        f"{_current(page.path == current)}>{_dot(page)}<span><span class='path-title'>{esc(page.title)}</span>"
        f'<span class="path-state">{state_text(page)}</span></span></a></li>'
        for page in path
    )
    return f'{card}<ol class="path" data-summary="{esc(_summary(path))}">{items}</ol>{_others(others)}'


def state_text(page: PathPage) -> str:
    """ "6 min", "3 of 9 sections · 6 min", "Read · 6 min"."""
    time = f"{page.minutes} min"
    if page.state == "read":
        return f"Read · {time}"
    if page.state == "started":
        return f"{len(page.read)} of {len(page.sections)} sections · {time}"
    return f"Not started · {time}"


def _continue_card(go_on: Continue | None, path: Sequence[PathPage]) -> str:
    if go_on is None:
        if not path:
            return ""
        return (
            '<div class="continue"><span class="continue-label">You have read every page</span>'
            f'<span>See it all in <a href="{esc(url("history"))}">History</a>, or '
            f'<a href="{esc(url("chat"))}">ask a question</a>.</span></div>'
        )
    label = "Start here" if go_on.first_time else "Continue where you stopped"
    section = go_on.section.anchor if go_on.section else ""
    place = f'<span class="continue-section">{esc(go_on.section.title)}</span>' if go_on.section else ""
    return (
        f'<a class="continue" href="{esc(reader_url(COURSE, go_on.page.path, section=section))}">'
        f'<span class="continue-label">{label}</span>'
        f'<span class="continue-title">{esc(go_on.page.title)}</span>{place}</a>'
    )


def _path_card(page: PathPage) -> str:
    return (
        f'<li><a class="path-card is-{page.state}" href="{esc(reader_url(COURSE, page.path))}">{_dot(page)}'
        f'<span><span class="path-title">{esc(page.title)}</span>'
        f'<span class="path-understand">{esc(page.understand)}</span>'
        f'<span class="path-state">{state_text(page)}</span></span></a></li>'
    )


def _dot(page: PathPage) -> str:
    share = len(page.read) / len(page.sections) if page.sections else 0.0
    inner = icon("check") if page.state == "read" else ""
    return f'<span class="dot" style="--share:{share:.2f}" aria-hidden="true">{inner}</span>'


def _side(inner: str, path: Sequence[PathPage]) -> str:
    return (
        '<aside class="side" aria-label="Study path"><div class="side-box"><button type="button" class="side-toggle" '
        f'id="path-toggle" data-act="side" aria-expanded="false" aria-controls="path"><span>{_summary(path)}</span>'
        f'</button><div class="side-body" id="path">{inner}</div></div></aside>'
    )


def _summary(path: Sequence[PathPage]) -> str:
    return f"Study path · {sum(p.state == 'read' for p in path)} of {len(path)} read"


def _others(others: Sequence[tuple[str, str]]) -> str:
    if not others:
        return ""
    items = join(f'<li><a href="{esc(link)}">{esc(title)}</a></li>' for title, link in others)
    return f'<h2 class="side-heading">More material</h2><ul class="plain-list">{items}</ul>'


def _head(opened: Reader) -> str:
    words = sum(section.words for section in opened.page.sections)
    facts = [f"{max(1, round(words / WORDS_PER_MINUTE))} min read"]
    if updated := text_of(opened.meta, "updated"):
        facts.append(f"updated {_date(updated)}")
    if opened.source != COURSE:
        facts.append(opened.path)
    concepts = concepts_of(opened.meta)
    chips = f'<ul class="concepts" aria-label="Concepts">{join(f"<li>{esc(c)}</li>" for c in concepts)}</ul>'
    return (
        f'<header class="page-head"><h1 id="page-title">{esc(opened.title)}</h1>'
        f'<p class="meta">{esc(" · ".join(facts))}</p>{chips if concepts else ""}</header>'
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


def _with_read_marks(opened: Reader) -> str:
    html = opened.page.html
    for anchor in opened.read:
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


def _current(yes: bool) -> str:
    return ' aria-current="page"' if yes else ""


def _frame(title: str, body: str, *, extra: str = "") -> str:
    return f'<div class="page {extra}" id="main" tabindex="-1" data-title="{esc(title)}">{body}</div>'
