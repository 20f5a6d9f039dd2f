"""Files -> the index: load, chunk, embed, store. Unchanged content is skipped, each document is one transaction.

Formats are `loaders/`; what is stored how is `db.documents`. Nothing here writes while a model computes.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from db import documents
from db.documents import NewChunk, NewDocument
from db.session import Database
from retrieval.chunker import chunk, search_text
from retrieval.loaders import LoadError, load_document
from retrieval.records import Chunk, Document, Embedder, Vectors

MAX_BYTES = 50 * 1024 * 1024

# Part of every content hash. Raise it with any change to loaders or chunker that alters what is stored:
# every document is then rebuilt at its next ingest.
LAYOUT = b"2"

_NOT_TEXT = ("image/", "audio/", "video/", "font/", "text/css", "text/javascript", "application/javascript")

Progress = Callable[[str, int, int], None]
Check = Callable[[str, bytes], Sequence[str]]
"""(path, file) -> what is wrong with it, one line each; nothing for a good file."""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of each file: its path, relative to what was ingested, in one of the five."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()

    def __add__(self, other: IngestReport) -> IngestReport:
        return IngestReport(
            self.added + other.added,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.removed + other.removed,
            self.rejected + other.rejected,
        )


def ingest_paths(
    database: Database,
    embedder: Embedder,
    paths: list[Path],
    *,
    prune: bool = False,
    on_progress: Progress | None = None,
) -> IngestReport:
    """Index files and folders. A folder is its own source; a file belongs to its folder's source.

    `prune` removes documents of the given folders whose files are gone (never because of a single file named).
    A file that can't be read is rejected with a reason, the others proceed, and its last good version stays.
    `on_progress(path, done, total)` is called before each file and once at the end. Raises EmbedderError,
    DatabaseError.
    """
    report = IngestReport()
    for path in paths:
        path = path.expanduser().resolve()
        if path.is_dir():
            report += ingest_folder(
                database, embedder, path, source=str(path), prune=prune, on_progress=on_progress
            )
        elif path.is_file():
            report += _ingest_files(database, embedder, str(path.parent), [(path.name, path)], on_progress)
        else:
            reason = "not a regular file" if path.exists() else "no such file or folder"
            report += IngestReport(rejected=((_printable(str(path)), reason),))
    return report


def ingest_folder(
    database: Database,
    embedder: Embedder,
    folder: Path,
    *,
    source: str,
    prune: bool = True,
    check: Check | None = None,
    on_progress: Progress | None = None,
) -> IngestReport:
    """Index every file below `folder` under the name `source`, in path order.

    Hidden files and symbolic links are skipped, and so are pictures, sounds and styles; what else is no document
    is rejected, and so is a new or changed file that `check` finds something wrong with. See `ingest_paths` for the
    rest. Raises NotADirectoryError.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    closed: list[tuple[str, str]] = []
    files = sorted((file.relative_to(folder).as_posix(), file) for file in _walk(folder, folder, closed))
    report = _ingest_files(database, embedder, source, files, on_progress, check)
    report += IngestReport(rejected=tuple((_printable(label), reason) for label, reason in closed))
    if prune:
        with database.session(readonly=True) as session:
            known = documents.document_hashes(session, source)
        keep = {label for label, _ in files} | {p for p in known if _is_below(p, [c for c, _ in closed])}
        if known.keys() - keep:
            with database.session() as session:
                removed = documents.delete_source(session, source, keep)
            report += IngestReport(removed=tuple(sorted(removed)))
    return report


def _ingest_files(
    database: Database,
    embedder: Embedder,
    source: str,
    files: list[tuple[str, Path]],
    on_progress: Progress | None,
    check: Check | None = None,
) -> IngestReport:
    with database.session(readonly=True) as session:
        known = documents.document_hashes(session, source)
    added: list[str] = []
    changed: list[str] = []
    unchanged: list[str] = []
    rejected: list[tuple[str, str]] = []
    for number, (label, file) in enumerate(files):
        if on_progress:
            on_progress(_printable(label), number, len(files))
        try:
            data = _read(label, file)
            content_hash = hashlib.sha256(LAYOUT + data).hexdigest()
            if known.get(label) == (content_hash, embedder.name):
                unchanged.append(label)
                continue
            document = load_document(label, data)
            if wrong := check(label, data) if check else ():
                raise LoadError("; ".join(wrong))
        except LoadError as error:
            rejected.append((_printable(label), str(error)))
            continue
        prepared = _prepare(document, source, content_hash, embedder)
        with database.session() as session:
            documents.put_document(session, prepared)
        (changed if label in known else added).append(label)
    if on_progress and files:
        on_progress("", len(files), len(files))
    return IngestReport(tuple(added), tuple(changed), tuple(unchanged), (), tuple(rejected))


def _prepare(document: Document, source: str, content_hash: str, embedder: Embedder) -> NewDocument:
    """Chunk and embed: all the slow work, before any transaction."""
    chunks = chunk(document, count_tokens=embedder.count_tokens)
    texts = [search_text(document.title, c.heading_path, c.sentences) for c in chunks]
    sentences = [sentence.text for c in chunks for sentence in c.sentences]
    vectors = embedder.encode([*texts, *sentences])
    stored: list[NewChunk] = []
    at = len(chunks)
    for number, (c, text) in enumerate(zip(chunks, texts, strict=True)):
        behind = at + len(c.sentences)
        stored.append(_new_chunk(c, text, vectors[number], vectors[at:behind]))
        at = behind
    return NewDocument(
        source=source,
        path=document.path,
        title=document.title,
        media_type=document.media_type,
        content_hash=content_hash,
        text=document.text,
        meta=dict(document.meta),
        chunks=tuple(stored),
        embedder=embedder.name,
        dimension=embedder.dimension,
    )


def _new_chunk(c: Chunk, text: str, vector: Vectors, sentence_vectors: Vectors) -> NewChunk:
    return NewChunk(
        ordinal=c.ordinal,
        heading_path=c.heading_path,
        start=c.start,
        end=c.end,
        text=c.text,
        search_text=text,
        sentences=tuple((s.start, s.end, s.text, s.kind) for s in c.sentences),
        vector=vector.astype("<f4").tobytes(),
        sentence_vectors=sentence_vectors.astype("<f4").tobytes(),
    )


def _walk(top: Path, folder: Path, closed: list[tuple[str, str]]) -> Iterator[Path]:
    """The files below `folder`; folders that the system won't open go to `closed`, with the reason."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        closed.append((folder.relative_to(top).as_posix(), f"can't be read: {error.strerror or error}"))
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _walk(top, entry, closed)
        elif entry.is_file() and not (mimetypes.guess_type(entry.name)[0] or "").startswith(_NOT_TEXT):
            yield entry


def _is_below(label: str, folders: list[str]) -> bool:
    return any(folder == "." or label.startswith(f"{folder}/") for folder in folders)


def _read(label: str, file: Path) -> bytes:
    """The file's bytes. Raises LoadError when the system refuses, it is too big, or its name can't be stored."""
    if _printable(label) != label:
        raise LoadError("its name holds characters that can't be stored; rename it")
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise LoadError(
                f"too large ({size / 1024 / 1024:.0f} MB; the limit is {MAX_BYTES // 1024**2} MB)"
            )
        return file.read_bytes()
    except OSError as error:
        raise LoadError(f"can't be read: {error.strerror or error}") from None


def _printable(label: str) -> str:
    """The path as one line of valid text: undecodable bytes and control characters are replaced."""
    text = label.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
