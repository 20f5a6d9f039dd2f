"""`report`, `promote`, `rollback`, `export`: what a person does with adapters. None of them trains or loads a model."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutor.commands.common import Run, command, note, write_file
from tutor.failures import RefusedError
from tutor.wire import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from db.registry import Adapter

NameArgument = Annotated[str, typer.Argument(help="The adapter's name; see: list.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    command(app, "list")(show_list)
    command(app, "report")(report)
    command(app, "promote")(promote)
    command(app, "rollback")(rollback)
    command(app, "export")(export)


def show_list(run: Run) -> None:
    """List fine-tune jobs and adapters, and what is served."""
    from db import jobs, registry

    with _database(run) as session:
        found = jobs.list_jobs(session), registry.list_adapters(session), registry.served_adapter(session)
        switches = registry.promotions(session)
    all_jobs, adapters, served = found
    if run.json:
        run.emit(
            {
                "served": served.name if served else None,
                "jobs": [_job_json(job) for job in all_jobs],
                "adapters": [_adapter_json(adapter) for adapter in adapters],
                "promotions": [
                    {"adapter": p.adapter, "reason": p.reason, "at": p.created_at.isoformat()}
                    for p in switches
                ],
            }
        )
        return
    run.say(f"served: {served.name if served else 'the base model, no adapter'}")
    run.table(
        ("job", "state", "stage", "done", "error"),
        [(j.id, j.state, j.stage, f"{100 * j.progress:.0f} %", j.error or "") for j in all_jobs],
    )
    run.table(
        ("adapter", "state", "base", "made", "verdict"),
        [(a.name, a.state, a.base_model, f"{a.created_at:%Y-%m-%d %H:%M}", _verdict(a)) for a in adapters],
    )


def report(
    run: Run,
    name: Annotated[str | None, typer.Argument(help="An adapter; the newest if not given.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure it beside what is served now.")] = False,
) -> None:
    """Show an adapter's report: verdict, measurements, losses, answers side by side, model card."""
    from db import registry
    from finetune.report import page

    with _database(run) as session:
        if name is None:
            adapters = registry.list_adapters(session)
            if not adapters:
                raise InputError("there is no adapter yet; make one with: python -m finetune run")
            adapter = adapters[0]
        else:
            adapter = _adapter(session, name)
    found = _measured_again(run, adapter) if again else adapter.report
    if run.json:
        run.emit(found)
    elif found.get("verdict"):
        run.say(page(found))
    else:
        note(f"{adapter.name} was never evaluated to the end.")


def promote(
    run: Run,
    name: NameArgument,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Although a rule forbids it; needs --reason.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why; kept with the promotion.", show_default=False)
    ] = None,
) -> None:
    """Serve an adapter from now on, if the gate let it pass; a running app switches by itself."""
    from db import registry

    settings = run.load()
    if anyway and not (reason or "").strip():
        raise InputError("--anyway needs --reason: it is kept, so that everybody can see why")
    with _database(run) as session:
        adapter = _adapter(session, name)
        check_files(settings, adapter)
        against = objections_to(settings, session, adapter)
        if against and not anyway:
            raise RefusedError(
                f"{name} is not promoted, and what is served stays. {' '.join(against)} (To serve it all the same: "
                "--anyway --reason TEXT.)"
            )
        why = (reason or "").strip() or "the gate let it pass"
        if against:
            why = f"against the gate: {why}"
        switch = registry.promote(session, name, why, force=bool(against))
    if run.json:
        run.emit({"served": switch.adapter, "reason": switch.reason, "objections": against})
    else:
        run.say(f"served from now on: {switch.adapter}")


def rollback(
    run: Run,
    reason: Annotated[str, typer.Option(help="Why; kept with the promotion.")] = "rolled back",
) -> None:
    """Serve again what was served before the newest promotion; repeated, what was served before that."""
    from db import registry

    with _database(run) as session:
        if len(registry.standing(registry.promotions(session))) == 1:
            raise RefusedError(
                "nothing is promoted, so there is nothing to roll back; the base model is served"
            )
        switch = registry.rollback(session, reason)
    if run.json:
        run.emit({"served": switch.adapter, "reason": switch.reason})
    else:
        run.say(f"served from now on: {switch.adapter or 'the base model, no adapter'}")


