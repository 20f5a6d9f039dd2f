"""Inline Markdown -> its plain words, each character with its place in the source.

markdown-it decides what is a mark and what is a word; it only forgets where inline tokens came from, so its
inline state is taught to remember. Blocks (lists, tables, headings) are the business of `markdown.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token


@dataclass(frozen=True, slots=True)
class InlineText:
    """`text[i]` came from `source[starts[i]:ends[i]]`; `opaque[i]` is true in code and image descriptions."""

    text: str
    starts: list[int]
    ends: list[int]
    opaque: list[bool]


@lru_cache(maxsize=1)
def parser() -> MarkdownIt:
    """The one dialect that documents are read in: CommonMark, tables, strikethrough; HTML is plain text."""
    md = MarkdownIt("commonmark", {"html": False, "maxNesting": 100}).enable(["table", "strikethrough"])
    md.inline.ruler2.disable("fragments_join")  # joining text tokens would lose their places
    md.core.ruler.disable("text_join")
    return md


class _PlacedInline(StateInline):
    """markdown-it's inline state, writing into each token's meta where its text starts in the source."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._pending_at: int | None = None

    def append_pending(self, text: str) -> None:
        if self._pending_at is None:
            self._pending_at = self.pos
        super().append_pending(text)

    def pushPending(self) -> Token:  # noqa: N802 - markdown-it's name
        token = super().pushPending()
        token.meta["at"] = self._pending_at if self._pending_at is not None else self.pos
        self._pending_at = None
        return token

    def push(self, ttype: str, tag: str, nesting: Literal[-1, 0, 1]) -> Token:
        token = super().push(ttype, tag, nesting)
        self._pending_at = None
        token.meta["at"] = self.pos
        return token


def inline_text(source: str, env: dict[str, Any] | None = None) -> InlineText:
    """The words of one paragraph, heading or cell, without emphasis, ticks, link targets; entities decoded.

    `env` is what markdown-it collected from the whole document (link definitions). Line breaks stay "\\n".
    """
    md = parser()
    tokens: list[Token] = []
    state = _PlacedInline(source, md, env if env is not None else {}, tokens)
    md.inline.tokenize(state)
    for rule in md.inline.ruler2.getRules(""):
        rule(state)
    result = InlineText("", [], [], [])
    pieces: list[str] = []
    for text, start, end, verbatim, opaque in _pieces(tokens, source):
        start = max(start, result.ends[-1] if result.ends else 0)
        for i in range(len(text)):
            at = min(start + i if verbatim else start, len(source) - 1)
            result.starts.append(at)
            result.ends.append(at + 1 if verbatim else max(end, at + 1))
            result.opaque.append(opaque)
        pieces.append(text)
    return InlineText("".join(pieces), result.starts, result.ends, result.opaque)


def _pieces(tokens: list[Token], source: str) -> Iterator[tuple[str, int, int, bool, bool]]:
    """(text, start, end, verbatim in the source?, opaque?) of every token that is read as words."""
    for token in tokens:
        at = token.meta.get("at", 0)
        if token.type == "text":
            inside = token.info == "auto" or not source.startswith(token.content, at)
            at += 1 if inside else 0  # the "<" of an autolink
            verbatim = source.startswith(token.content, at)
            yield token.content, at, at + len(token.content), verbatim, False
        elif token.type == "text_special":  # an escape or an entity: `markup` is how it is written
            yield token.content, at, at + len(token.markup), len(token.markup) == 1, False
        elif token.type in ("softbreak", "hardbreak"):
            newline = source.find("\n", at)
            yield "\n", newline if newline >= 0 else at, newline + 1, True, False
        elif token.type == "code_inline":
            at += len(token.markup)
            padded = not source[at:].replace("\n", " ").startswith(token.content)
            yield token.content, at + padded, 0, True, True
        elif token.type == "image":
            yield _words(token.children or []), at, at + 1, False, True


def _words(tokens: list[Token]) -> str:
    return "".join("\n" if t.type in ("softbreak", "hardbreak") else t.content for t in tokens)
