"""The body of a Word document -> blocks of Markdown. `styles` and numbering say what a paragraph is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from retrieval.loaders import LoadError, writer

MAX_DEPTH = 50  # tables inside tables inside text boxes

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING = re.compile(r"heading (\d)$", re.I)
_SKIPPED = {f"{_W}{n}" for n in ("del", "moveFrom", "instrText", "delText", "pPr", "rPr", "sectPr")}
_SKIPPED.add(_FALLBACK)
_NOTES = ("footnote", "endnote")
_WRAPPERS = {f"{_W}{n}" for n in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag")}


@dataclass(frozen=True, slots=True)
class _Style:
    name: str
    level: int | None  # of the outline, from 0
    numbering: str
    indent: int


@dataclass(slots=True)
class _Item:
    level: int
    numbered: bool
    text: str
    notes: list[str]


class Body:
    """The blocks of a document. `title` and `has_h1` are known once they have been walked."""

    def __init__(self, opened: Any) -> None:
        self.title = ""
        self.has_h1 = False
        self._root = opened.element.body
        self._styles = dict(_styles(opened.styles.element))
        self._bulleted = _bulleted(opened)
        self._notes = _notes(opened)

    def blocks(self) -> list[str]:
        """All blocks in order. Raises LoadError where tables are nested too deeply."""
        return self._blocks(self._root, 0)

    def _blocks(self, container: Any, depth: int) -> list[str]:
        if depth > MAX_DEPTH:
            raise LoadError("nested deeper than any document needs; it is broken or hostile")
        blocks: list[str] = []
        items: list[_Item] = []
        code: list[str] = []
        for element in _content(container, depth):
            if element.tag == f"{_W}tbl":
                self._end(blocks, items, code)
                blocks += self._table(element, depth)
                continue
            text = _text(element)
            style = self._style(element)
            name = style.name.lower()
            if _is_code(name):
                self._end(blocks, items, [])
                code.append(text)
                continue
            self._end(blocks, [], code)
            notes = self._notes_on(element, depth)
            if style.level is None and style.numbering not in ("", "0") and text.strip():
                bulleted = self._bulleted.get((style.numbering, style.indent), "list number" not in name)
                items.append(_Item(style.indent, not bulleted, _prose(text), notes))
                continue
            self._end(blocks, items, code)
            blocks += [self._paragraph(text, style), *notes]
        self._end(blocks, items, code)
        return [block for block in blocks if block]

    def _end(self, blocks: list[str], items: list[_Item], code: list[str]) -> None:
        """Write down the list or the code block that has just ended."""
        if items:
            blocks += [_list(items), *(note for item in items for note in item.notes)]
            items.clear()
        if code:
            blocks.append(writer.fence("\n".join(code)))
            code.clear()

    def _notes_on(self, paragraph: Any, depth: int) -> list[str]:
        """The notes that the paragraph refers to, each where it is first referred to: notes may refer to notes."""
        found: list[str] = []
        for mark in paragraph.iter(*(f"{_W}{kind}Reference" for kind in _NOTES)):
            if any(above.tag in _SKIPPED for above in mark.iterancestors()):
                continue  # deleted
            note = self._notes.pop((mark.tag.removesuffix("Reference"), mark.get(f"{_W}id")), None)
            if note is not None:
                found += self._blocks(note, depth + 1)
        return found

    def _paragraph(self, text: str, style: _Style) -> str:
        name = style.name.lower()
        if name == "title" and not self.title:
            self.title = " ".join(text.split())
        if style.level is not None or name == "title":
            level = style.level or 0
            self.has_h1 |= level == 0 and bool(text.strip())
            return writer.heading(level + 1, writer.words(text))
        prose = _prose(text)
        return writer.quote([prose]) if prose and "quote" in name else prose

    def _style(self, paragraph: Any) -> _Style:
        """What the paragraph is: its style, and what it says itself."""
        own = paragraph.find(f"{_W}pPr")
        style_id = _value(own, "pStyle")
        style = self._styles.get(style_id, self._styles.get("", _Style("", None, "", 0)))
        if own is None:
            return style
        outline = _value(own, "outlineLvl")
        level = style.level
        if outline.isdecimal():
            level = int(outline) if int(outline) < 9 else None
        numbering, indent = style.numbering, style.indent
        if (given := own.find(f"{_W}numPr")) is not None:
            numbering = _value(given, "numId") or numbering
            at = _value(given, "ilvl")
            indent = min(int(at), 8) if at.isdecimal() else indent
        return _Style(style.name, level, numbering, indent)

    def _table(self, table: Any, depth: int) -> list[str]:
        rows: list[list[str]] = []
        above: list[str] = []
        for row in (e for e in _content(table, depth) if e.tag == f"{_W}tr"):
            cells: list[str] = []
            for cell in (e for e in _content(row, depth) if e.tag == f"{_W}tc"):
                own = cell.find(f"{_W}tcPr")
                span = _value(own, "gridSpan")
                blocks = self._blocks(cell, depth + 1)
                merged = own.find(f"{_W}vMerge") if own is not None else None
                joined = " ".join(blocks)
                if merged is not None and merged.get(f"{_W}val") != "restart":
                    joined = above[len(cells)] if len(cells) < len(above) else joined
                cells += [joined] * (min(int(span), 60) if span.isdecimal() else 1)
            rows.append(cells)
            above = cells
        rows = [row for row in rows if any(row)]
        if len(rows) < 2 or max(map(len, rows)) < 2:  # a box around text
            return [cell for row in rows for cell in dict.fromkeys(row) if cell]
        return [writer.table(rows[1:], rows[0])]


def _content(container: Any, depth: int) -> Iterator[Any]:
    """Paragraphs, tables, rows and cells below a container, through what only wraps them."""
    for child in container:
        if child.tag in _WRAPPERS and depth <= MAX_DEPTH:
            yield from _content(child, depth + 1)
        elif child.tag in (f"{_W}p", f"{_W}tbl", f"{_W}tr", f"{_W}tc"):
            yield child


def _text(paragraph: Any) -> str:
    """The words of a paragraph as they are shown: without deletions and field codes."""
    parts: list[str] = []
    waiting = list(reversed(paragraph))
    while waiting:
        element = waiting.pop()
        tag = element.tag
        if tag in _SKIPPED or not isinstance(tag, str):
            continue
        if tag in (f"{_W}t", _MATH_TEXT):
            parts.append(element.text or "")
        elif tag in (f"{_W}br", f"{_W}cr"):
            parts.append("\n")
        elif tag == f"{_W}tab":
            parts.append("\t")
        elif tag == f"{_W}noBreakHyphen":
            parts.append("-")
        elif tag == f"{_W}p":  # of a text box
            parts.append(" ")
            waiting.extend(reversed(element))
        else:
            waiting.extend(reversed(element))
    return "".join(parts)


def _prose(text: str) -> str:
    return writer.paragraph(writer.words(text))


def _list(items: list[_Item], at: int = 0) -> str:
    """A list from paragraphs that know their level; deeper ones belong to the item before them."""
    groups: list[tuple[_Item, list[_Item]]] = []
    base = min(item.level for item in items)
    for item in items:
        if item.level <= base or not groups:
            groups.append((item, []))
        else:
            groups[-1][1].append(item)
    numbered = groups[0][0].numbered
    blocks = [[first.text, *([_list(below, at + 1)] if below else [])] for first, below in groups]
    return writer.bullets(blocks, 1 if numbered else None)


def _is_code(style_name: str) -> bool:
    return any(word in style_name for word in ("code", "html preformatted", "macro text", "plain text"))


def _styles(root: Any) -> Iterator[tuple[str, _Style]]:
    """Style id -> what paragraphs of it are; "" is the default style."""
    elements = {e.get(f"{_W}styleId"): e for e in root.iterfind(f"{_W}style")}
    for style_id, element in elements.items():
        name = _value(element, "name")
        found = _HEADING.match(name)
        level = int(found[1]) - 1 if found and found[1] != "0" else None
        numbering, indent, based = "", 0, element
        for _ in range(20):  # a style may be based on others, in a circle even
            own = based.find(f"{_W}pPr")
            outline = _value(own, "outlineLvl")
            if level is None and outline.isdecimal() and int(outline) < 9:
                level = int(outline)
            given = own.find(f"{_W}numPr") if own is not None else None
            if given is not None and not numbering:
                numbering = _value(given, "numId")
                at = _value(given, "ilvl")
                indent = min(int(at), 8) if at.isdecimal() else 0
            based = elements.get(_value(based, "basedOn"))
            if based is None:
                break
        style = _Style(name, level, numbering, indent)
        yield style_id, style
        if element.get(f"{_W}default") in ("1", "true") and element.get(f"{_W}type") == "paragraph":
            yield "", style


def _notes(opened: Any) -> dict[tuple[str, str | None], Any]:
    """(tag, id) -> footnote or endnote, from the parts beside the body."""
    from docx.oxml import parse_xml

    ends = tuple(f"/{kind}s" for kind in _NOTES)
    parts = [
        r.target_part for r in opened.part.rels.values() if not r.is_external and r.reltype.endswith(ends)
    ]
    return {(note.tag, note.get(f"{_W}id")): note for part in parts for note in parse_xml(part.blob)}


def _bulleted(opened: Any) -> dict[tuple[str, int], bool]:
    """(numbering id, level) -> bullets, not numbers?"""
    try:
        root = opened.part.numbering_part.element
    except (KeyError, NotImplementedError):
        return {}
    formats = {
        (abstract.get(f"{_W}abstractNumId"), level.get(f"{_W}ilvl")): _value(level, "numFmt")
        in ("bullet", "none")
        for abstract in root.iterfind(f"{_W}abstractNum")
        for level in abstract.iterfind(f"{_W}lvl")
    }
    return {
        (number.get(f"{_W}numId"), int(level)): bulleted
        for number in root.iterfind(f"{_W}num")
        for (abstract, level), bulleted in formats.items()
        if abstract == _value(number, "abstractNumId") and (level or "").isdecimal()
    }


def _value(parent: Any, name: str) -> str:
    """The `val` of a child element, or ""."""
    found = parent.find(f"{_W}{name}") if parent is not None else None
    return (found.get(f"{_W}val") or "") if found is not None else ""
