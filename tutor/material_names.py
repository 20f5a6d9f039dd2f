"""What files and collections are called once they are here: cleaned names, and the folder of a collection. Pure.

A name that arrives is a stranger's text. What comes out is relative, printable, short enough for any disk, and looks
like what the learner saw. It is still no HTML: the pages escape it.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata

from retrieval.loaders import is_archive
from tutor.wire import InputError

DEFAULT_COLLECTION = "My material"
MAX_COLLECTION = 80  # characters
MAX_PART = 200  # bytes of one part of a path; disks allow 255, and a part may still grow by a mark
MAX_PATH = 900  # bytes of a whole path
SOURCES = "material/"
"""What the source of every collection begins with."""

_DRIVE = re.compile(r"^[A-Za-z]:")
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]')
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")


class Refused(InputError):  # noqa: N818
    """It is not taken, and nothing changed. `str()` is one line of reason; `status` is what HTTP calls it."""

    def __init__(self, reason: str, status: int = 422) -> None:
        super().__init__(reason)
        self.status = status


def clean_path(sent: str) -> str:
    """A relative path with forward slashes from whatever a browser calls a file. Raises Refused.

    Control and direction marks go, and so does everything that leads elsewhere ("..", "/", "C:"). A part that is too
    long is cut and gets a hash, so that two long names stay two files.
    """
    parts = [_line(part) for part in _DRIVE.sub("", sent.strip()).replace("\\", "/").split("/")]
    parts = [part for part in parts if part.strip(". ")]
    if not parts:
        raise Refused("it has no name; give it one")
    if any(part.startswith(".") for part in parts):
        raise Refused("hidden files are left out; rename it")
    *folders, name = (_part(part) for part in parts)
    # "notes.zip/page.md" is how a member of an archive is called.
    path = "/".join([*(f"{folder}_" if is_archive(folder) else folder for folder in folders), name])
    if len(path.encode()) > MAX_PATH:
        raise Refused("it lies too deep in folders; take it out of some")
    return path


def clean_collection(sent: str) -> str:
    """The shown name of a collection, one line; the default for an empty one. Raises Refused."""
    name = " ".join(_line(sent).split())
    if len(name) > MAX_COLLECTION:
        raise Refused(f"the name of a collection has at most {MAX_COLLECTION} characters")
    return name or DEFAULT_COLLECTION


def collection_id(name: str) -> str:
    """The folder of a collection: readable, safe, and the same for names that differ in case only."""
    key = unicodedata.normalize("NFKC", name).casefold()
    ascii_only = unicodedata.normalize("NFKD", key).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:30].strip("-")
    return f"{slug or 'collection'}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"


def file_of(path: str) -> str:
    """The stored file that a document of this path comes from: itself, or the archive that holds it."""
    parts = path.split("/")
    for number, part in enumerate(parts[:-1], start=1):
        if is_archive(part):
            return "/".join(parts[:number])
    return path


def _line(text: str) -> str:
    """Printable characters only, composed as most systems write them; every kind of space is a space."""
    text = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode("utf-8"))
    spaced = (" " if unicodedata.category(c) == "Zs" else c for c in text)
    return "".join(c for c in spaced if c.isprintable()).strip()


def _part(part: str) -> str:
    part = part.rstrip(". ")
    if os.name == "nt":
        part = _NOT_ON_WINDOWS.sub("_", part)
        part = f"_{part}" if _DEVICES.match(part) else part
    if len(part.encode()) <= MAX_PART:
        return part
    stem, dot, ending = part.rpartition(".")
    ending = dot + ending if stem and len(ending.encode()) <= 10 else ""
    mark = "~" + hashlib.sha256(part.encode()).hexdigest()[:8] + ending
    return part.encode()[: MAX_PART - len(mark.encode())].decode("utf-8", "ignore") + mark
