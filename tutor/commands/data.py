"""A learner's data as files: `export`, `import`, and `forget`, which deletes it.

What belongs to a learner is `db.portable`'s, what the files look like `tutor.exporting`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tutor.commands.common import Run, command, note, open_lines, write_file
from tutor.wire import InputError


class Format(StrEnum):
    """What an export is written as."""

    json = "json"
    csv = "csv"
    anki = "anki"


def register(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    command(app, "export")(export)
    command(app, "import")(import_file)
    command(app, "forget")(forget)


def export(
    run: Run,
    path: Annotated[Path, typer.Argument(help='File to write, or a folder; "-" is stdout.')],
    format: Annotated[
        Format | None,
        typer.Option(help="Else by the name's ending: .zip csv, .apkg anki, json.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write everything that is yours: JSON (can be imported), CSV (a zip of tables), or the cards for Anki."""
    from tutor.exporting import make_export
    from tutor.services import learner_session

    by_ending = {".zip": Format.csv, ".csv": Format.csv, ".apkg": Format.anki}
    kind = format or by_ending.get(path.suffix.lower(), Format.json)
    with learner_session(run.load(), readonly=True) as (session, learner_id):
        made = make_export(session, learner_id, kind.value, datetime.now(UTC))
    target = path / made.filename if path.is_dir() else path
    write_file(target, made.data, force=force)
    if str(path) == "-":
        return
    if run.json:
        run.emit({"path": str(target), "format": kind.value, "bytes": len(made.data), "rows": made.rows})
        return
    run.say(f"{', '.join(_counted(made.rows))} exported to {target}")
    if kind is Format.csv and target.suffix.lower() != ".zip":
        note(f"({target} is a zip of one CSV file for each table)")


def import_file(run: Run, path: Annotated[Path, typer.Argument(help='A JSON export; "-" is stdin.')]) -> None:
    """Read a JSON export back; reading it twice changes nothing."""
    from db.portable import import_learner
    from tutor.services import learner_session

    settings = run.load()
    with open_lines(path) as stream:
        data = parse_export(stream.read(), str(path))
    with learner_session(settings) as (session, learner_id):
        added = import_learner(session, learner_id, data)
    if run.json:
        run.emit({"added": added})
    else:
        run.say(f"{', '.join(_counted(added)) or 'nothing new'} imported")


def forget(
    run: Run,
    yes: Annotated[bool, typer.Option("--yes", help="Yes, delete it all; it can't be undone.")] = False,
) -> None:
    """Delete everything of yours: reading, answers, cards, conversations and ratings."""
    from db.portable import delete_learner_data
    from tutor.lab_bench import bench_file
    from tutor.services import learner_session

    settings = run.load()
    if not yes:
        raise InputError(
            f"this deletes everything of the learner {settings.learner!r} for good; keep a copy with "
            "`study-tutor export FILE`, then repeat with --yes"
        )
    with learner_session(settings) as (session, learner_id):
        deleted = delete_learner_data(session, learner_id)
    bench_file(settings.home, learner_id).unlink(missing_ok=True)
    if run.json:
        run.emit({"deleted": deleted})
    else:
        run.say(f"{', '.join(_counted(deleted)) or 'nothing'} deleted")


def parse_export(raw: bytes, name: str) -> Any:
    """The JSON of an export file. Raises InputError."""
    try:
        return json.loads(raw.decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise InputError(f"{name} is not UTF-8 text; give a file written by `export --format json`") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name} is not valid JSON (line {error.lineno}: {error.msg}); give a file written by "
            "`export --format json`"
        ) from None
    except (ValueError, RecursionError):
        raise InputError(
            f"{name} holds JSON that no export holds (too large a number, or too deep)"
        ) from None


def _counted(rows: Mapping[str, int]) -> list[str]:
    return [f"{count} {table}" for table, count in rows.items() if count]


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
