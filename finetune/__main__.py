"""The offline command line: `python -m finetune run --dry-run | list`.

It shares the database and the way of reporting with `study-tutor`, and nothing else: the app never imports it.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from tutor import failures
from tutor.commands.common import Run, command, note, run_app
from tutor.wire import InputError

app = typer.Typer(
    help="Offline: turn ratings and corrections into a data set, later into an adapter.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def run(
    run: Run,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build and report the data set only.")] = False,
    since: Annotated[datetime | None, typer.Option(help="Only feedback from this day on (UTC).")] = None,
    seed: Annotated[int, typer.Option(help="Decides which conversations are held out.")] = 0,
) -> int:
    """Build the data set that the feedback so far makes."""
    from db.session import Database
    from finetune.collect import collect
    from finetune.config import FinetuneConfig
    from finetune.dataset import build_dataset

    if not dry_run:
        raise InputError("this version builds and reports the data set and does not train; add --dry-run")
    settings = run.load()
    config = FinetuneConfig(seed=seed)
    database = Database.open(settings.database_url or settings.sqlite_path)
    with database.session(readonly=True) as session:
        items = collect(session, since.replace(tzinfo=UTC) if since else None)
    data = build_dataset(items, config)
    enough = len(data.train) >= config.min_examples
    if run.json:
        run.emit(
            {
                "feedback": len(items),
                "train": len(data.train),
                "held_out": len(data.held_out),
                "rejected": [{"feedback_id": number, "reason": reason} for number, reason in data.rejected],
                "sha256": data.sha256,
                "enough": enough,
            }
        )
        return failures.DONE
    run.say(f"{len(items)} ratings: {len(data.train)} to train on, {len(data.held_out)} held out")
    for number, reason in data.rejected:
        run.say(f"  left out  feedback {number}: {reason}")
    run.say(f"data set sha256 {data.sha256}")
    if not enough:
        note(
            f"A job would need at least {config.min_examples} examples to train on; rate or correct more answers."
        )
    return failures.DONE


def show_list(run: Run) -> None:
    """List fine-tune jobs and adapters."""
    from db import registry
    from db.session import Database

    settings = run.load()
    database = Database.open(settings.database_url or settings.sqlite_path)
    with database.session(readonly=True) as session:
        jobs, adapters, served = (
            registry.list_jobs(session),
            registry.list_adapters(session),
            registry.served_adapter(session),
        )
    if run.json:
        run.emit(
            {
                "served": served.name if served else None,
                "jobs": [{"id": job.id, "state": job.state} for job in jobs],
                "adapters": [{"name": adapter.name, "state": adapter.state} for adapter in adapters],
            }
        )
        return
    run.say(f"served: {served.name if served else 'the base model, no adapter'}")
    run.table(("job", "state"), [(job.id, job.state) for job in jobs])
    run.table(("adapter", "state"), [(adapter.name, adapter.state) for adapter in adapters])


command(app, "run")(run)
command(app, "list")(show_list)


def main() -> int:
    """Run one command line and return its exit code; no error escapes."""
    return run_app(app, "python -m finetune")


if __name__ == "__main__":
    sys.exit(main())
