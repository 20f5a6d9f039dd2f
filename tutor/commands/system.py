"""`models`, `doctor` and `check`: what is installed, whether it works, whether the data is sound."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from tutor import failures
from tutor.commands.common import Run, command, note

if TYPE_CHECKING:
    from db.maintenance import CheckReport
    from tutor.wire import Json


def register(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    command(app, "models")(models)
    command(app, "doctor")(doctor)
    command(app, "check")(check)


def models(run: Run) -> None:
    """Show which models are used, what is missing, and larger ones with the memory each needs."""
    from tutor.models import LARGER_MODELS, describe_models

    used = describe_models(run.load())
    if run.json:
        run.emit({"used": [asdict(m) for m in used], "larger": [asdict(m) for m in LARGER_MODELS]})
        return
    for model in used:
        run.say(f"{model.role:>9}  {model.name} ({model.source}): {model.detail}")
        run.say(f"{'':9}  {model.location}")
        if model.weights_sha256:
            run.say(f"{'':9}  {model.size_bytes / 1e6:.0f} MB, sha256 {model.weights_sha256}")
    run.say(
        "\nBetter answers, if the memory allows; set `generator` in settings.toml or STUDY_TUTOR_GENERATOR:"
    )
    columns = ("model", "memory", "download", "licence", "")
    run.table(
        columns,
        [
            [m.hub_id, f"{m.memory_gb:g} GB", f"{m.download_gb:g} GB", m.licence, m.note]
            for m in LARGER_MODELS
        ],
    )
    run.say("A folder in transformers' layout works as well, and so does an OpenAI-compatible `server_url`.")


def check(run: Run) -> int:
    """Check the stored data; exit code 3 when something is damaged."""
    from db.maintenance import check as check_database
    from tutor.services import open_database

    with open_database(run.load()) as database:
        report = check_database(database)
        where = database.url_for_display
    if run.json:
        run.emit(check_json(report) | {"database": where})
    else:
        run.say(where)
        for name, count in report.counts.items():
            run.say(f"{count:>8}  {name}")
        for problem in report.problems:
            run.say(f"problem: {problem}")
        run.say("sound" if report.ok else f"{len(report.problems)} problems")
    if not report.ok:
        note("study-tutor: the data is damaged; copy the home folder before anything else")
        return failures.DAMAGED
    return failures.DONE


def check_json(report: CheckReport) -> Json:
    """{ok, problems: [..], counts: {table: rows}}."""
    return {"ok": report.ok, "problems": list(report.problems), "counts": dict(report.counts)}


def doctor(run: Run) -> int:
    """Check that everything needed is there; each failed check says what to do."""
    from tutor.diagnosis import diagnose

    checks = diagnose(run.load())
    sound = all(check.ok for check in checks)
    if run.json:
        run.emit({"ok": sound, "checks": [check.as_json() for check in checks]})
    else:
        for item in checks:
            run.say(f"{'ok  ' if item.ok else 'FAIL'}  {item.name:<16}  {item.found}")
            if item.next_step:
                run.say(f"{'':24}-> {item.next_step}")
    return failures.DONE if sound else failures.FAILED
