"""`ingest` and `documents`: what goes into the index, and what is in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tutor import failures
from tutor.commands.common import Run, command, note


def register(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    command(app, "ingest")(ingest)
    command(app, "documents")(documents)


def ingest(
    run: Run,
    paths: Annotated[list[Path], typer.Argument(help="Files or folders.", show_default=False)],
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove documents whose file in these folders is gone.")
    ] = False,
) -> int:
    """Index files or folders; unchanged ones cost nothing."""
    from retrieval.ingest import ingest_paths

    from tutor.services import open_services

    settings = run.load()
    with open_services(settings, with_generator=False, index_course=False) as services, _progress() as show:
        done = ingest_paths(
            services.database, services.retriever.embedder, paths, prune=prune, on_progress=show
        )
    report = {
        "added": list(done.added),
        "changed": list(done.changed),
        "unchanged": list(done.unchanged),
        "removed": list(done.removed),
        "rejected": [{"path": str(path), "reason": reason} for path, reason in done.rejected],
    }
    if run.json:
        run.emit(report)
    else:
        for change in ("added", "changed", "removed"):
            for path in report[change]:
                run.say(f"{change:>9}  {path}")
        counts = ", ".join(f"{len(items)} {change}" for change, items in report.items())
        run.say(counts)
        for item in report["rejected"]:
            note(f" rejected  {item['path']}: {item['reason']}")
    useful = any(report[change] for change in ("added", "changed", "unchanged", "removed"))
    return failures.DONE if useful or not report["rejected"] else failures.BAD_INPUT


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


@contextmanager
def _progress() -> Iterator[Callable[..., None] | None]:
    """A progress bar on stderr, if someone is looking."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("indexing", total=None)

        def show(done: int, total: int, path: str) -> None:
            bar.update(task, completed=done, total=total, description=Path(path).name[:40])

        yield show
