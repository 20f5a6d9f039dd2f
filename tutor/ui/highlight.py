"""How a cited span gets through Markdown rendering: where to put two marker characters, and what to make of them after.

A marker at the wrong place changes what a line is (a fence, a table, a list), so several places are offered in turn
and `markdown.py` takes the first that leaves the page as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown_it.token import Token

_TAG = re.compile(r'(<(?:"[^"]*"|[^>"])*>)')
_LEADING_MARKS = re.compile(r"(?:[ \t]*(?:[|>#*+-]+|\d{1,9}[.)]))*[ \t]*")
_BLOCKS = ("tr_open", "list_item_open", "heading_open", "fence", "code_block", "paragraph_open")


def spans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The cited span as given, then inside list marks and table bars, then inside emphasis."""
    quote = text[start:end]
    last = start + len(quote.rstrip())
    yield start, last
    inner = start + len(_LEADING_MARKS.match(quote).group())  # type: ignore[union-attr]
    for first, stop in (
        (inner, start + len(quote.rstrip().rstrip("|").rstrip())),
        (start, start + len(quote.rstrip().rstrip("*_~`"))),
        (start + len(quote) - len(quote.lstrip("*_~` \n")), start + len(quote.rstrip().rstrip("*_~`"))),
    ):
        if first < stop:
            yield first, stop


def unused_characters(text: str) -> tuple[str, str]:
    unused = (chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in text)
    return next(unused), next(unused)


def with_marks(html: str, opening: str, closing: str) -> str:
    """Wrap every piece of text between the two characters, which may lie in different cells or emphasis."""
    out: list[str] = []
    inside, first = False, True
    for piece in _TAG.split(html):
        if piece.startswith("<"):
            out.append(piece)
            continue
        for part in re.split(f"([{opening}{closing}])", piece):
            if part in (opening, closing):
                inside = part == opening
            elif inside and part.strip():
                out.append(f"<mark{' id=' + chr(34) + 'cite' + chr(34) if first else ''}>{part}</mark>")
                first = False
            else:
                out.append(part)
    return "".join(out)


def mark_block(tokens: list[Token], body: str, start: int) -> None:
    """Mark the smallest block around an offset."""
    line = body.count("\n", 0, max(start, 0))
    around = [
        t for t in tokens
        if t.type in _BLOCKS and not t.hidden and t.map and t.map[0] <= line < t.map[1]
    ]  # fmt: skip
    if around:
        min(around, key=lambda t: t.map[1] - t.map[0]).attrJoin("class", "cite-block")  # type: ignore[index]
