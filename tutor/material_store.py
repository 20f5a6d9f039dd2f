"""The files behind the material: incoming, kept by collection, in the trash; and what was answered to which request.

Below `home/material`:

    <collection id>/collection.json    {"name": what the collection is called}
    <collection id>/files/...          the originals; nothing serves them
    .incoming/                         what is arriving, or being read
    .trash/<id>/entry.json, files/...  what was deleted, for a week
    .answers.json                      request id -> the first result

What of it is in the index is `material.py`'s to know.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from retrieval.files import MAX_BYTES
from tutor.material_names import SOURCES, Refused, clean_collection, clean_path, collection_id
from tutor.whole_files import read_json, write_json

KEPT_FOR = timedelta(days=7)
MAX_ANSWERS = 500
_TOKEN = re.compile(r"[0-9a-f]{16}\Z")


class Incoming:
    """One file on its way in. `write` its bytes, hand it on with `Material.take`, or `discard` it."""

    def __init__(self, folder: Path, collection: str, path: str) -> None:
        self.collection = collection
        self.source = SOURCES + collection_id(collection)
        self.path = path
        self.size = 0
        self.folder = folder
        self._stream: BinaryIO | None = None

    @property
    def file(self) -> Path:
        """Where it lies while it arrives and is read."""
        return self.folder / self.path

    def write(self, data: bytes) -> None:
        """Append. Raises Refused as soon as it is more than a document may have, OSError where the disk is full."""
        self.size += len(data)
        if self.size > MAX_BYTES:
            raise too_large()
        if self._stream is None:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._stream = self.file.open("wb")
        self._stream.write(data)

    def finish(self) -> None:
        """All of it has come, and is on the disk."""
        self.write(b"")
        assert self._stream
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def discard(self) -> None:
        """Leave nothing of it here."""
        if self._stream is not None:
            with suppress(OSError):  # what was buffered may not fit on a full disk
                self._stream.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Deletion:
    """A file, or with `file` None a whole collection, that was deleted at `at` (ISO, UTC)."""

    id: str
    source: str
    collection: str
    file: str | None
    title: str
    documents: int
    at: str


class MaterialStore:
    """Files of collections. Not for two writers at once: `Material` sees to that."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._answers: dict[str, Any] | None = None

    def receive(self, collection: str, path: str) -> Incoming:
        """Begin to take in a file. Raises Refused for a name that can't be used."""
        name, cleaned = clean_collection(collection), clean_path(path)
        folder = self.root / ".incoming" / f"{collection_id(name)}.{secrets.token_hex(8)}"
        return Incoming(folder, name, cleaned)

    def prepare(self, source: str, collection: str, path: str) -> None:
        """Make the collection's folder. Raises Refused where a folder stands in the place of the file, or a file in
        that of its folder."""
        files = self.files(source)
        if (files / path).is_dir():
            raise Refused("a folder of this name is in the collection; rename the file")
        if any(parent.is_file() for parent in list((files / path).parents)[: path.count("/")]):
            raise Refused("a file with the name of its folder is in the collection; rename the folder")
        manifest = files.parent / "collection.json"
        if not manifest.exists():
            write_json(manifest, {"name": collection})

    def drop_empty(self, source: str) -> None:
        """Remove the folder of a collection that holds no file."""
        files = self.files(source)
        if not any(file.is_file() for file in files.rglob("*")):
            shutil.rmtree(files.parent, ignore_errors=True)

    def keep(self, incoming: Incoming) -> None:
        """Move a file that was read to its place."""
        target = self.files(incoming.source) / incoming.path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        incoming.file.replace(target)

    def files(self, source: str) -> Path:
        """The folder of a collection's files."""
        return self.root / source.removeprefix(SOURCES) / "files"

    def names(self) -> dict[str, str]:
        """Source -> shown name of every collection."""
        found = {}
        for manifest in self.root.glob("*/collection.json"):
            with suppress(KeyError):
                found[SOURCES + manifest.parent.name] = str(read_json(manifest)["name"])
        return found

    def bin(self, deletion: Deletion, *, move: bool) -> None:
        """Put what was deleted into the trash; with `move` its files too."""
        place = self.bin_folder(deletion).parent
        write_json(place / "entry.json", asdict(deletion))
        files = self.files(deletion.source)
        origin = files / deletion.file if deletion.file else files
        if move and origin.exists():
            target = place / "files" / (deletion.file or "")
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            origin.replace(target)
            _remove_empty(origin.parent, files)

    def unbin(self, deletion: Deletion) -> None:
        """Put the files of a deletion back, beside what has come since. Its entry stays until `forget`."""
        origin, target = self.bin_folder(deletion), self.files(deletion.source)
        for file in [file for file in origin.rglob("*") if file.is_file()]:
            place = target / file.relative_to(origin)
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file.replace(place)

    def bin_folder(self, deletion: Deletion) -> Path:
        """Where the files of a deletion lie."""
        return self.root / ".trash" / deletion.id / "files"

    def binned_files(self, deletion: Deletion) -> list[str]:
        """The paths of the files that a deletion holds."""
        origin = self.bin_folder(deletion)
        return sorted(file.relative_to(origin).as_posix() for file in origin.rglob("*") if file.is_file())

    def deletions(self) -> list[Deletion]:
        """What is in the trash, newest first."""
        found = []
        for entry in self.root.glob(".trash/*/entry.json"):
            with suppress(TypeError):  # not all that a deletion has
                found.append(Deletion(**read_json(entry)))
        return sorted(found, key=lambda deletion: deletion.at, reverse=True)

    def forget(self, deletion_id: str) -> None:
        """Remove a deletion with its files for good."""
        if _TOKEN.match(deletion_id):
            shutil.rmtree(self.root / ".trash" / deletion_id, ignore_errors=True)

    def empty_trash(self, now: datetime) -> None:
        """Remove for good what was deleted more than a week before `now`."""
        for deletion in self.deletions():
            with suppress(ValueError):
                if now - datetime.fromisoformat(deletion.at) > KEPT_FOR:
                    self.forget(deletion.id)

    def left_over(self) -> Iterator[tuple[str, str, Path, Path]]:
        """Uploads that were cut off: source, path, file, and where it would be kept."""
        for folder in self.root.glob(".incoming/*"):
            collection = folder.name.rpartition(".")[0]
            for file in [file for file in folder.rglob("*") if file.is_file()]:
                path = file.relative_to(folder).as_posix()
                yield SOURCES + collection, path, file, self.root / collection / "files" / path

    def clear_incoming(self) -> None:
        """Remove what is left of uploads that were cut off."""
        shutil.rmtree(self.root / ".incoming", ignore_errors=True)

    def answer(self, request_id: str | None) -> dict[str, Any] | None:
        """What this request was answered, if it was."""
        if self._answers is None:
            self._answers = read_json(self.root / ".answers.json")
        found = self._answers.get(request_id) if request_id else None
        return dict(found) if isinstance(found, dict) else None

    def remember(self, request_id: str | None, answer: dict[str, Any]) -> None:
        """Write down what a request was answered."""
        if not request_id:
            return
        self.answer(None)
        assert self._answers is not None
        self._answers[request_id] = answer
        for oldest in list(self._answers)[:-MAX_ANSWERS]:
            del self._answers[oldest]
        write_json(self.root / ".answers.json", self._answers)


def too_large() -> Refused:
    """What a file of too many bytes is told."""
    return Refused(f"too large; the limit is {MAX_BYTES // 1024**2} MB; split it", 413)


def new_id() -> str:
    """The name of a deletion."""
    return secrets.token_hex(8)


def _remove_empty(folder: Path, top: Path) -> None:
    """Remove folders that became empty, up to but without `top`."""
    while folder != top and top in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
