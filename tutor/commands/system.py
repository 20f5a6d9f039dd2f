"""`models`, `doctor`, `check`, `backup`, `restore`: what is installed, is it and the data sound, copies of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutor import failures
from tutor.commands.common import Run, command, note
from tutor.wire import InputError

if TYPE_CHECKING:
    from db.maintenance import CheckReport
    from tutor.page_schema import Problem
    from tutor.settings import Settings
    from tutor.wire import Json


def register(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    command(app, "models")(models)
    command(app, "doctor")(doctor)
    command(app, "check")(check)
    command(app, "backup")(backup)
    command(app, "restore")(restore)


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


def check(
    run: Run,
    pages: Annotated[
        list[Path] | None,
        typer.Argument(help="Course pages, or a folder of them, to check instead.", show_default=False),
    ] = None,
) -> int:
    """Check the stored data and the adapters (exit code 3 when something is damaged), or course pages (2 when one is
    wrong)."""
    if pages:
        return _check_pages(run, pages)
    from db.maintenance import check as check_database
    from tutor.adapters import adapter_problems
    from tutor.services import open_database

    with open_database(run.load()) as database:
        report = check_database(database)
        if report.counts.get("adapters"):
            problems = (*report.problems, *adapter_problems(database))
            report = replace(report, ok=not problems, problems=problems)
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


def backup(
    run: Run,
    folder: Annotated[
        Path | None,
        typer.Argument(help="Where to; `backups` in the home folder unless given.", show_default=False),
    ] = None,
) -> None:
    """Copy the database into one file, also while the app is running; the copy is checked.

    Everything a learner did and every indexed text is in it; files in `material` and models are not.
    """
    from db.backup import make_backup

    settings = _sqlite_settings(run, "pg_dump")
    made = make_backup(settings.sqlite_path, folder or settings.home / "backups", datetime.now(UTC))
    if run.json:
        run.emit({"path": str(made.path), "size": made.size, "schema": made.schema})
    else:
        run.say(f"{made.path} ({made.size / 1e6:.1f} MB, checked)")


def restore(
    run: Run,
    file: Annotated[Path, typer.Argument(help="A backup.", show_default=False)],
) -> None:
    """Put a backup in place of what is kept now, of which a copy is made first. The app may be running."""
    from db.backup import checked, make_backup, restore_backup
    from db.session import Database
    from tutor.services import ensure_home

    settings = _sqlite_settings(run, "pg_restore")
    checked(file)
    ensure_home(settings)
    before = None
    if settings.sqlite_path.exists():
        before = make_backup(
            settings.sqlite_path, settings.home / "backups", datetime.now(UTC), label=".before-restore"
        )
    restore_backup(settings.sqlite_path, file)
    Database.open(settings.sqlite_path).close()  # brings an older schema up to date
    if run.json:
        run.emit({"restored": str(file), "before": before and str(before.path)})
    else:
        run.say(f"restored {file}")
        if before:
            run.say(f"what was there before is in {before.path}")


def _sqlite_settings(run: Run, instead: str) -> Settings:
    settings = run.load()
    if settings.database_url:
        raise InputError(f"the database is a server's; use its own tools ({instead}) for this")
    return settings


def _check_pages(run: Run, paths: Sequence[Path]) -> int:
    found = [(file, problem) for path in paths for file, problem in page_problems(path)]
    if run.json:
        listed = [{"file": str(file), "line": p.line, "message": p.message} for file, p in found]
        run.emit({"ok": not found, "problems": listed})
    else:
        for file, problem in found:
            run.say(f"{file}:{problem.line}: {problem.message}")
        if not found:
            run.say("sound")
    return failures.BAD_INPUT if found else failures.DONE


def page_problems(path: Path) -> list[tuple[Path, Problem]]:
    """What is wrong with a course page, or with all pages of a folder, each with its file.

    A single page is checked against its neighbours (does its prerequisite exist?), unless it lies alone in its
    folder: then it is a draft. Raises InputError where there is nothing to check, OSError.
    """
    from tutor.page_schema import course_problems, problems

    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    folder = path if path.is_dir() else path.parent
    files = [file for file in sorted(folder.rglob("*.md")) if _visible(file.relative_to(folder))]
    if path.is_dir() and not files:
        raise InputError(f"{path} holds no course page (*.md)")
    if not path.is_dir() and len({path, *files}) == 1:
        return [(path, problem) for problem in problems(path.name, path.read_bytes())]
    pages = {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in {path, *files} if file.is_file()
    }
    wanted = pages if path.is_dir() else {path.name}
    return [(folder / p.label, p) for p in course_problems(pages) if p.label in wanted]


def _visible(file: Path) -> bool:
    return not any(part.startswith(".") for part in file.parts)


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
