"""The Markdown that converted formats become: words escaped where they would be read as marks, and nowhere else.

Converters write only what `markdown.py` reads: headings, paragraphs, lists, quotes, tables, code. Emphasis and link
targets are left out, so that a quotation shows the words of the file and as few marks as can be.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_LEVEL = 6

_MAYBE_MARK = re.compile(r"[\\`*_~&<\]]")
# What the parser would take for a mark: not "2 * 3", "snake_case", "a < b", "AT&T" or "[1]".
_MARK = re.compile(
    r"""\\(?=[!-/:-@\[-`{-~\n]|\Z)|`|(?<!\s)\*|\*(?!\s)|(?<![^\W_])_(?!\s)|(?<!\s)_(?![^\W_])|~(?=~)
    |&(?=\#?\w+;)|<(?=[A-Za-z][\w.+-]*:|[\w.!\#$%&'*+/=?^`{|}~-]+@)|\](?=\()""",
    re.X,
)
_LINE_MARK = re.compile(
    r"""^(?:(?=\#{1,6}(?:\s|$)|>|[-+*](?:\s|$)|[-=_:|*][-=_:|*\ ]*$|\[[^\]]*\]:|~~~)
    |(?P<number>\d{1,9})(?=[.)](?:\s|$)))""",
    re.X | re.M,
)
_CLOSING = re.compile(r"(?<=\s)(#+)$")
_SPACES = re.compile(r"\s+")
_LANGUAGE = re.compile(r"[\w+#.-]{1,20}")
_BACKTICKS = re.compile(r"`+")


def words(text: str) -> str:
    """Plain text inside a line, escaped. Whitespace is kept."""
    return _MARK.sub(r"\\\g<0>", text) if _MAYBE_MARK.search(text) else text


def paragraph(escaped: str) -> str:
    """A block of prose from text that `words` or `code` has seen: no line of it begins anything else."""
    lines = (_SPACES.sub(" ", line).strip() for line in escaped.split("\n"))
    text = "\n".join(line for line in lines if line)
    return _LINE_MARK.sub(lambda m: f"{m['number']}\\" if m["number"] else "\\", text)


def code(text: str) -> str:
    """Code inside a line."""
    text = _SPACES.sub(" ", text)
    if not text.strip():
        return text
    fence = "`" * (_longest(text) + 1)
    pad = " " if text[0] == "`" or text[-1] == "`" or (text[0] == text[-1] == " ") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def heading(level: int, escaped: str) -> str:
    """A heading line; "" where there are no words for it."""
    text = _CLOSING.sub(r"\\\1", _SPACES.sub(" ", escaped).strip())
    return f"{'#' * max(1, min(level, MAX_LEVEL))} {text}" if any(c.isalnum() for c in text) else ""


def fence(text: str, language: str = "") -> str:
    """A code block; "" for an empty one."""
    text = text.strip("\n").rstrip()
    if not text.strip():
        return ""
    marks = "`" * max(3, _longest(text) + 1)
    return f"{marks}{language if _LANGUAGE.fullmatch(language) else ''}\n{text}\n{marks}"


def bullets(items: Sequence[Sequence[str]], start: int | None = None) -> str:
    """A list from the blocks of each item; numbered from `start`, if given."""
    lines: list[str] = []
    loose = any(_is_loose(blocks) for blocks in items)
    for number, blocks in enumerate(items):
        mark = "- " if start is None else f"{min(start + number, 999_999_999)}. "
        text = ""
        for block in blocks:
            tight = not loose and block.startswith(("- ", "1. "))  # what may follow a paragraph without a gap
            text += ("" if not text else "\n" if tight else "\n\n") + block
        lines.append(mark + indented(text, len(mark)))
    return ("\n\n" if loose else "\n").join(lines)


def indented(text: str, width: int) -> str:
    """All lines but the first moved to the right."""
    return (
        text.replace("\n", "\n" + " " * width).replace("\n" + " " * width + "\n", "\n\n")
        if "\n" in text
        else text
    )


def quote(blocks: Sequence[str]) -> str:
    """A block quotation."""
    return "\n".join(f"> {line}".rstrip() for line in "\n\n".join(blocks).split("\n"))


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """A table from escaped cells; ragged rows are filled up. Without a header its columns have no names."""
    width = max((len(row) for row in (header, *rows)), default=0)
    if not width or not rows:
        return ""
    return "\n".join([_row(header, width), "|" + " --- |" * width, *(_row(row, width) for row in rows)])


def is_list(block: str) -> bool:
    """Is this what `bullets` made?"""
    return block.startswith("- ") or re.match(r"\d{1,9}\. ", block) is not None


def join(blocks: Sequence[str]) -> str:
    """The text of a document from its blocks."""
    return "\n\n".join(block for block in blocks if block.strip()) + "\n"


def _row(cells: Sequence[str], width: int) -> str:
    filled = [*cells, *[""] * (width - len(cells))]
    return "| " + " | ".join(_SPACES.sub(" ", cell).strip().replace("|", "\\|") for cell in filled) + " |"


def _is_loose(blocks: Sequence[str]) -> bool:
    return sum(not is_list(block) for block in blocks) > 1


def _longest(text: str) -> int:
    return max((len(run) for run in _BACKTICKS.findall(text)), default=0)
