"""`ingest` and `documents`: what goes into the index, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tutor import failures
from tutor.commands.common import Run, command, note, opened_services, progress
from tutor.wire import InputError

if TYPE_CHECKING:
    from db.session import Database
    from retrieval.ingest import IngestReport
    from retrieval.records import Embedder


def register(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    command(app, "ingest")(ingest)
    command(app, "documents")(documents)


def ingest(
    run: Run,
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or zip archives.", show_default=False)],
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove documents that are no longer in these folders and archives."),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep the index as one folder is, until Ctrl-C.")
    ] = False,
) -> int:
    """Index Markdown, text, HTML, PDF, Word, EPUB, notebooks, CSV and zips of them; unchanged ones cost nothing."""
    from retrieval.ingest import ingest_paths

    if watch and (len(paths) != 1 or not paths[0].is_dir()):
        raise InputError("--watch takes exactly one folder")
    run.load()
    with opened_services(run, with_generator=False, index_course=False) as services:
        database, embedder = services.database, services.retriever.embedder
        if watch:
            _watch(run, database, embedder, paths[0])
        with progress() as show:
            done = ingest_paths(database, embedder, paths, prune=prune, on_progress=show)
    _report(run, done)
    accepted = done.added or done.changed or done.unchanged or done.removed
    return failures.DONE if accepted or not done.rejected else failures.BAD_INPUT


def _watch(run: Run, database: Database, embedder: Embedder, folder: Path) -> NoReturn:
    """Report what changes, one JSON line or a few lines of text each time, until interrupted."""
    import threading

    from retrieval.watch import Watcher

    note(f"Watching {folder}. Stop with Ctrl-C.")
    watcher = Watcher(database, embedder, folder)
    watcher.run(threading.Event(), lambda done: _report(run, done))
    raise AssertionError("nobody stops a watch but Ctrl-C")


def _report(run: Run, done: IngestReport) -> None:
    changes: dict[str, list[str]] = {
        "added": list(done.added),
        "changed": list(done.changed),
        "unchanged": list(done.unchanged),
        "removed": list(done.removed),
    }
    if run.json:
        run.emit(changes | {"rejected": [{"path": path, "reason": why} for path, why in done.rejected]})
        return
    for change, names in changes.items():
        if change != "unchanged":
            for path in names:
                run.say(f"{change:>9}  {path}")
    for path, why in done.rejected:
        note(f" rejected  {path}: {why}")
    counts = [f"{len(names)} {change}" for change, names in changes.items()]
    run.say(", ".join([*counts, f"{len(done.rejected)} rejected"]))


def documents(run: Run) -> None:
    """List what is indexed."""
    from db.documents import list_documents
    from tutor.services import open_database

    with open_database(run.load()) as database, database.session(readonly=True) as session:
        rows = [
            {
                "document": document.path,
                "source": document.source,
                "title": document.title,
                "chunks": document.chunk_count,
                "characters": len(document.text),
                "updated": document.updated_at.isoformat(),
            }
            for document in list_documents(session, with_text=True)
        ]
    if run.json:
        run.emit(rows)
    elif rows:
        headings = ("document", "title", "chunks", "characters", "updated", "source")
        run.table(headings, [[row[heading] for heading in headings] for row in rows])
    else:
        note("Nothing is indexed yet. Add material with: study-tutor ingest PATH")
