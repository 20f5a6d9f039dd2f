"""The material that learners bring: files in, indexed at once; deleted, and back again.

A collection is a source of its own, so several courses stand side by side. Files come through `.incoming`, are read
and indexed there under their own path, and are kept only when something of them can be found. One file is read at a
time, and files move one at a time; a deletion does not wait for what is being read.
Names are `material_names.py`'s, files on the disk `material_store.py`'s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from db import documents
from db.documents import StoredDocument
from retrieval.ingest import IngestReport, ingest_folder
from retrieval.loaders import is_archive
from retrieval.sandbox import Sandbox
from tutor.material_copies import Copies, copy_of
from tutor.material_names import SOURCES, Refused, file_of
from tutor.material_store import Deletion, Incoming, MaterialStore, new_id
from tutor.progress import COURSE

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.session import Database
    from retrieval.records import Embedder

Kind = Literal["own", "folder", "watched", "course"]
Json = dict[str, Any]
MAX_REASONS = 20  # of an archive's members that were rejected


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file with the documents that came from it: one, or all members of an archive."""

    file: str
    documents: tuple[StoredDocument, ...]

    @property
    def title(self) -> str:
        """The document's title; an archive's own name."""
        return (
            self.documents[0].title if self.documents[0].path == self.file else PurePosixPath(self.file).name
        )


@dataclass(frozen=True, slots=True)
class Collection:
    """Files that are one source. Only what is `own` or from a `folder` may be deleted here."""

    source: str
    name: str
    kind: Kind
    files: tuple[StoredFile, ...]


