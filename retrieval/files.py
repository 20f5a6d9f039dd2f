"""Which files of a folder are material, and their bytes. What is inside a zip is `archives.py`."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path

from retrieval.loaders import LoadError

MAX_BYTES = 50 * 1024 * 1024

_NOT_TEXT = ("image/", "audio/", "video/", "font/", "text/css", "text/javascript", "application/javascript")


def walk(folder: Path) -> tuple[list[tuple[str, Path]], list[tuple[str, str]]]:
    """(label, file) of all material below `folder` in path order, and (label, reason) of folders that stay closed.

    A label is the path relative to `folder`, with forward slashes. Hidden files and symbolic links are left out, and
    so are pictures, sounds and styles.
    """
    closed: list[tuple[str, str]] = []
    files = sorted((file.relative_to(folder).as_posix(), file) for file in _below(folder, folder, closed))
    return files, closed


def is_material(name: str) -> bool:
    """Could a file of this name hold text to learn from? (Whether it can be read is for the loaders to say.)"""
    hidden = name.startswith(".")
    return not hidden and not (mimetypes.guess_type(name)[0] or "").startswith(_NOT_TEXT)


def read(label: str, file: Path) -> bytes:
    """The file's bytes. Raises LoadError when the system refuses, it is too big, or its name can't be stored."""
    refuse_name(label)
    try:
        refuse_size(file.stat().st_size)
        return file.read_bytes()
    except OSError as error:
        raise LoadError(f"can't be read: {error.strerror or error}") from None


def refuse_name(label: str) -> None:
    """Raises LoadError for a name that is no line of text."""
    if printable(label) != label:
        raise LoadError("its name holds characters that can't be stored; rename it")


def refuse_size(size: int) -> None:
    """Raises LoadError for a file of more bytes than one document may have."""
    if size > MAX_BYTES:
        raise LoadError(
            f"too large ({size / 1024 / 1024:.0f} MB; the limit is {MAX_BYTES // 1024**2} MB); split it"
        )


def printable(label: str) -> str:
    """The path as one line of valid text: undecodable bytes and control characters are replaced."""
    text = label.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def is_below(label: str, folders: list[str]) -> bool:
    """Is it inside one of these folders? "." is the folder that labels are relative to."""
    return any(folder == "." or label.startswith(f"{folder}/") for folder in folders)


def _below(top: Path, folder: Path, closed: list[tuple[str, str]]) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        closed.append((folder.relative_to(top).as_posix(), f"can't be read: {error.strerror or error}"))
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _below(top, entry, closed)
        elif entry.is_file() and is_material(entry.name):
            yield entry
