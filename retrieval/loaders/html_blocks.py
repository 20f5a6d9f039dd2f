"""An element tree of HTML -> blocks of Markdown. Knows which elements are text, which are marks and which are menus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from retrieval.loaders import LoadError, writer
from retrieval.loaders.html_tables import grid

MAX_DEPTH = 250

_SKIPPED = set(
    "script style nav footer aside template noscript head title svg canvas iframe object embed video audio "
    "button select textarea input map dialog hr wbr".split()
)
_BLOCKS = set(
    "p div section article main header address figure figcaption center form fieldset legend details summary body "
    "html hgroup dd dt li td th tr tbody thead tfoot caption search".split()
)
_CODE = {"code", "tt", "kbd", "samp"}
# Classes of what site builders put around the text: DocBook, Sphinx, MediaWiki, Bootstrap, Jekyll.
_MENUS = set(
    "navheader navfooter toc headerlink breadcrumb breadcrumbs sphinxsidebar related navigation navbar sidebar "
    "mw-editsection navbox noprint skip-link toctree-wrapper cookie-banner table-of-contents".split()
)
_NOTES = {"note", "tip", "hint", "warning", "caution", "important", "danger", "admonition"}
_MENU_IDS = {"toc", "footer", "sidebar", "navigation", "breadcrumbs", "cookie-banner"}
_MENU_ROLES = {"navigation", "banner", "contentinfo", "search", "menu", "menubar"}
_LABEL = re.compile(r"[^*.:!?]{1,60}[.:]")
_LANGUAGE = re.compile(r"(?:^|\s)(?:language-|lang-|highlight-(?:source-)?|brush:\s*)([\w+#.-]+)")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)

_TEXT, _CODE_SPAN, _READY, _BREAK = range(4)


def blocks_of(element: Any) -> list[str]:
    """The blocks of an element's content, in order. Raises LoadError where it is nested too deeply."""
    walker = _Walker(depth=0)
    walker.block(element)
    walker.flush()
    return walker.blocks


def text_of(element: Any) -> str:
    """All words of an element on one line, whatever they are."""
    return " ".join("".join(element.itertext()).split())


