"""A zip archive as a folder of documents: safe names, limits, each member read or refused on its own.

Nothing is unpacked to disk. A member's path is "archive.zip/inner/page.md", so a name can lead nowhere.
"""

from __future__ import annotations

import mmap
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from retrieval.files import MAX_BYTES, is_material, printable, refuse_name, refuse_size
from retrieval.loaders import LoadError, signatures

MAX_ENTRIES = 10_000
MAX_UNPACKED = 500 * 1024 * 1024
MAX_RATIO = 100
SMALL = 1024 * 1024  # what is no larger than this unpacked does no harm at any ratio
MAX_NAME = 255  # bytes of one part of a path, as on disks

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may ask for gigabytes before they unpack a byte

_TOO_MANY = f"more than {MAX_ENTRIES:,} members; split it"
_ENTRY = b"PK\x01\x02"
_UTF8_NAME = 0x800
_ENCRYPTED = 0x1
_ROOT = re.compile(r"^(?:[A-Za-z]:)?/*")


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive that may be a document. `label` is its path in the index."""

    label: str
    _archive: zipfile.ZipFile
    _info: zipfile.ZipInfo

    @property
    def size(self) -> int:
        """Bytes unpacked; 0 where `read` refuses because of its size."""
        info = self._info
        refused = info.file_size > MAX_BYTES or is_bomb(info.file_size, info.compress_size)
        return 0 if refused else info.file_size

    def read(self) -> bytes:
        """Its bytes. Raises LoadError: encrypted, a bomb, too large, damaged."""
        info = self._info
        if info.flag_bits & _ENCRYPTED:
            raise LoadError("protected by a password; unpack the archive and add the files")
        if info.compress_type not in METHODS:
            raise LoadError("packed in an unusual way; make the zip again with ordinary compression")
        refuse_size(info.file_size)
        if is_bomb(info.file_size, info.compress_size):
            raise LoadError(f"unpacks to more than {MAX_RATIO} times its size: it looks like a bomb")
        try:
            return self._archive.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
            raise LoadError(f"damaged in the archive: {one_line(error)}; make the zip again") from None


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive holds: members to read, and (label, reason) of those that have no usable name."""

    members: tuple[Member, ...]
    rejected: tuple[tuple[str, str], ...]


@contextmanager
def opened(label: str, file: Path) -> Iterator[Archive]:
    """The archive while it is open. Folders, links, hidden files and pictures in it are left out.

    Raises LoadError where all of it is refused: no zip, damaged, too many members, too large unpacked.
    """
    with _open(label, file) as archive:
        infos = archive.infolist()
        if len(infos) > MAX_ENTRIES:
            raise LoadError(_TOO_MANY)
        signatures.refuse(".zip", signatures.zip_kind(info.filename for info in infos))
        if sum(info.compress_size for info in infos) > file.stat().st_size:
            raise LoadError("its members overlap: it looks like a bomb")
        members = _listed(label, archive, infos)
        if sum(member.size for member in members.members) > MAX_UNPACKED:
            raise LoadError(f"unpacks to more than {MAX_UNPACKED // 1024**2} MB; split it")
        yield members


def is_bomb(unpacked: int, packed: int) -> bool:
    """Are these bytes packed so tightly that it was done to harm?"""
    return unpacked > SMALL and unpacked > MAX_RATIO * max(packed, 1)


def one_line(error: Exception) -> str:
    """What a zip library says, short."""
    return " ".join(printable(str(error)).split())[:150] or type(error).__name__


def _open(label: str, file: Path) -> zipfile.ZipFile:
    refuse_name(label)
    try:
        _refuse_bulk(file)
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        raise LoadError(f"damaged: {one_line(error)}; make the zip again") from None
    except OSError as error:
        raise LoadError(f"can't be read: {error.strerror or error}") from None


def _refuse_bulk(file: Path) -> None:
    """Look at the file before zipfile lists it, which takes memory for every entry that it claims to have."""
    size = file.stat().st_size
    if size > MAX_UNPACKED:
        raise LoadError(
            f"too large ({size // 1024**2} MB; the limit is {MAX_UNPACKED // 1024**2} MB); split it"
        )
    if not size:
        raise LoadError("the file is empty")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        signatures.check(".zip", view[:4096])
        at = entries = 0
        while (at := view.find(_ENTRY, at) + 1) > 0:
            entries += 1
            if entries > signatures.MAX_LISTED:
                raise LoadError(_TOO_MANY)


def _listed(label: str, archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> Archive:
    members: dict[str, Member] = {}
    rejected: list[tuple[str, str]] = []
    for info in infos:
        name = _name(info)
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        parts = [part for part in _ROOT.sub("", name).split("/") if part not in ("", ".")]
        if name.endswith("/") or is_link or not parts or not _is_wanted(parts):
            continue
        path = f"{label}/{'/'.join(parts)}"
        try:
            _refuse_parts(parts, info)
            if path in members:
                raise LoadError("its name is in the archive twice; the first is used")
            members[path] = Member(path, archive, info)
        except LoadError as error:
            rejected.append((printable(path)[:300], str(error)))
    return Archive(tuple(members[path] for path in sorted(members)), tuple(rejected))


def _name(info: zipfile.ZipInfo) -> str:
    """The member's name with forward slashes. Many programs write UTF-8 without saying so."""
    name = info.orig_filename.replace("\\", "/")
    if not info.flag_bits & _UTF8_NAME:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name


def _is_wanted(parts: list[str]) -> bool:
    hidden = any(part.startswith(".") and part != ".." for part in parts) or parts[0] == "__MACOSX"
    return not hidden and is_material(PurePosixPath(parts[-1]).name)


def _refuse_parts(parts: list[str], info: zipfile.ZipInfo) -> None:
    refuse_name("/".join(parts))
    if ".." in parts:
        raise LoadError("its name leads out of the archive")
    if (
        any(len(part.encode("utf-8", "replace")) > MAX_NAME for part in parts)
        or len(info.orig_filename) > 2000
    ):
        raise LoadError(f"its name is longer than {MAX_NAME} bytes; rename it")
