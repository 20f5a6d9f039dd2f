"""The zip file that a .docx or .epub is: its parts, within limits, and its XML without entities."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from typing import Any

from retrieval.archives import MAX_ENTRIES, MAX_RATIO, MAX_UNPACKED, METHODS, is_bomb, one_line
from retrieval.loaders import LoadError

MAX_PART = 100 * 1024 * 1024

_TEXTS = (".xml", ".rels", ".html", ".xhtml", ".htm", ".opf", ".ncx")
_ENTITY = re.compile(rb"<\0?!\0?E\0?N\0?T\0?I\0?T\0?Y", re.I)


class Parts:
    """The parts of one file, by name."""

    def __init__(self, data: bytes) -> None:
        """Raises LoadError: damaged, encrypted, a bomb."""
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise LoadError(f"damaged: {one_line(error)}; get a new copy") from None
        infos = self._zip.infolist()
        if len(infos) > MAX_ENTRIES:
            raise LoadError(f"more than {MAX_ENTRIES:,} parts inside: it looks like a bomb")
        if any(info.flag_bits & 1 for info in infos):
            raise LoadError("protected by a password; save a copy without one")
        if sum(info.file_size for info in infos) > MAX_UNPACKED:
            raise LoadError(f"unpacks to more than {MAX_UNPACKED // 1024**2} MB: it looks like a bomb")
        if any(info.compress_type not in METHODS for info in infos):
            raise LoadError("packed in an unusual way; save it again")
        texts = [info for info in infos if info.filename.lower().endswith(_TEXTS)]
        if any(is_bomb(info.file_size, info.compress_size) for info in texts):
            raise LoadError(f"a part unpacks to more than {MAX_RATIO} times its size: it looks like a bomb")
        self._names = {info.filename: info for info in infos}
        self._lower = {info.filename.lower(): info for info in infos}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def names(self) -> list[str]:
        """The names of all parts."""
        return list(self._names)

    def read(self, name: str) -> bytes:
        """The bytes of a part. Raises LoadError: missing, damaged, too large."""
        info = self._names.get(name) or self._lower.get(name.lower())
        if info is None:
            raise LoadError(f"damaged: its part {name[:80]} is missing; get a new copy")
        if info.file_size > MAX_PART:
            raise LoadError(f"one part unpacks to more than {MAX_PART // 1024**2} MB; split the file")
        try:
            return self._zip.read(info)
        except (
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            EOFError,
            ValueError,
            RuntimeError,
        ) as error:
            raise LoadError(f"damaged: {one_line(error)}; get a new copy") from None

    def xml(self, name: str) -> Any:
        """The root element of an XML part. Raises LoadError, also where it declares entities."""
        data = self.read(name)
        refuse_entities(data)
        return parse_xml(data, name)


def refuse_entities(data: bytes) -> None:
    """Raises LoadError where XML declares entities of its own: documents need none, attacks do."""
    if _ENTITY.search(data):
        raise LoadError("it declares XML entities, which documents don't need and attacks do; save it again")


def parse_xml(data: bytes, name: str) -> Any:
    """The root element, nothing expanded or fetched. Raises LoadError for broken XML."""
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        if error.code == etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError from None
        raise LoadError(f"damaged: {name[:80]} is broken XML ({error.msg}); get a new copy") from None
