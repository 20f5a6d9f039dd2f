"""One file per format: bytes -> Document. This picks the format; it reads no files and starts no process.

What is not Markdown or plain text is converted to Markdown (`writer.py`), and that text is the document: every
citation points into it. Zip archives are opened by `retrieval.archives`, hostile files tamed by `retrieval.sandbox`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import PurePosixPath

from retrieval.records import Document

MARKDOWN_SUFFIXES = (".md", ".markdown")
TEXT_SUFFIXES = (".txt", ".text")
ARCHIVE_SUFFIXES = (".zip",)

_MODULES = {
    **dict.fromkeys(MARKDOWN_SUFFIXES, "markdown"),
    **dict.fromkeys(TEXT_SUFFIXES, "text"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    ".pdf": "pdf",
    ".docx": "docx",
    ".epub": "epub",
    ".ipynb": "notebook",
    **dict.fromkeys((".csv", ".tsv"), "csv_table"),
}
SUPPORTED_SUFFIXES = (*_MODULES, *ARCHIVE_SUFFIXES)

_SAVE_AS = {
    **dict.fromkeys((".doc", ".docm", ".odt", ".rtf", ".pages"), ".docx"),
    **dict.fromkeys((".xls", ".xlsx", ".ods", ".numbers"), ".csv"),
    **dict.fromkeys((".ppt", ".pptx", ".odp", ".key", ".ps", ".djvu"), ".pdf"),
    **dict.fromkeys((".mobi", ".azw3", ".fb2"), ".epub"),
    **dict.fromkeys((".rst", ".tex", ".adoc", ".org"), ".html or .md"),
    **dict.fromkeys((".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz"), ".zip"),
}


class LoadError(Exception):
    """A file can't be read as a document. `str()` is the reason in one line, without the file's name."""


def load_document(path_label: str, data: bytes) -> Document:
    """Read one file's bytes. `path_label` names it in the index, relative, with forward slashes.

    Raises LoadError: unknown format, another format than its name says, damaged, encrypted, broken front matter,
    nothing to read. What is not Markdown or text may also take long, or more memory than there is: see `sandbox`.
    """
    load = _loader(path_label)
    from retrieval.loaders import signatures

    signatures.check(PurePosixPath(path_label).suffix.lower(), data)
    document = load(path_label, data)
    if not any(section.sentences for section in document.sections):
        raise LoadError("no text: the file holds headings or metadata only")
    return document


def read_again(path_label: str, text: str, media_type: str) -> Document:
    """The document of a stored text: what was converted from another format is Markdown now. Raises LoadError."""
    from retrieval.loaders import markdown
    from retrieval.loaders import text as plain_text

    load = plain_text.load if media_type == plain_text.MEDIA_TYPE else markdown.load
    return load(path_label, text.encode("utf-8", "replace"))


def is_plain(path_label: str) -> bool:
    """Is this Markdown or plain text by its name, which is read without a parser of foreign formats?"""
    return path_label.lower().endswith((*MARKDOWN_SUFFIXES, *TEXT_SUFFIXES))


def is_archive(path_label: str) -> bool:
    """Is this by its name an archive, whose members are documents?"""
    return path_label.lower().endswith(ARCHIVE_SUFFIXES)


def decode(data: bytes) -> str:
    """The text of a file in whatever encoding it is, newlines made "\\n". Raises LoadError as `decode_text` does."""
    from retrieval.loaders.encodings import decode_text

    return decode_text(data).text


def _loader(path_label: str) -> Callable[[str, bytes], Document]:
    suffix = PurePosixPath(path_label).suffix.lower()
    module = _MODULES.get(suffix)
    if module is None:
        if suffix in ARCHIVE_SUFFIXES:
            raise LoadError("archives inside archives are not opened; unpack it first")
        shown = f"{suffix} files are" if suffix else "files without an ending are"
        better = _SAVE_AS.get(suffix)
        advice = f"save it as {better}" if better else f"use {', '.join(SUPPORTED_SUFFIXES)}"
        raise LoadError(f"{shown} not supported; {advice}")
    load: Callable[[str, bytes], Document] = importlib.import_module(f"retrieval.loaders.{module}").load
    return load
