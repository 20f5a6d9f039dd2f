"""What stands beside the chat, as HTML: conversations and sources; and the links from an answer into the reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tutor.ui.library import COURSE
from tutor.ui.markup import READER_TAB, esc, icon, join, plain, reader_url, shorten, url

Json = Mapping[str, Any]
Ids = Mapping[tuple[str, str], int]
"""(source, path) -> document id."""


def sources(
    passages: Sequence[Json], citations: Sequence[Json], ids: Ids, *, turn_id: int | None = None
) -> str:
    """The places an answer rests on, in the order of their numbers, then the other places that were found."""
    if not passages and not citations:
        hint = '<p class="hint">They appear here with the answer.</p>'
        return f'<div class="sources is-empty"><h2>Sources</h2>{hint}</div>'
    places = {place_of(found): found for found in reversed((*citations, *passages))}
    cited: dict[tuple[str, str, str], list[Json]] = {}
    for citation in citations:
        cited.setdefault(place_of(citation), []).append(citation)
    rest = [place for place in reversed(places) if place not in cited]
    cards = join(_source(places[place], cited.get(place, ()), ids) for place in (*cited, *rest))
    return f'<div class="sources" data-turn="{turn_id or ""}"><h2>Sources</h2><ol>{cards}</ol></div>'


def conversations(listed: Sequence[tuple[int, str, str]], current: int | None) -> str:
    """The list beside the chat. `listed` are (id, title, when)."""
    items = join(
        f'<li class="conversation" data-conversation="{number}"><a href="{esc(url("chat", c=number))}"'
        f"{' aria-current=' + chr(34) + 'page' + chr(34) if number == current else ''}>"
        f'<span class="conversation-title">{esc(title)}</span><span class="conversation-when">{esc(at)}</span></a>'
        f'<details class="menu"><summary aria-label="Rename or delete">{icon("more")}</summary><div class="menu-body">'
        f'<form data-act="rename"><label>Title <input name="title" value="{esc(title)}" maxlength="120" required>'
        '</label><button type="submit">Rename</button></form>'
        '<button type="button" class="danger" data-act="delete">Delete</button></div></details></li>'
        for number, title, at in listed
    )
    none = '<p class="hint">Your conversations will be listed here.</p>'
    return (
        '<div class="side-box"><button type="button" class="side-toggle" data-act="side" aria-expanded="false">'
        f'<span>Conversations</span></button><div class="side-body"><a class="button quiet" href="{esc(url("chat"))}">'
        f'New conversation</a><ul class="conversation-list">{items}</ul>{"" if items else none}</div></div>'
    )


def citation_mark(citation: Json, ids: Ids) -> str:
    place = f"{citation['title']} › {citation['heading']}" if citation["heading"] else citation["title"]
    quote = shorten(plain(citation["quote"]), 160)
    return (
        f'<sup><a class="cite" target="{READER_TAB}" href="{esc(link(citation, ids))}" '
        f'aria-label="Source {citation["n"]}: {esc(place)}" title="{esc(place)}: “{esc(quote)}”">'
        f"{citation['n']}</a></sup>"
    )


def link(place: Json, ids: Ids) -> str:
    source = place.get("source") or COURSE
    span = (place["start"], place["end"])
    return reader_url(source, place["document"], doc=ids.get((source, place["document"])), cite=span)


def _source(place: Json, cited: Sequence[Json], ids: Ids) -> str:
    heading = f" › {esc(place['heading'])}" if place["heading"] else ""
    quotes = join(
        f'<a class="quote" target="{READER_TAB}" href="{esc(link(c, ids))}"><span class="n">{c["n"]}</span>'
        f"<q>{esc(plain(c['quote']))}</q></a>"
        for c in cited
    )
    return (
        f'<li class="source{" is-cited" if cited else ""}"><a class="source-title" target="{READER_TAB}" '
        f'href="{esc(link(place, ids))}"><strong>{esc(place["title"])}</strong>{heading}</a>{quotes}</li>'
    )


def place_of(found: Json) -> tuple[str, str, str]:
    return found.get("source") or COURSE, found["document"], found["heading"]
