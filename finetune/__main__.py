"""The offline command line: `python -m finetune run | list | report | promote | rollback | export`.

It shares the database and the way of reporting with `study-tutor`, and nothing else: the app never imports it, and
starts `run` as a process of its own.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finetune import commands
from tutor import failures
from tutor.commands.common import HomeOption, JsonOption, Run, VerboseOption, command, note, run_app
from tutor.wire import InputError

if TYPE_CHECKING:
    from db.registry import Adapter
    from db.session import Database
    from finetune.dataset import Dataset
    from finetune.job import Request
    from tutor.settings import Settings

app = typer.Typer(
    help="Offline: turn ratings and corrections into an adapter, measure it, serve it or roll it back.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    context: typer.Context, home: HomeOption = None, as_json: JsonOption = False, verbose: VerboseOption = 0
) -> None:
    """Offline: turn ratings and corrections into an adapter, measure it, serve it or roll it back."""
    run = context.find_object(Run)
    assert run is not None
    run.merge(home, as_json, verbose)


def run(
    run: Run,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build and report the data set only.")] = False,
    since: Annotated[datetime | None, typer.Option(help="Only feedback from this day on (UTC).")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides the split and the order; 0 if not given.")] = None,
    method: Annotated[str | None, typer.Option(help="sft, dpo or kto.", show_default=False)] = None,
    max_minutes: Annotated[float | None, typer.Option(help="End training after this long.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the adapter; else v1, v2, ...")] = None,
    no_exemplars: Annotated[bool, typer.Option("--no-exemplars", help="Learn from feedback alone.")] = False,
    job: Annotated[int | None, typer.Option(help="Run this queued job.", show_default=False)] = None,
    resume: Annotated[int | None, typer.Option(help="Go on with this job.", show_default=False)] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Serve it at once if the gate says so.")] = False,
) -> int:
    """Make an adapter of the feedback so far: data set, training, comparison, verdict. Serves nothing by itself."""
    from finetune.job import Request, run_job

    if job is not None and resume is not None:
        raise InputError("give --job or --resume, not both")
    settings = run.load()
    asked = {
        "name": name,
        "exemplars": False if no_exemplars else None,
        "since": since.replace(tzinfo=UTC).isoformat() if since else None,
    }
    said = {key: value for key, value in asked.items() if value is not None}
    number = resume if resume is not None else job
    with closing(_open(settings)) as database:
        before = {} if number is None else _row(database, number)
        wanted = Request.from_json(before | said, seed=seed, method=method, max_minutes=max_minutes)
        if dry_run:
            return _dry_run(run, settings, database, wanted)
        _step_back(wanted.config.threads)
        adapter = run_job(settings, database, wanted, number, again=resume is not None)
        served = _promoted(settings, database, adapter) if promote else False
    verdict = adapter.report.get("verdict") or {}
    if run.json:
        run.emit(
            {
                "job": adapter.job_id,
                "adapter": adapter.name,
                "state": adapter.state,
                "promote": verdict.get("promote"),
                "broken": [rule["name"] for rule in verdict.get("rules", ()) if not rule["passed"]],
                "served": served,
            }
        )
        return failures.DONE
    for rule in verdict.get("rules", ()):
        run.say(f"  {'kept  ' if rule['passed'] else 'BROKEN'}  {rule['text']}")
    outcome = "served from now on" if served else "may be served" if verdict.get("promote") else "refused"
    run.say(f"adapter {adapter.name}: {outcome}; see: python -m finetune report {adapter.name}")
    return failures.DONE


command(app, "run")(run)
commands.register(app)


def _dry_run(run: Run, settings: Settings, database: Database, wanted: Request) -> int:
    """The data set as it would be now; nothing is written but what was searched."""
    from db.feedback import list_feedback
    from finetune import dataset
    from finetune.collect import prepare
    from tutor.services import build_services

    with closing(build_services(settings, with_generator=False, index_course=False)) as services:
        data = prepare(
            services, wanted.config, settings.home, with_exemplars=wanted.exemplars, since=wanted.since
        )
    with database.session(readonly=True) as session:
        feedback = sum(row.fate != "withdrawn" for row in list_feedback(session, since=wanted.since))
    refusal = dataset.refusal(data, wanted.config)
    if run.json:
        run.emit(
            {
                **data.counts(),
                "feedback": feedback,
                "rejected": [{"feedback_id": number, "reason": reason} for number, reason in data.rejected],
                "sha256": data.sha256,
                "enough": refusal is None,
                "refusal": refusal,
                "examples": _preview(data),
            }
        )
        return failures.DONE
    counts = data.counts()
    run.say(
        f"{feedback} ratings: {len(data.train)} examples to train on ({counts['train_from_feedback']} of them from "
        f"ratings), {len(data.held_out)} held out"
    )
    for number, reason in data.rejected:
        run.say(f"  left out  feedback {number}: {reason}")
    run.say(f"data set sha256 {data.sha256}")
    if refusal:
        note(f"No job would train on this: {refusal}")
    return failures.DONE


def _preview(data: Dataset) -> list[dict[str, Any]]:
    """What learners' feedback became, all of it, for whoever wants to look before training."""
    return [
        {
            "feedback_id": example.feedback_id,
            "side": side,
            "prompt": [dict(message) for message in example.prompt],
            "completion": example.completion,
        }
        for side, part in (("train", data.train), ("held_out", data.held_out))
        for example in part
        if example.feedback_id is not None
    ]


def _row(database: Database, number: int) -> dict[str, Any]:
    """What the job of this number was asked for when it was made."""
    from db import jobs
    from db.errors import NotFound

    with database.session(readonly=True) as session:
        found = jobs.get_job(session, number)
    if found is None:
        raise NotFound(f"There is no job {number}; see: python -m finetune list")
    return found.config


def _promoted(settings: Settings, database: Database, adapter: Adapter) -> bool:
    """Serve it if nothing speaks against it."""
    from db import registry

    with database.session() as session:
        if commands.objections_to(settings, session, adapter):
            return False
        registry.promote(session, adapter.name, "the gate let it pass")
    return True


def _open(settings: Settings) -> Database:
    from db.session import Database
    from tutor.services import ensure_home

    ensure_home(settings)
    return Database.open(settings.database_url or settings.sqlite_path)


def _step_back(threads: int | None) -> None:
    """Let everybody else go first, and end in order when asked to end."""
    from finetune.pacing import give_way

    def ended(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    give_way(threads)
    with suppress(ValueError):  # only a main thread hears signals
        signal.signal(signal.SIGTERM, ended)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; no error escapes."""
    return run_app(app, "python -m finetune", arguments)


if __name__ == "__main__":
    sys.exit(main())
