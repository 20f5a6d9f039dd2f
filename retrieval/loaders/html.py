"""HTML -> Document: the page's own text as Markdown, without menus, scripts and footers.

libxml2 parses (and stops at 256 levels); `html_blocks.py` walks what it made.
"""

from __future__ import annotations

import re
from typing import Any

from retrieval.loaders import LoadError, markdown, writer
from retrieval.loaders.encodings import decode_text
from retrieval.loaders.html_blocks import blocks_of, text_of
from retrieval.records import Document

_DECLARED = (
    re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w:.-]+)", re.I),
    re.compile(rb"^\s*<\?xml[^>]{0,100}?encoding\s*=\s*[\"']([\w:.-]+)"),
)
_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_MAIN = ("main", "article")


def load(path_label: str, data: bytes) -> Document:
    """Read one HTML page. The title is its <title>, else the first level-1 heading, else the file's name.

    The encoding is the file's mark, else what the page declares. Raises LoadError: not text, nested too deeply.
    """
    decoded = decode_text(data, declared_encoding(data))
    root = parse(decoded.text)
    found = root.find(".//title") if root is not None else None
    title = text_of(found) if found is not None else ""
    text = writer.join(blocks_of(_content(root))) if root is not None else ""
    return markdown.build(path_label, text, "text/html", title, decoded.meta())


def declared_encoding(data: bytes) -> str:
    """What the page says its encoding is, or ""."""
    found = next((m for pattern in _DECLARED if (m := pattern.search(data[:4096]))), None)
    return found[1].decode("ascii", "ignore") if found else ""


def parse(text: str) -> Any:
    """The <html> element, or None for a page without any. Raises LoadError where it is nested too deeply."""
    from lxml import etree

    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    source = _XML_DECLARATION.sub("", text, count=1).encode("utf-8", "replace")
    try:
        root = etree.fromstring(source, parser)
    except etree.XMLSyntaxError as error:
        root = None
        if error.code == etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError from None
    for entry in parser.error_log.filter_from_fatals():
        if entry.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT:
            depth = "depth" in entry.message
            raise LoadError(
                "nested deeper than any page needs (256 levels); it is broken or hostile"
                if depth
                else "a single paragraph of it is larger than 10 MB; split it"
            )
    return root


def _content(root: Any) -> Any:
    """The element that holds the page's text: the one <main>, or the one <article>, else all of it."""
    for name in _MAIN:
        found = root.findall(f".//{name}")
        if len(found) == 1 and len(text_of(found[0])) > 200:
            return found[0]
    return root
