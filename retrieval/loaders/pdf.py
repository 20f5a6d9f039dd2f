"""PDF -> Document: a section per page, below the headings of the file's outline ("Chapter 2", "Page 12").

pypdf reads the text; `pdf_lines.py` makes paragraphs of its lines. No OCR: a scanned page has no text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from retrieval.loaders import LoadError, markdown, writer
from retrieval.loaders.pdf_lines import clean_pages, page_blocks
from retrieval.records import Document

MAX_HEADINGS = 20_000
MAX_DEPTH = 5  # of the outline: "Page 12" stands one level below

_NO_TITLE = re.compile(
    r"untitled|microsoft word|powerpoint|\.(?:docx?|pptx?|tex|dvi|indd|qxd|pdf)$|^\W*$|^slide \d", re.I
)
_MIN_LETTERS = 5  # a page; scanners print page numbers


@dataclass(frozen=True, slots=True)
class Heading:
    """An entry of the outline; `level` counts from 1, `page` from 0."""

    level: int
    page: int
    text: str


def load(path_label: str, data: bytes) -> Document:
    """Read a PDF. The title is the file's property where that looks like one, else the file's name.

    Raises LoadError: damaged, truncated, protected by a password, without text.
    """
    import logging

    from pypdf import PdfReader
    from pypdf.errors import DependencyError, LimitReachedError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    if b"%%EOF" not in data[-8192:].rstrip(b"\0\r\n "):
        raise LoadError("damaged: the end of the file is missing; download it again")
    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise LoadError("protected by a password; save a copy without one")
        raw, unreadable = _texts(reader)
        headings = list(_outline(reader, len(raw)))
        title = _title(reader) or PurePosixPath(path_label).stem
    except DependencyError:
        raise LoadError("encrypted; open it and save or print a copy without protection") from None
    except LimitReachedError:
        raise LoadError("a part of it unpacks to more than any page needs: it is broken or a bomb") from None
    except (
        PyPdfError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        OSError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise LoadError(f"damaged: {reason}; open it and print or export it as a new PDF") from None
    if not raw or sum(c.isalnum() for text in raw for c in text) < _MIN_LETTERS * len(raw):
        if unreadable == len(raw):
            raise LoadError("damaged: none of its pages can be read; get a new copy")
        raise LoadError("no text: it holds only pictures; run OCR first (such as ocrmypdf)")
    meta: dict[str, Any] = {"pages": len(raw)} | ({"unreadable_pages": unreadable} if unreadable else {})
    text = writer.join(list(_blocks(clean_pages(raw), headings)))
    return markdown.build(path_label, text, "application/pdf", title, meta)


def _texts(reader: Any) -> tuple[list[str], int]:
    """The text of each page, and how many could not be read."""
    from pypdf.errors import DependencyError, LimitReachedError

    texts: list[str] = []
    unreadable = 0
    for page in reader.pages:
        try:
            texts.append(page.extract_text().encode("utf-8", "replace").decode("utf-8"))
        except (MemoryError, LimitReachedError, DependencyError):
            raise
        except Exception:  # noqa: BLE001  whatever one broken page makes pypdf raise, the others are worth reading
            texts.append("")
            unreadable += 1
    return texts, unreadable


def _outline(reader: Any, pages: int) -> Iterator[Heading]:
    """The entries that point to a page, in order; none where the outline is broken."""
    found: list[Heading] = []
    try:
        waiting: list[tuple[int, Any]] = [(1, entry) for entry in reversed(reader.outline)]
        while waiting and len(found) < MAX_HEADINGS:
            level, entry = waiting.pop()
            if isinstance(entry, list):
                waiting += [(level + 1, below) for below in reversed(entry)]
                continue
            page = reader.get_destination_page_number(entry)
            title = " ".join(str(entry.title or "").replace("\0", "").split())
            if page is not None and 0 <= page < pages and any(c.isalnum() for c in title):
                found.append(Heading(min(level, MAX_DEPTH), page, title[:300]))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  an outline is an extra: without it the pages still have their numbers
        return
    ordered = all(a.page <= b.page for a, b in pairwise(found))
    yield from found if ordered else sorted(found, key=lambda h: h.page)


def _blocks(pages: list[list[str]], headings: list[Heading]) -> Iterator[str]:
    level = 0  # of the heading that the current page stands below
    waiting = list(reversed(headings))
    for number, lines in enumerate(pages):
        title = f"Page {number + 1}"
        rest = lines
        here = False  # has this page's own heading been written below the current outline heading?
        while waiting and waiting[-1].page <= number:
            heading = waiting.pop()
            before, rest = _split(rest, heading.text)
            if before:
                if not here:
                    yield writer.heading(level + 1, title)
                yield from page_blocks(before)
            yield writer.heading(heading.level, writer.words(heading.text))
            level, here = heading.level, False
        if rest:
            yield writer.heading(level + 1, title)
            yield from page_blocks(rest)


def _split(lines: list[str], heading: str) -> tuple[list[str], list[str]]:
    """The lines above a heading, and those from it on without it; where it isn't found, it opens the page."""
    wanted = _letters(heading)
    for first in range(len(lines)):
        joined = ""
        for last in range(first, min(first + 4, len(lines))):
            joined += _letters(lines[last])
            if joined == wanted or (
                joined.endswith(wanted) and len(joined) <= len(wanted) + 6 and last == first
            ):
                return lines[:first], lines[last + 1 :]
            if len(joined) > len(wanted) + 6:
                break
    return [], lines


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


def _title(reader: Any) -> str:
    try:
        title = " ".join(str((reader.metadata or {}).get("/Title") or "").replace("\0", "").split())
    except Exception:  # noqa: BLE001  a broken property is no title
        return ""
    return "" if len(title) < 3 or _NO_TITLE.search(title) else title[:300]
