"""Files -> the index: load, chunk, embed, store. Unchanged content is skipped, each document is one transaction.

Formats are `loaders/`, read behind `sandbox.py`; what a folder or an archive holds is `files.py` and `archives.py`;
what is stored how is `db.documents`. Nothing here writes while a model computes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from db import documents
from db.documents import NewChunk, NewDocument
from db.session import Database
from retrieval import archives
from retrieval.chunker import chunk, search_text
from retrieval.files import is_below, printable, read, walk
from retrieval.loaders import LoadError, is_archive, is_plain
from retrieval.records import Chunk, Document, Embedder, Vectors
from retrieval.sandbox import Sandbox

# Part of every content hash. Raise it with any change to loaders or chunker that alters what is stored:
# every document is then rebuilt at its next ingest.
LAYOUT = b"2"

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
    """Index files, folders and zip archives. A folder is its own source; a file belongs to its folder's source.

    A member of an archive is a document of its own, "archive.zip/inner/page.md". `prune` removes documents of the
    given folders and archives that are no longer in them (never because of a single file named). A file that can't be
    read is rejected with a reason, the others proceed, and its last good version stays. `on_progress(path, done,
    total)` is called before each file and once at the end. Raises EmbedderError, DatabaseError.
    """
    report = IngestReport()
    with Sandbox() as sandbox:
        for path in paths:
            path = path.expanduser().resolve()
            if path.is_dir():
                report += ingest_folder(
                    database,
                    embedder,
                    path,
                    source=str(path),
                    prune=prune,
                    on_progress=on_progress,
                    sandbox=sandbox,
                )
            elif path.is_file():
                batch = _Batch(database, embedder, str(path.parent), sandbox)
                batch.take([(path.name, path)], on_progress)
                if prune and is_archive(path.name):
                    batch.prune(below=[path.name])
                report += batch.report()
            else:
                reason = "not a regular file" if path.exists() else "no such file or folder"
                report += IngestReport(rejected=((printable(str(path)), reason),))
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
    only: Collection[str] | None = None,
    sandbox: Sandbox | None = None,
) -> IngestReport:
    """Index every file below `folder` under the name `source`, in path order.

    Hidden files and symbolic links are skipped, and so are pictures, sounds and styles; what else is no document is
    rejected, and so is a new or changed Markdown or text file that `check` finds something wrong with. With `only`,
    files of other paths stay as they are. See `ingest_paths` for the rest. Raises NotADirectoryError.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    files, closed = walk(folder)
    with nullcontext(sandbox) if sandbox else Sandbox() as reading:
        batch = _Batch(database, embedder, source, reading, check)
        batch.take([(label, file) for label, file in files if only is None or label in only], on_progress)
    if prune:
        batch.keep(label for label, _ in files)
        batch.keep_below([label for label, _ in closed])
        batch.keep_below([label for label, _ in files if only is not None and label not in only])
        batch.prune(below=["."])
    return batch.report() + IngestReport(
        rejected=tuple((printable(label), reason) for label, reason in closed)
    )


class _Batch:
    """Files of one source on their way into the index, and what became of each."""

    def __init__(
        self,
        database: Database,
        embedder: Embedder,
        source: str,
        sandbox: Sandbox,
        check: Check | None = None,
    ) -> None:
        self._database = database
        self._embedder = embedder
        self._source = source
        self._sandbox = sandbox
        self._check = check
        with database.session(readonly=True) as session:
            self._known = documents.document_hashes(session, source)
        self._present: set[str] = set()
        self._kept_below: list[str] = []
        self._added: list[str] = []
        self._changed: list[str] = []
        self._unchanged: list[str] = []
        self._removed: list[str] = []
        self._rejected: list[tuple[str, str]] = []

    def take(self, files: Sequence[tuple[str, Path]], on_progress: Progress | None) -> None:
        """Bring (label, file) into the index, archives member by member."""
        for number, (label, file) in enumerate(files):
            show = partial(_show, on_progress, number, len(files))
            show(label)
            if is_archive(label):
                self._archive(label, file, show)
            else:
                self._file(label, partial(read, label, file))
        if on_progress and files:
            on_progress("", len(files), len(files))

    def keep(self, labels: Iterable[str]) -> None:
        """Say what is there, although it was not taken."""
        self._present.update(labels)

    def keep_below(self, folders: Iterable[str]) -> None:
        """Say of which folders and archives nothing is known."""
        self._kept_below.extend(folders)

    def prune(self, *, below: list[str]) -> None:
        """Remove the documents below these folders that were not there."""
        gone = {
            label
            for label in self._known.keys() - self._present
            if is_below(label, below) and not is_below(label, self._kept_below)
        }
        if not gone:
            return
        with self._database.session() as session:
            for document in documents.list_documents(session, self._source):
                if document.path in gone and documents.delete_document(session, document.id):
                    self._removed.append(document.path)

    def report(self) -> IngestReport:
        """What became of each file."""
        return IngestReport(
            tuple(self._added),
            tuple(self._changed),
            tuple(self._unchanged),
            tuple(self._removed),
            tuple(self._rejected),
        )

    def _archive(self, label: str, file: Path, show: Callable[[str], None]) -> None:
        with ExitStack() as stack:
            try:
                archive = stack.enter_context(archives.opened(label, file))
            except LoadError as error:
                self._rejected.append((printable(label), str(error)))
                self.keep_below([label])
                return
            self._rejected.extend(archive.rejected)
            for member in archive.members:
                show(member.label)
                self._file(member.label, member.read)

    def _file(self, label: str, read_it: Callable[[], bytes]) -> None:
        self._present.add(label)
        try:
            data = read_it()
            content_hash = hashlib.sha256(LAYOUT + data).hexdigest()
            if self._known.get(label) == (content_hash, self._embedder.name):
                self._unchanged.append(label)
                return
            document = self._sandbox.load(label, data)
            # A course page is Markdown; other formats have no front matter that could be wrong.
            if self._check and is_plain(label) and (wrong := self._check(label, data)):
                raise LoadError("; ".join(wrong))
        except LoadError as error:
            self._rejected.append((printable(label), str(error)))
            return
        prepared = _prepare(document, self._source, content_hash, self._embedder)
        with self._database.session() as session:
            documents.put_document(session, prepared)
        (self._changed if label in self._known else self._added).append(label)


def _show(on_progress: Progress | None, done: int, total: int, label: str) -> None:
    if on_progress:
        on_progress(printable(label), done, total)


def _prepare(document: Document, source: str, content_hash: str, embedder: Embedder) -> NewDocument:
    """Chunk and embed: all the slow work, before any transaction."""
    chunks = chunk(document, count_tokens=embedder.count_tokens)
    texts = [search_text(document.title, c.heading_path, c.sentences) for c in chunks]
    sentences = [sentence.text for c in chunks for sentence in c.sentences]
    vectors = embedder.encode_documents([*texts, *sentences])
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
