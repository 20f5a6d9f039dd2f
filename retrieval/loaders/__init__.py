"""One file per format: bytes -> Document. This picks the format and decodes; it reads no files."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import PurePosixPath

from retrieval.records import Document

MARKDOWN_SUFFIXES = (".md", ".markdown")
TEXT_SUFFIXES = (".txt", ".text")
SUPPORTED_SUFFIXES = MARKDOWN_SUFFIXES + TEXT_SUFFIXES

# utf-32 first: its little-endian mark begins with that of utf-16.
_BOMS = (
    (codecs.BOM_UTF32_LE, None),
    (codecs.BOM_UTF32_BE, None),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAX_CONTROL_SHARE = 0.01


class LoadError(Exception):
    """A file can't be read as a document. `str()` is the reason in one line, without the file's name."""


def load_document(path_label: str, data: bytes) -> Document:
    """Read one file's bytes. `path_label` names it in the index, relative, with forward slashes.

    Raises LoadError: unknown format, not text, broken front matter, nothing to read.
    """
    document = _loader(path_label)(path_label, data)
    if not any(section.sentences for section in document.sections):
        raise LoadError("no text: the file holds headings or metadata only")
    return document


def _loader(path_label: str) -> Callable[[str, bytes], Document]:
    suffix = PurePosixPath(path_label).suffix.lower()
    if suffix in MARKDOWN_SUFFIXES:
        from retrieval.loaders import markdown

        return markdown.load
    if suffix in TEXT_SUFFIXES:
        from retrieval.loaders import text

        return text.load
    shown = f"{suffix} files are" if suffix else "files without an ending are"
    raise LoadError(f"{shown} not supported; use {', '.join(SUPPORTED_SUFFIXES)}")


def decode(data: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 with a byte order mark, which is dropped; newlines made "\\n".

    Raises LoadError for anything else, and for an empty file.
    """
    encoding: str | None = "utf-8"
    for mark, name in _BOMS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], name
            break
    if encoding is None:
        raise LoadError("the text is UTF-32; save it as UTF-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise LoadError(
            f"not {encoding.upper()} text (byte {error.start + 1} of {len(data)} does not fit); save it as UTF-8"
        ) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise LoadError("the file is empty")
    controls = sum(c < " " and c not in "\t\n\f\v" for c in text)
    if "\0" in text or controls > _MAX_CONTROL_SHARE * len(text):
        raise LoadError("looks like a binary file, not text")
    return text