class _Walker:
    """Collects one container's blocks: words gather in `_pieces` until a block begins or ends."""

    def __init__(self, depth: int) -> None:
        self.blocks: list[str] = []
        self._pieces: list[tuple[int, str]] = []
        self._depth = depth

    def inner(self, element: Any) -> list[str]:
        """The blocks of a container inside this one: a list item, a quotation, a cell."""
        walker = _Walker(self._depth + 1)
        walker.content(element)
        walker.flush()
        return walker.blocks

    def flush(self, *, level: int = 0) -> None:
        """End the paragraph (or, with a `level`, the heading) that the words so far are."""
        if not self._pieces:
            return
        parts: list[str] = []
        for kind, group in groupby(self._pieces, key=itemgetter(0)):
            text = "".join(
                text for _, text in group
            )  # code spans that touch are one: their marks would run together
            if kind == _TEXT:
                text = writer.words(" ".join(f"|{text}|".split())[1:-1])
            elif kind == _CODE_SPAN:
                text = writer.code(text)
            parts.append(text)
        self._pieces = []
        text = writer.heading(level, "".join(parts)) if level else writer.paragraph("".join(parts))
        if text:
            self.blocks.append(text)

    def content(self, element: Any) -> None:
        """Walk what is inside an element."""
        if self._depth > MAX_DEPTH:
            raise LoadError("nested deeper than any page needs; it is broken or hostile")
        if element.text:
            self._pieces.append((_TEXT, element.text))
        self._depth += 1
        for child in element:
            if isinstance(child.tag, str) and not _is_menu(child):
                self._element(child, _name(child))
            if child.tail:
                self._pieces.append((_TEXT, child.tail))
        self._depth -= 1

    def block(self, element: Any) -> None:
        """Walk an element whose words are paragraphs of their own."""
        self.flush()
        self.content(element)
        self.flush()

    def _element(self, element: Any, name: str) -> None:
        if name in _BLOCKS:
            self.block(element)
        elif name in _CODE:
            self._pieces.append((_CODE_SPAN, "".join(element.itertext())))
        elif name == "br":
            self._pieces.append((_BREAK, "\n"))
        elif len(name) == 2 and name[0] == "h" and name[1] in "123456":
            self.flush()
            self.content(element)
            while self._pieces and self._pieces[-1] == (_TEXT, "¶"):
                self._pieces.pop()
            self.flush(level=0 if _is_note(element) else int(name[1]))
        elif name in ("pre", "listing", "xmp"):
            self._add(writer.fence(_verbatim(element), _language(element)))
        elif name in ("ul", "ol", "menu", "dir"):
            self._list(element, name)
        elif name == "dl":
            self._definitions(element)
        elif name == "blockquote":
            self._add(writer.quote(blocks) if (blocks := self.inner(element)) else "")
        elif name == "table":
            self._table(element)
        else:
            self._inline(element, name)

    def _inline(self, element: Any, name: str) -> None:
        if name == "img":
            alt = " ".join((element.get("alt") or "").translate({91: " ", 93: " "}).split())[:300]
            if any(c.isalnum() for c in alt):
                self._pieces.append((_READY, f"![{writer.words(alt)}]()"))
        elif name == "sup":
            text = text_of(element)
            if text and element.find(".//{*}a") is None:  # a link up there is the mark of a note
                self._pieces.append((_TEXT, f"^{text}" if text[0].isalnum() or text[0] in "-+−" else text))
        elif name in ("b", "strong") and self._opens_paragraph(element):
            self._pieces.append((_READY, f"**{writer.words(text_of(element))}**"))
        elif name == "math":
            self._pieces.append((_TEXT, _formula(element)))
        elif name == "q":
            self._pieces.append((_TEXT, "“"))
            self.content(element)
            self._pieces.append((_TEXT, "”"))
        else:
            self.content(element)

    def _opens_paragraph(self, element: Any) -> bool:
        """Is this a label ("**Speed.** A learner ...")? Its mark keeps it in one sentence with what it opens."""
        first = not any(text.strip() for _, text in self._pieces)
        return first and (element.tail or "")[:1].isspace() and _LABEL.fullmatch(text_of(element)) is not None

    def _add(self, block: str) -> None:
        self.flush()
        if block:
            self.blocks.append(block)

    def _list(self, element: Any, name: str) -> None:
        items: list[list[str]] = []
        for child in element:
            if not isinstance(child.tag, str) or _is_menu(child):
                continue
            if _name(child) == "li" or not items:
                items.append(self.inner(child) if _name(child) == "li" else self._wrapped(child))
            else:  # a list inside a list, without an item around it
                items[-1].extend(self._wrapped(child))
        start = None
        if name == "ol":
            given = element.get("start") or ""
            start = int(given) if given.isdecimal() and len(given) < 9 else 1
        items = [blocks for blocks in items if blocks]
        self._add(writer.bullets(items, start) if items else "")

    def _wrapped(self, element: Any) -> list[str]:
        walker = _Walker(self._depth + 1)
        walker._element(element, _name(element))
        walker.flush()
        return walker.blocks

    def _definitions(self, element: Any) -> None:
        """A term and what it means are one item: "- --all: show everything"."""
        items: list[list[str]] = []
        terms: list[str] = []
        for child in _definition_parts(element):
            if _name(child) == "dt":
                terms += [" ".join(block.split()) for block in self.inner(child)]
                continue
            blocks = self.inner(child)
            if terms:
                term, terms = ", ".join(terms), []
                if blocks and not blocks[0].startswith(("- ", "> ", "```", "| ", "#", "1. ")):
                    blocks[0] = f"{term}: {blocks[0]}"
                else:
                    blocks.insert(0, f"{term}:")
                items.append(blocks)
            elif items:
                items[-1].extend(blocks)
            elif blocks:
                items.append(blocks)
        if terms:
            items.append([", ".join(terms)])
        self._add(writer.bullets(items) if items else "")

    def _table(self, element: Any) -> None:
        found = grid(element)
        self.flush()
        for caption in found.captions:
            self.blocks.extend(self.inner(caption))
        if found.is_layout:
            for row in found.rows:
                for cell in row:
                    if cell is not None:
                        self.blocks.extend(self.inner(cell))
            return
        # A cell that spans rows or columns stands in the grid more than once.
        between = " " if found.width > 1 else "; "
        cells = {id(c): between.join(self.inner(c)) for row in found.rows for c in row if c is not None}
        rows = [[cells.get(id(cell), "") for cell in row] for row in found.rows]
        header = _header(rows[: found.header_rows]) if found.width > 1 else []
        self._add(writer.table([row for row in rows[found.header_rows :] if any(row)], header))


