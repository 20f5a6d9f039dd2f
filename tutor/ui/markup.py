"""The few helpers every page writes its HTML with. Text is escaped here or cleaned in `markdown.py`, nowhere else.

Views are plain functions, values -> HTML string; they know neither the database nor Gradio.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from urllib.parse import urlencode

from retrieval.loaders.inline import inline_text

WORDS_PER_MINUTE = 200
READER_TAB = "study-tutor-reader"  # citations open in one tab beside the conversation, again and again


def esc(value: object) -> str:
    """Text made safe for an element or a quoted attribute. NUL and lone surrogates can't travel: shown as �."""
    text = str(value).replace("\x00", "�").encode("utf-8", "replace").decode("utf-8")
    return html.escape(text, quote=True)


def url(page: str = "", /, **query: object) -> str:
    """A link inside the app, relative, so that it works behind a proxy prefix too. None values are left out.

    The result still has to go through `esc` in an attribute.
    """
    given = {key: value for key, value in query.items() if value is not None and value != ""}
    return f"./{page}" + (f"?{urlencode(given)}" if given else "")


def reader_url(
    source: str, path: str, *, doc: int | None = None, cite: tuple[int, int] | None = None, section: str = ""
) -> str:
    """Where the reader shows a document, opened at a section or with `cite` (character offsets) highlighted."""
    span = f"{cite[0]}-{cite[1]}" if cite else None
    if source == "course" or not source:
        return url(page=path, section=section, cite=span)
    if doc is not None:
        return url(doc=doc, section=section, cite=span)
    return url(source=source, page=path, section=section, cite=span)


def plain(markdown: str) -> str:
    """A quoted sentence as a reader sees it: no emphasis marks, table cells set apart by dots."""
    text = inline_text(markdown).text if markdown.strip() else ""
    if text.lstrip().startswith("|"):
        text = " · ".join(cell.strip() for cell in text.strip().strip("|").split("|"))
    return " ".join(text.split())


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, cut at a word."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    return text[: text.rfind(" ", 0, limit) if " " in text[:limit] else limit].rstrip(" ,;:.") + "…"


def when(moment: datetime, *, now: datetime | None = None, tz: tzinfo | None = None) -> str:
    """A moment as people say it: "just now", "12 min ago", "14:05", "yesterday", "3 Nov", in the server's zone."""
    now = (now or datetime.now(UTC)).astimezone(tz)
    moment = moment.astimezone(tz)
    seconds = (now - moment).total_seconds()
    days = (now.date() - moment.date()).days
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if days == 0:
        return moment.strftime("%H:%M")
    if days == 1:
        return "yesterday"
    return day(moment, year=moment.year != now.year)


def day(moment: datetime, *, year: bool = False) -> str:
    """3 Nov, or 3 Nov 2025."""
    return f"{moment.day} {moment.strftime('%b %Y' if year else '%b')}"


def minutes(seconds: float) -> str:
    """A duration in words: "under 1 min", "12 min", "1 h 5 min"."""
    whole = round(seconds / 60)
    if seconds < 30:
        return "under 1 min" if seconds > 0 else "0 min"
    if whole < 60:
        return f"{max(whole, 1)} min"
    return f"{whole // 60} h {whole % 60} min" if whole % 60 else f"{whole // 60} h"


def count(number: int, one: str, many: str | None = None) -> str:
    """1 section, 2 sections."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def join(parts: Iterable[str]) -> str:
    return "".join(parts)


_THUMB = "M7 10v10H4V10h3Zm0 0 4-7a2.5 2.5 0 0 1 2.5 2.5V9H18a2 2 0 0 1 2 2.3l-1 7A2 2 0 0 1 17 20H7"
_ICONS = {
    "thumb": _THUMB,
    "check": "M5 12.5 10 17.5 19 7",
    "edit": "M4 20h4L19 9l-4-4L4 16v4Z",
    "retry": "M20 11a8 8 0 1 0-2.3 6.3M20 4v7h-7",
    "more": "M5 12h.01M12 12h.01M19 12h.01",
}


def icon(name: str) -> str:
    """A line icon, drawn in the colour of the text and silent to screen readers."""
    return (
        '<svg class="icon" viewBox="0 0 24 24" width="20" height="20" aria-hidden="true" focusable="false">'
        f'<path d="{_ICONS[name]}" fill="none" stroke="currentColor" stroke-width="1.8" '
        'stroke-linecap="round" stroke-linejoin="round"/></svg>'
    )
