"""What a file really is, by its first bytes: a name that promises another format is a reason to refuse it."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable

from retrieval.loaders import LoadError

MAX_LISTED = 200_000  # entries of a zip, those of zips inside it too; listing more takes a lot of memory

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file"),
    (b"{\\rtf", "an RTF file"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "a sound, video or picture file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"BZh9", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
    (b"%!PS", "a PostScript file"),
)
_HTML = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)
# What only this kind of zip has inside.
_ZIPPED = {
    "word/document.xml": "a Word document",
    "META-INF/container.xml": "an EPUB book",
    "xl/workbook.xml": "an Excel workbook",
    "ppt/presentation.xml": "a PowerPoint presentation",
    "META-INF/manifest.xml": "an OpenDocument file",
}
_SUFFIX = {
    "a PDF file": ".pdf",
    "a zip archive": ".zip",
    "an HTML page": ".html",
    "a Word document": ".docx",
    "an EPUB book": ".epub",
}
_NEEDS = {
    ".pdf": "a PDF file",
    ".docx": "a Word document",
    ".epub": "an EPUB book",
    ".zip": "a zip archive",
}


def check(suffix: str, data: bytes) -> None:
    """Raises LoadError, saying what the file really is, where that is not what `suffix` (".pdf") promises."""
    refuse(suffix, identify(data), empty=not data.strip(b"\0 \t\r\n"))


def refuse(suffix: str, what: str, *, empty: bool = False) -> None:
    """`check` for what `identify` or `zip_kind` has found."""
    needed = _NEEDS.get(suffix)
    if empty:
        raise LoadError("the file is empty")
    if what == needed or (needed is None and what in ("", "an HTML page")):
        return
    if suffix == ".docx" and what == "an old Office file":
        raise LoadError("encrypted, or an old .doc: open it in Word and save it as .docx without a password")
    if needed and what == "a zip archive":
        raise LoadError(f"damaged, or not {needed} at all: parts that {needed} must have are missing")
    if not what:
        raise LoadError(
            f"not {needed}, whatever its name says, or damaged from its first byte on; get a new copy"
        )
    better = _SUFFIX.get(what)
    advice = f"rename it to {better}" if better else f"it can't be read as {suffix}"
    raise LoadError(f"its name says {suffix}, but it is {what}; {advice}")


def identify(data: bytes) -> str:
    """What the bytes are: "a PDF file", "an HTML page" ...; "" for text and for what is not known."""
    what = next((name for magic, name in _MAGIC if data.startswith(magic)), "")
    if what == "a zip archive" and data.count(b"PK\x01\x02") <= MAX_LISTED:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return zip_kind(archive.namelist())
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
            return what
    if (
        not what and b"%PDF-" in data[:1024] and b"\0" in data[:65_536]
    ):  # some writers put a few bytes before it
        return "a PDF file"
    return what or ("an HTML page" if _HTML.match(data[:4096].removeprefix(b"\xef\xbb\xbf")) else "")


def zip_kind(names: Iterable[str]) -> str:
    """What a zip file with members of these names is."""
    present = set(names)
    return next((what for name, what in _ZIPPED.items() if name in present), "a zip archive")