class Material:
    """What is indexed, and the ways to change it. Safe to share between threads; `close` it at the end."""

    def __init__(
        self,
        database: Database,
        embedder: Embedder,
        root: Path,
        *,
        watched: Path | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`root` is where the files go, `watched` a folder that is kept in step by itself."""
        self._database = database
        self._embedder = embedder
        self._store = MaterialStore(root)
        self._watched = str(watched.expanduser().resolve()) if watched else None
        self._now = now
        self._reading = threading.Lock()  # taken before the other where both are
        self._moving = threading.Lock()
        self._sandbox = Sandbox()
        self._copies = Copies()

    def close(self) -> None:
        """End the process that reads foreign formats."""
        self._sandbox.close()

    def receive(self, collection: str, path: str) -> Incoming:
        """Begin to take in a file, to be handed to `take` or discarded. Raises Refused for an unusable name."""
        return self._store.receive(collection, path)

    def answer(self, request_id: str | None) -> Json | None:
        """What a request with this id was answered before, or None."""
        return self._store.answer(request_id)

    def take(self, incoming: Incoming, request_id: str | None = None) -> Json:
        """Index a file that has wholly arrived, and keep it if anything of it could be read.

        {state: added, changed, unchanged or rejected, name, collection, documents, passages, reason, rejected}. A file
        that can't be read is rejected, and the version that was here stays. Raises Refused, EmbedderError,
        DatabaseError, OSError. Whatever happens, nothing stays of `incoming`.
        """
        try:
            incoming.finish()
            with self._reading:
                if known := self._store.answer(request_id):
                    return known
                found = self._take(incoming)
                with self._moving:
                    self._store.remember(request_id, found)
                return found
        finally:
            incoming.discard()

    def delete(self, source: str, file: str | None, request_id: str | None = None) -> Json:
        """Delete a file with its documents, or with None a whole collection: unfindable when this returns.

        {deletion, name, documents}. Raises Refused, DatabaseError, OSError.
        """
        with self._moving:
            if known := self._store.answer(request_id):
                return known
            found = self._delete(source, file)
            self._store.remember(request_id, found)
            return found

    def undo(self, deletion_id: str, request_id: str | None = None) -> Json:
        """Bring back what a deletion took. {name, documents, source, file}.

        At once while this process remembers it, else by reading the files again. Raises what `delete` does, and
        EmbedderError.
        """
        with nullcontext() if deletion_id in self._copies else self._reading, self._moving:
            if known := self._store.answer(request_id):
                return known
            found = self._undo(deletion_id)
            self._store.remember(request_id, found)
            return found

    def collections(self) -> list[Collection]:
        """What is indexed: own collections by name, then folders, the course last."""
        with self._database.session(readonly=True) as session:
            listed = documents.list_documents(session)
        names = self._store.names()
        by_source: dict[str, list[StoredDocument]] = {}
        for document in listed:
            by_source.setdefault(document.source, []).append(document)
        found = [
            Collection(source, self._name(source, names), self._kind(source), _by_file(docs))
            for source, docs in by_source.items()
        ]
        order: dict[Kind, int] = {"own": 0, "watched": 1, "folder": 2, "course": 3}
        return sorted(found, key=lambda c: (order[c.kind], c.name.casefold(), c.source))

    def deletions(self) -> list[Deletion]:
        """What can be undone, newest first."""
        return [d for d in self._store.deletions() if d.id in self._copies or self._store.binned_files(d)]

    def tidy(self) -> None:
        """At the start: finish or remove uploads that a crash cut off, empty the trash of what is a week old."""
        with self._reading, self._moving:
            with self._database.session(readonly=True) as session:
                for source, path, file, place in self._store.left_over():
                    if not place.exists() and _of_file(session, source, path):
                        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                        file.replace(place)
            self._store.clear_incoming()
            self._store.empty_trash(self._now())

    def _take(self, incoming: Incoming) -> Json:
        with self._moving:
            self._store.prepare(incoming.source, incoming.collection, incoming.path)
        try:
            report = self._ingest(incoming.folder, incoming.source)
            with self._moving:
                return self._keep(incoming, report)
        finally:
            with self._moving:
                self._store.drop_empty(incoming.source)

    def _keep(self, incoming: Incoming, report: IngestReport) -> Json:
        """Keep a file of which something is in the index now; what there is to tell of it."""
        path = incoming.path
        here = {*report.added, *report.changed, *report.unchanged}
        with self._database.session() as session:
            listed = _of_file(session, incoming.source, path)
            stays = here | {member for member, _ in report.rejected}
            for document in listed if here else ():
                if document.path not in stays:  # of an archive's earlier version
                    documents.delete_document(session, document.id)
        stored = [document for document in listed if document.path in here]
        if stored:
            self._store.keep(incoming)
        found: Json = {
            "state": _state(report) if stored else "rejected",
            "name": path,
            "collection": incoming.collection,
            "documents": len(stored),
            "passages": sum(document.chunk_count for document in stored),
        }
        if not stored:
            return found | {"reason": _reason(report, path, known=bool(listed))}
        left_out = [{"name": member, "reason": why} for member, why in report.rejected]
        return found | {"rejected": left_out[:MAX_REASONS], "rejected_count": len(left_out)}

    def _ingest(self, folder: Path, source: str) -> IngestReport:
        return ingest_folder(
            self._database, self._embedder, folder, source=source, prune=False, sandbox=self._sandbox
        )

    def _delete(self, source: str, file: str | None) -> Json:
        kind = self._kind(source)
        if kind not in ("own", "folder"):
            raise Refused(f"this {'course' if kind == 'course' else 'folder'} can't be changed here", 403)
        name = self._name(source, self._store.names())
        with self._database.session(readonly=True) as session:
            going = (
                documents.list_documents(session, source) if file is None else _of_file(session, source, file)
            )
            if not going:
                raise Refused("it is not here any more", 404)
            copies = [copy_of(session, document.id) for document in going]
        title = name if file is None else StoredFile(file, tuple(going)).title
        at = self._now().isoformat()
        deletion = Deletion(new_id(), source, name, file, title, len(going), at)
        self._store.bin(deletion, move=kind == "own")
        try:
            with self._database.session() as session:
                for document in going:
                    documents.delete_document(session, document.id)
        except BaseException:
            self._store.unbin(deletion)
            self._store.forget(deletion.id)
            raise
        self._copies.remember(deletion.id, copies)
        return {"deletion": deletion.id, "name": title, "documents": len(going)}

    def _undo(self, deletion_id: str) -> Json:
        deletion = next((d for d in self._store.deletions() if d.id == deletion_id), None)
        copies = self._copies.get(deletion_id)
        files = self._store.binned_files(deletion) if deletion else []
        if deletion is None or not (copies or files):
            raise Refused("it is not in the trash any more", 404)
        with self._database.session(readonly=True) as session:
            there = {file_of(path) for path in documents.document_hashes(session, deletion.source)}
        back = {file_of(copy.path) for copy in copies} if copies else set(files)
        if taken := sorted(there & back):
            raise Refused(f"{PurePosixPath(taken[0]).name} was added again since; delete that first", 409)
        if deletion.source.startswith(SOURCES):
            for file in files:
                self._store.prepare(deletion.source, deletion.collection, file)
        if copies:
            with self._database.session() as session:
                for copy in copies:
                    documents.put_document(session, copy)
        elif not self._ingest(self._store.bin_folder(deletion), deletion.source).added:
            raise Refused("it can't be read any more; add the file again", 409)
        self._store.unbin(deletion)
        self._store.forget(deletion_id)
        self._copies.forget(deletion_id)
        return {
            "name": deletion.title,
            "documents": deletion.documents,
            "source": deletion.source,
            "file": deletion.file,
        }

    def _kind(self, source: str) -> Kind:
        if source == COURSE:
            return "course"
        if source.startswith(SOURCES):
            return "own"
        return "watched" if source == self._watched else "folder"

    def _name(self, source: str, names: dict[str, str]) -> str:
        if source == COURSE:
            return "Course"
        return names.get(source) or source.removeprefix(SOURCES)


def _state(report: IngestReport) -> str:
    states = ("added", report.added), ("changed", report.changed), ("unchanged", report.unchanged)
    return next((name for name, paths in states if paths), "rejected")


def _reason(report: IngestReport, path: str, *, known: bool) -> str:
    """Why nothing of a file was taken, one line."""
    if report.added or report.changed or report.unchanged:
        return "it was deleted while it was read; add it again"
    if not report.rejected:
        return "the archive holds no document" if is_archive(path) else "pictures and sounds hold no text"
    member, why = report.rejected[0]
    inside = "" if member == path else f"{member.removeprefix(f'{path}/')}: "
    more = f" (and {len(report.rejected) - 1} more)" if len(report.rejected) > 1 else ""
    return f"{inside}{why}{more}{'; the version from before stays' if known else ''}"


def _of_file(session: Session, source: str, file: str) -> list[StoredDocument]:
    return [d for d in documents.list_documents(session, source) if file_of(d.path) == file]


def _by_file(listed: Sequence[StoredDocument]) -> tuple[StoredFile, ...]:
    found: dict[str, list[StoredDocument]] = {}
    for document in listed:
        found.setdefault(file_of(document.path), []).append(document)
    return tuple(StoredFile(file, tuple(docs)) for file, docs in found.items())


__all__ = ["Collection", "Deletion", "Material", "Refused", "StoredFile"]
