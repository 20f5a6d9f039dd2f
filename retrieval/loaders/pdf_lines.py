"""The lines of PDF pages -> paragraphs: running heads dropped, hyphens at line ends joined, lists recognised. Pure."""

from __future__ import annotations

import re
from collections import Counter

from retrieval.loaders import writer

EDGE = 2  # lines at the top and bottom of a page where running heads and page numbers stand
MIN_PAGES = 4  # fewer pages don't show what repeats
REPEATED = 0.4  # share of the pages on which a line at the edge is no text of the page

_BULLET = re.compile(r"^[•◦▪‣●○■□➢❖]\s*")
_NUMBERED = re.compile(r"^(?:\d{1,3}|[a-z])[.)]\s")
_ENDS = re.compile(r"[.!?:;][\"”’)\]]*$")
_LIGATURES = str.maketrans(
    {
        "ﬀ": "ff",
        "ﬁ": "fi",
        "ﬂ": "fl",
        "ﬃ": "ffi",
        "ﬄ": "ffl",
        "ﬅ": "ft",
        "ﬆ": "st",
        "\u00ad": "-",
        "\xa0": " ",
    }
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_HYPHENATED = re.compile(r"([^\W\d_]{2,})-$")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_CONTENTS = re.compile(r"(?:\s?\.){6,}\s*[\divxlc]*$")  # "2.1 Naming . . . . . . . 3"
_OUTER_NUMBER = re.compile(r"^(\d{1,5})\b|\b(\d{1,5})$")
_DIGITS = re.compile(r"\d+")


def clean_pages(texts: list[str]) -> list[list[str]]:
    """Each page's lines, without running heads, with words whole that were divided at a line's end."""
    pages = [_lines(text) for text in texts]
    running = _running(pages)
    pages = [
        [line for n, line in enumerate(lines) if not (_at_edge(n, lines) and _shape(line) in running)]
        for lines in _without_page_numbers(pages)
    ]
    known = {word.casefold() for lines in pages for line in lines for word in _WORD.findall(line)}
    return [_whole_words(lines, known) for lines in pages]


def page_blocks(lines: list[str]) -> list[str]:
    """The paragraphs and lists of one page."""
    widths = sorted(len(line) for line in lines)
    wide = widths[int(len(widths) * 0.8)] if widths else 0
    blocks: list[str] = []
    current: list[str] = []
    items: list[str] = []

    def end(*, of_list: bool = True) -> None:
        if current:
            prose = writer.paragraph(writer.words("\n".join(current)))
            (items if items_open else blocks).append(prose)
            current.clear()
        if of_list and items:
            blocks.append(writer.bullets([[item] for item in items]))
            items.clear()

    items_open = False
    previous = ""
    for line in lines:
        bullet = _BULLET.match(line)
        if bullet:
            end(of_list=not items_open)
            items_open = True
            current.append(line[bullet.end() :])
        elif not line or _NUMBERED.match(line) or (previous and _ends_paragraph(previous, line, wide)):
            end()
            items_open = False
            current.extend([line] if line else [])
        else:
            current.append(line)
        previous = line
    end()
    return [block for block in blocks if block]


def _ends_paragraph(line: str, following: str, wide: int) -> bool:
    """Is this line short because its paragraph, or a heading, ends with it?"""
    short = len(line) < 0.7 * wide
    return short and (following[0].isupper() or following[0].isdigit() or _ENDS.search(line) is not None)


def _lines(text: str) -> list[str]:
    text = _CONTROLS.sub("", text.translate(_LIGATURES).replace("\r", "\n"))
    lines = [" ".join(line.split()) for line in text.split("\n")]
    lines = [line for line in lines if not _CONTENTS.search(line)]
    while lines and not lines[0]:
        lines.pop(0)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _running(pages: list[list[str]]) -> set[str]:
    """The lines, numbers aside, that stand at the edge of many pages."""
    if len(pages) < MIN_PAGES:
        return set()
    seen = Counter(
        shape
        for lines in pages
        for shape in {_shape(line) for n, line in enumerate(lines) if line and _at_edge(n, lines)}
    )
    outermost = Counter(
        shape for lines in pages for shape in {_shape(line) for line in (*lines[:1], *lines[-1:])}
    )
    return {shape for shape, count in seen.items() if count >= max(3, REPEATED * len(pages))} | {
        shape for shape, count in outermost.items() if count >= 3 and sum(c.isalpha() for c in shape) >= 4
    }


def _without_page_numbers(pages: list[list[str]]) -> list[list[str]]:
    """Drop the outermost line of a page where it begins or ends with the page's number ("Chapter 3: Tools 26")."""
    offsets = Counter(
        offset
        for page, lines in enumerate(pages)
        for offset in {number - page for line in (*lines[:1], *lines[-1:]) for number in _outer_numbers(line)}
    )
    offset, count = offsets.most_common(1)[0] if offsets else (0, 0)
    if count < max(3, len(pages) * REPEATED):
        return pages
    kept = []
    for page, lines in enumerate(pages):
        first = bool(lines) and page + offset in _outer_numbers(lines[0])
        last = len(lines) > first and page + offset in _outer_numbers(lines[-1])
        kept.append(lines[first : len(lines) - last])
    return kept


def _outer_numbers(line: str) -> set[int]:
    """The numbers that a short line begins and ends with."""
    return {int(a or b) for a, b in _OUTER_NUMBER.findall(line)} if len(line) < 100 else set()


def _at_edge(number: int, lines: list[str]) -> bool:
    return number < EDGE or number >= len(lines) - EDGE


def _shape(line: str) -> str:
    return _DIGITS.sub("#", line.casefold())


def _whole_words(lines: list[str], known: set[str]) -> list[str]:
    """Join "transfor-" and "mation" unless the text writes the word with its hyphen elsewhere."""
    joined: list[str] = []
    for line in lines:
        before = _HYPHENATED.search(joined[-1]) if joined else None
        after = _WORD.match(line)
        if before and after and line[0].islower():
            word, rest = after[0], line[after.end() :]
            hyphened = (
                f"{before[1]}-{word}".casefold() in known and f"{before[1]}{word}".casefold() not in known
            )
            mark = re.match(r"[^\w\s]+", rest)
            tail = mark[0] if mark else ""
            joined[-1] = joined[-1][:-1] + ("-" if hyphened else "") + word + tail
            rest = rest[len(tail) :].lstrip()
            if rest:
                joined.append(rest)
        else:
            joined.append(line)
    return joined