def _header(rows: list[list[str]]) -> list[str]:
    """One name a column, from header rows of which the upper ones span several."""
    width = max((len(row) for row in rows), default=0)
    columns = ([row[n] if n < len(row) else "" for row in rows] for n in range(width))
    return [" ".join(dict.fromkeys(name for name in column if name)) for column in columns]


def _definition_parts(element: Any) -> Iterator[Any]:
    for child in element:
        if isinstance(child.tag, str) and not _is_menu(child):
            if _name(child) in ("dt", "dd"):
                yield child
            elif _name(child) == "div":
                yield from (c for c in child if isinstance(c.tag, str) and _name(c) in ("dt", "dd"))


def _name(element: Any) -> str:
    """The tag without its namespace."""
    tag: str = element.tag
    return (tag.rpartition("}")[2] if tag[0] == "{" else tag).lower()


def _is_menu(element: Any) -> bool:
    """Is this no text of the page: a menu, a script, something hidden?"""
    name = _name(element)
    if name in _SKIPPED:
        return True
    if name == "header":  # a site's, unless it opens the article or holds the page's heading
        return element.find(".//{*}h1") is None and not any(
            _name(a) in ("main", "article", "section") for a in element.iterancestors()
        )
    attributes = element.attrib
    if not attributes or name in ("html", "body", "main", "article"):  # their classes describe the whole page
        return False
    classes = attributes.get("class")
    if classes and not _MENUS.isdisjoint(classes.split()):
        return True
    if "hidden" in attributes or (attributes.get("aria-hidden") == "true" and name != "math"):
        return True
    if attributes.get("id") in _MENU_IDS or attributes.get("role") in _MENU_ROLES:
        return True
    style = attributes.get("style")
    return bool(style and _HIDDEN.search(style))


def _is_note(heading: Any) -> bool:
    """Does this only label a box ("Note", "Warning") in the middle of a section?"""
    parent = heading.getparent()
    return parent is not None and not _NOTES.isdisjoint((parent.get("class") or "").split())


def _verbatim(element: Any) -> str:
    """The text of a code block with its lines."""
    parts = [element.text or ""]
    for child in element:
        if isinstance(child.tag, str):
            parts.append("\n" if _name(child) == "br" else _verbatim(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _language(element: Any) -> str:
    """The programming language that a code block's classes name, or ""."""
    around = [
        element,
        *element.findall("{*}code"),
        *[a for a, _ in zip(element.iterancestors(), range(2), strict=False)],
    ]
    for candidate in around:
        classes = candidate.get("class") or ""
        if found := _LANGUAGE.search(classes):
            return "" if found[1] in ("default", "text", "none") else found[1]
        if "sourceCode" in (words := classes.split()) and len(words) > 1:
            return next(word for word in words if word != "sourceCode")
    return ""


def _formula(element: Any) -> str:
    note = next((e for e in element.iter() if isinstance(e.tag, str) and _name(e) == "annotation"), None)
    return element.get("alttext") or (text_of(note) if note is not None else text_of(element))
