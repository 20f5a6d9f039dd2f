"""EPUB -> Document: the chapters in the order of the book's spine, each converted as HTML is."""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from retrieval.loaders import LoadError, markdown, writer
from retrieval.loaders.encodings import decode_text
from retrieval.loaders.html import declared_encoding, parse
from retrieval.loaders.html_blocks import blocks_of, text_of
from retrieval.loaders.zipped import Parts, parse_xml, refuse_entities
from retrieval.records import Document

MEDIA_TYPE = "application/epub+zip"

_CONTAINER = "META-INF/container.xml"
_PAGES = ("application/xhtml+xml", "text/html", "text/x-oeb1-document")
_ENTITY = re.compile(r"&([A-Za-z]\w+);")
_XML_ENTITIES = {"amp", "lt", "gt", "quot", "apos"}
_ESCAPED = {ord("<"): "&lt;", ord("&"): "&amp;"}
_FONT = re.compile(r"obfuscation|RC$", re.I)


def load(path_label: str, data: bytes) -> Document:
    """Read a book. The title is the package's, else the first level-1 heading, else the file's name.

    A chapter without a heading gets its name from the table of contents. Raises LoadError: damaged, copy protected.
    """
    parts = Parts(data)
    _refuse_protected(parts)
    opf_name = _package_name(parts)
    package = parts.xml(opf_name)
    folder = posixpath.dirname(opf_name)
    manifest = {e.get("id"): e for e in package.iterfind(".//{*}manifest/{*}item")}
    names = _chapter_names(parts, manifest, folder)
    blocks: list[str] = []
    for reference in package.iterfind(".//{*}spine/{*}itemref"):
        item = manifest.get(reference.get("idref"))
        if (
            item is None
            or item.get("media-type") not in _PAGES
            or "nav" in (item.get("properties") or "").split()
        ):
            continue
        place = _place(folder, item.get("href") or "")
        chapter = _chapter(parts.read(place))
        if chapter and not any(block.startswith("#") for block in chapter) and place in names:
            chapter.insert(0, writer.heading(1, writer.words(names[place])))
        blocks += chapter
    if not blocks:
        raise LoadError("no text: the book holds only pictures, or its reading order names no pages")
    found = package.find(".//{*}metadata/{http://purl.org/dc/elements/1.1/}title")
    title = text_of(found) if found is not None else ""
    return markdown.build(path_label, writer.join(blocks), MEDIA_TYPE, title, {})


def _package_name(parts: Parts) -> str:
    found = parts.xml(_CONTAINER).find(".//{*}rootfile")
    if found is None or not found.get("full-path"):
        raise LoadError("damaged: it does not say where its content is; get a new copy")
    return str(found.get("full-path"))


def _refuse_protected(parts: Parts) -> None:
    if "META-INF/encryption.xml" not in parts:
        return
    for entry in parts.xml("META-INF/encryption.xml").iterfind(".//{*}EncryptedData"):
        method = entry.find(".//{*}EncryptionMethod")
        if method is None or not _FONT.search(method.get("Algorithm") or ""):
            raise LoadError("copy protected (DRM); only unprotected books can be read")


def _chapter(data: bytes) -> list[str]:
    """The blocks of one page: as XML, which it should be, else as the HTML that it is."""
    refuse_entities(data)
    if not data.strip():
        return []
    text = decode_text(data, declared_encoding(data)).text
    try:
        root: Any = parse_xml(
            _ENTITY.sub(_character, re.sub(r"^\s*<\?xml[^>]*\?>", "", text)).encode(), "a chapter"
        )
    except LoadError:
        root = parse(text)
    if root is None:
        return []
    body = root.find("{*}body")
    return blocks_of(body if body is not None else root)


def _character(entity: re.Match[str]) -> str:
    """A named entity of HTML, which XML does not know, as its character."""
    return entity[0] if entity[1] in _XML_ENTITIES else html.unescape(entity[0]).translate(_ESCAPED)


def _chapter_names(parts: Parts, manifest: dict[Any, Any], folder: str) -> dict[str, str]:
    """part -> its name in the table of contents (EPUB 3 nav, else EPUB 2 ncx); the first where it has several."""
    names: dict[str, str] = {}
    for item in manifest.values():
        is_nav = "nav" in (item.get("properties") or "").split()
        place = _place(folder, item.get("href") or "")
        if place in parts and (is_nav or item.get("media-type") == "application/x-dtbncx+xml"):
            with suppress(LoadError):  # the chapters are what counts
                root = parts.xml(place)
                for href, name in _links(root) if is_nav else _points(root):
                    if href and name:
                        names.setdefault(_place(posixpath.dirname(place), href), name)
    return names


def _links(root: Any) -> Iterator[tuple[str, str]]:
    for link in root.iterfind(".//{*}nav//{*}a"):
        yield link.get("href") or "", text_of(link)


def _points(root: Any) -> Iterator[tuple[str, str]]:
    for point in root.iterfind(".//{*}navPoint"):
        target, label = point.find("{*}content"), point.find("{*}navLabel")
        if target is not None and label is not None:
            yield target.get("src") or "", text_of(label)


def _place(folder: str, href: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(href.partition("#")[0])))
