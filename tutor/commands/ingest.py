"""`ingest` and `documents`: what goes into the index, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tutor import failures
from tutor.commands.common import Run, command, note, opened_services, progress


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

    run.load()
    with opened_services(run, with_generator=False, index_course=False) as services, progress() as show:
        done = ingest_paths(
            services.database, services.retriever.embedder, paths, prune=prune, on_progress=show
        )
    changes: dict[str, list[str]] = {
        "added": list(done.added),
        "changed": list(done.changed),
        "unchanged": list(done.unchanged),
        "removed": list(done.removed),
    }
    if run.json:
        run.emit(changes | {"rejected": [{"path": path, "reason": why} for path, why in done.rejected]})
    else:
        for change, names in changes.items():
            if change != "unchanged":
                for path in names:
                    run.say(f"{change:>9}  {path}")
        for path, why in done.rejected:
            note(f" rejected  {path}: {why}")
        counts = [f"{len(names)} {change}" for change, names in changes.items()]
        run.say(", ".join([*counts, f"{len(done.rejected)} rejected"]))
    return failures.DONE if any(changes.values()) or not done.rejected else failures.BAD_INPUT


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