def export(
    run: Run,
    name: NameArgument,
    path: Annotated[Path, typer.Argument(help="A new folder, or a file ending in .zip.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Copy an adapter in peft's layout, with its card and report, for other tools and other people."""
    settings = run.load()
    with _database(run) as session:
        adapter = _adapter(session, name)
    check_files(settings, adapter)
    files = sorted(file for file in Path(adapter.path).iterdir() if file.is_file())
    if path.suffix == ".zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, f"{name}/{file.name}")
        write_file(path, packed.getvalue(), force=force)
    else:
        _write_folder(path, files, force=force)
    if run.json:
        run.emit({"adapter": name, "path": str(path), "files": [file.name for file in files]})
    else:
        run.say(f"{name}: {len(files)} files in {path}")


def _measured_again(run: Run, adapter: Adapter) -> dict[str, Any]:
    from finetune.again import measure_again
    from tutor.services import open_database

    settings = run.settings or run.load()
    check_files(settings, adapter)
    with open_database(settings) as database:
        return measure_again(settings, database, adapter)


def check_files(settings: Any, adapter: Adapter) -> None:
    """Raise AdapterError for a folder that is not as it was registered, or was made for another base."""
    from finetune.adapters import check_adapter
    from tutor.models import base_names

    check_adapter(Path(adapter.path), adapter.manifest, base_names(settings), "")


def objections_to(settings: Any, session: Session, adapter: Adapter) -> list[str]:
    """Why the adapter may not be served now: what its report says, and what became of it since."""
    from db import registry
    from finetune.gate import objections
    from tutor.models import model_folder, weights_sha256

    served = registry.served_adapter(session)
    base = weights_sha256(model_folder(settings), settings.models_dir)
    found = objections(adapter.report, {"adapter": served.name if served else None}, base)
    if adapter.withdrawn:
        found.append("It was trained on feedback that was taken back since: train again.")
    return found


@contextmanager
def _database(run: Run) -> Iterator[Session]:
    from tutor.services import open_database

    with open_database(run.settings or run.load()) as database, database.session() as session:
        yield session


def _adapter(session: Session, name: str) -> Adapter:
    from db import registry

    adapter = registry.get_adapter(session, name)
    if adapter is None:
        raise InputError(f"there is no adapter {name!r}; see: python -m finetune list")
    return adapter


def _write_folder(path: Path, files: list[Path], *, force: bool) -> None:
    """All files or none. Only an adapter's folder is ever replaced."""
    from tutor.generators.files import ADAPTER_CONFIG

    if path.exists():
        if not force:
            raise InputError(f"{path} exists already; choose another name or replace it with --force")
        if not (path / ADAPTER_CONFIG).is_file():
            raise InputError(f"{path} holds no adapter, so it is not replaced; choose another name")
    if not path.absolute().parent.is_dir():
        raise InputError(f"there is no folder {path.parent}; make it first")
    part = Path(tempfile.mkdtemp(prefix=".study-tutor-", suffix=".part", dir=path.absolute().parent))
    try:
        for file in files:
            shutil.copyfile(file, part / file.name)
        if path.exists():
            shutil.rmtree(path)
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _verdict(adapter: Adapter) -> str:
    verdict = adapter.report.get("verdict") or {}
    if not verdict:
        return "not evaluated"
    broken = [rule["name"] for rule in verdict.get("rules", ()) if not rule["passed"]]
    return "may be served" if verdict.get("promote") else f"refused: {', '.join(broken)}"


def _job_json(job: Any) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "stage": job.stage,
        "progress": job.progress,
        "error": job.error,
        "exit_code": job.exit_code,
        "created_at": job.created_at.isoformat(),
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
    }


def _adapter_json(adapter: Adapter) -> dict[str, Any]:
    verdict = adapter.report.get("verdict") or {}
    return {
        "name": adapter.name,
        "state": adapter.state,
        "base": adapter.base_model,
        "path": adapter.path,
        "promote": verdict.get("promote"),
        "withdrawn": adapter.withdrawn,
        "created_at": adapter.created_at.isoformat(),
    }
