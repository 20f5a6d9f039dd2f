"""Markdown -> Document: a section per heading, a sentence per sentence, list item, table row or code block.

Every offset points into the file as it is written. What the words inside a line are is `inline.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from markdown_it.token import Token

from retrieval.loaders import front_matter
from retrieval.loaders.encodings import decode_text
from retrieval.loaders.inline import inline_text, parser
from retrieval.records import BlockKind, Document, Section, Sentence
from retrieval.sentences import MAX_SENTENCE_CHARS, one_line, split_markdown

MEDIA_TYPE = "text/markdown"

_CONTAINERS: dict[str, BlockKind] = {"list_item": "list_item", "blockquote": "quote"}
_NOT_IN_SLUG = re.compile(r"[^\w\- ]")


def load(path_label: str, data: bytes) -> Document:
    """Read a Markdown file. Front matter becomes `meta` and belongs to no section.

    The title is the front matter's `title`, else the first level-1 heading, else the file's name.
    Raises LoadError: not text, broken front matter.
    """
    decoded = decode_text(data)
    meta, body = front_matter.read(decoded.text)
    title = meta.get("title")
    named = str(title) if isinstance(title, str | int | float) else ""
    return build(path_label, decoded.text, MEDIA_TYPE, named, decoded.meta() | meta, body)


def build(
    path_label: str, text: str, media_type: str, title: str, meta: Mapping[str, Any], body: int = 0
) -> Document:
    """The document of a Markdown text, however it came about; without a `title` as in `load`.

    `body` is where the page begins behind its front matter. Text without one must not look as if it had one.
    """
    walker = _Walker(text, body)
    sections = tuple(walker.sections())
    title = one_line(title) or walker.first_h1 or PurePosixPath(path_label).stem
    return Document(path_label, title, text, media_type, sections, meta)


def slugify(heading: str) -> str:
    """The anchor of a heading as GitHub makes it: "Why `x` works!" -> "why-x-works". Give it plain words."""
    return _NOT_IN_SLUG.sub("", heading.strip().lower()).replace(" ", "-") or "section"


def unique_slug(heading: str, used: set[str]) -> str:
    """`slugify`, with -1, -2 ... behind a slug that is in `used` already; adds the result to `used`."""
    slug = base = slugify(heading)
    number = 1
    while slug in used:
        slug, number = f"{base}-{number}", number + 1
    used.add(slug)
    return slug


class _Walker:
    """Walks one document's block tokens and collects its sections."""

    def __init__(self, text: str, body: int) -> None:
        self.text = text
        self.body = body
        self.env: dict[str, Any] = {}
        self.tokens = parser().parse(text[body:], self.env)
        self.lines = text[body:].split("\n")
        self.line_at = [body]
        for line in self.lines:
            self.line_at.append(self.line_at[-1] + len(line) + 1)
        self.first_h1 = ""
        self.inside: list[BlockKind] = ["paragraph"]  # the lists and quotes around the current token

    def sections(self) -> Iterator[Section]:
        """The sections in order; the one before the first heading only where it says something."""
        used: set[str] = set()
        path: list[tuple[int, str]] = []
        start, anchor, sentences = self.body, "", list[Sentence]()
        for index, token in enumerate(self.tokens):
            if token.type == "heading_open" and token.level == 0:
                begin = self.line_at[_lines(token)[0]]
                if path or sentences:
                    yield Section(tuple(t for _, t in path), anchor, start, begin, tuple(sentences))
                words = one_line(inline_text(self.tokens[index + 1].content, self.env).text)
                level = int(token.tag[1:])
                if level == 1 and not self.first_h1:
                    self.first_h1 = words
                path = [(n, t) for n, t in path if n < level] + [(level, words)]
                start, anchor, sentences = begin, unique_slug(words, used), []
                continue
            kind = _CONTAINERS.get(token.type.removesuffix("_open").removesuffix("_close"))
            if kind and token.nesting > 0:
                self.inside.append(kind)
            elif kind:
                self.inside.pop()
            sentences.extend(self._block(index))
        yield Section(tuple(t for _, t in path), anchor, start, len(self.text), tuple(sentences))

    def _block(self, index: int) -> Iterator[Sentence]:
        """The sentences of the block that this token carries, if any."""
        token = self.tokens[index]
        if token.type == "inline":
            opener = self.tokens[index - 1]
            if opener.type == "paragraph_open" or (opener.type == "heading_open" and opener.level > 0):
                yield from self._prose(token, self.inside[-1])
        elif token.type in ("fence", "code_block"):
            yield from self._code(token)
        elif token.type == "table_open":
            yield from self._table(index)

    def _prose(self, token: Token, kind: BlockKind) -> Iterator[Sentence]:
        places = self._places(token.content, _lines(token)[0])
        for start, end, words in split_markdown(token.content, self.env):
            yield Sentence(places[start], places[end - 1] + 1, words, kind)

    def _code(self, token: Token) -> Iterator[Sentence]:
        """A code block is one sentence; one longer than a sentence may be is cut between lines."""
        first = _lines(token)[0] + (token.type == "fence")
        places = self._places(token.content, first)
        start = size = 0
        parts: list[tuple[int, int]] = []
        for line in token.content.splitlines(keepends=True) if token.content.strip() else []:
            if size and size + len(line) > MAX_SENTENCE_CHARS:
                parts.append((start, start + size))
                start, size = start + size, 0
            size += len(line)
        for begin, end in [*parts, (start, start + size)]:
            block = token.content[begin:end]
            if any(c.isalnum() for c in block):
                begin += len(block) - len(block.lstrip())
                end -= len(block) - len(block.rstrip())
                yield Sentence(places[begin], places[end - 1] + 1, one_line(block), "code")

    def _table(self, index: int) -> Iterator[Sentence]:
        """One sentence a row, each cell behind its column's name: "Model: small; Size: 135 M"."""
        header: list[str] = []
        row: list[str] = []
        rows: list[tuple[int, list[str]]] = []
        for position in range(index + 1, len(self.tokens)):
            token = self.tokens[position]
            if token.type == "table_close":
                break
            if token.type == "tr_open":
                row = []
                rows.append((_lines(token)[0], row))
            elif token.type == "inline":
                row.append(one_line(inline_text(token.content, self.env).text))
        header = rows.pop(0)[1] if len(rows) > 1 else []
        for line, cells in rows:
            named = [*header, *[""] * (len(cells) - len(header))]
            words = "; ".join(f"{n}: {c}" if n else c for n, c in zip(named, cells, strict=False) if c)
            raw = self.lines[line]
            start = len(raw) - len(raw.lstrip(" \t>"))
            if any(c.isalnum() for c in words):
                at = self.line_at[line]
                yield Sentence(at + start, at + len(raw.rstrip()), words, "table_row")

    def _places(self, content: str, first_line: int) -> list[int]:
        """For each character of a block's content its offset in the file.

        The parser has removed what stands left of it (list indents, ">"), and outer whitespace. So each
        content line is the end of its file line.
        """
        places: list[int] = []
        for number, line in enumerate(content.split("\n")):
            raw = self.lines[first_line + number] if first_line + number < len(self.lines) else ""
            at, stripped = self.line_at[min(first_line + number, len(self.lines))], line.rstrip()
            left = len(raw.rstrip()) - len(stripped)
            if left < 0 or not raw.rstrip().endswith(stripped):  # a tab that was half indent, made spaces
                left = len(raw.rstrip()) - len(stripped.lstrip())
                left -= len(stripped) - len(stripped.lstrip())
            places.extend(max(at, min(at + left + i, at + len(raw))) for i in range(len(line) + 1))
        return places


def _lines(token: Token) -> tuple[int, int]:
    """The block's first line and the line behind it, counted from 0 after the front matter."""
    assert token.map is not None, token.type
    return token.map[0], token.map[1]
