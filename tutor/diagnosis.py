"""What `doctor` looks at: one `Check` for each thing that must be there for the tutor to work.

A check never raises; one that fails says what to do next.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tutor import failures
from tutor.settings import Settings

if TYPE_CHECKING:
    from db.session import Database

_COUNTED = ("documents", "chunks", "turns", "feedback")
OLDEST_PYTHON = (3, 11)
DISK_NEEDED = 1 << 30  # the converted model takes 0.54 GB; the rest is for material, backups and adapters
MEMORY_NEEDED = 3 << 29  # 1.5 GB: what serving the shipped models takes


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `next_step` is empty only where nothing has to be done."""

    name: str
    ok: bool
    found: str
    next_step: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "ok": self.ok, "found": self.found, "next_step": self.next_step or None}


def diagnose(settings: Settings) -> list[Check]:
    """Every check, in the order in which one would put things right."""
    return [
        _python(),
        _guarded("home", lambda: _home(settings)),
        *_database(settings),
        *_models(settings),
        _guarded("torch", _torch),
        _guarded("memory", _memory),
        _threads(settings),
        _network(settings),
    ]


def gigabytes(size: float) -> str:
    """Bytes as people read them."""
    return f"{size / (1 << 30):.1f} GB"


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except Exception as error:  # noqa: BLE001  a diagnosis that breaks off helps nobody
        return Check(name, False, failures.one_line(error), "correct this, then run study-tutor doctor again")


def _python() -> Check:
    ok = sys.version_info >= OLDEST_PYTHON
    step = "" if ok else "install Python 3.11 or newer, then run: make setup"
    return Check("python", ok, f"{platform.python_version()} on {platform.platform(terse=True)}", step)


def _home(settings: Settings) -> Check:
    from tutor.services import ensure_home

    ensure_home(settings)
    with tempfile.TemporaryFile(dir=settings.home) as file:
        file.write(b"x")
    free = shutil.disk_usage(settings.home).free
    ok = free >= DISK_NEEDED
    step = "" if ok else f"free {gigabytes(DISK_NEEDED)} there or choose another folder with --home"
    return Check("home", ok, f"{settings.home}, {gigabytes(free)} free", step)


def _database(settings: Settings) -> Iterator[Check]:
    """The database opens, is new enough, and what it holds is sound."""
    from tutor.services import open_database

    try:
        with open_database(settings) as database:
            yield _guarded("database", lambda: _engine(database))
            yield _guarded("data", lambda: _data(database))
            yield _guarded("adapter", lambda: _adapter(database))
    except Exception as error:  # noqa: BLE001
        yield Check("database", False, failures.one_line(error), "see the message, then run doctor again")


def _engine(database: Database) -> Check:
    query = "SELECT sqlite_version()" if database.dialect == "sqlite" else "SHOW server_version"
    with database.session(readonly=True) as session:
        version = session.connection().exec_driver_sql(query).scalar()
    return Check(
        "database", True, f"{database.dialect} {version}, schema up to date, {database.url_for_display}"
    )


def _data(database: Database) -> Check:
    from db.maintenance import check

    report = check(database)
    if report.ok:
        return Check("data", True, ", ".join(f"{report.counts.get(name, 0)} {name}" for name in _COUNTED))
    return Check("data", False, f"{len(report.problems)} problems: {report.problems[0]}", "study-tutor check")


def _adapter(database: Database) -> Check:
    """What is served, and whether it is what was registered."""
    from db.registry import get_adapter, served_adapter
    from tutor.adapters import adapter_problems

    with database.session(readonly=True) as session:
        served = served_adapter(session)
        known = get_adapter(session, served.name) if served else None
    problems = adapter_problems(database)
    if problems:
        step = "roll back to another version on the page Improve, or train again"
        return Check("adapter", False, problems[0], step)
    if known is None:
        return Check("adapter", True, "none is served: the base model alone writes")
    if known.withdrawn:
        return Check(
            "adapter", True, f"{known.name} is served; it contains withdrawn feedback", "train again"
        )
    return Check("adapter", True, f"{known.name} is served")


def _models(settings: Settings) -> Iterator[Check]:
    """The models are there; what better ones would need is said in passing."""
    from tutor.models import LARGER_MODELS, describe_models

    try:
        for model in describe_models(settings):
            where = f"{model.name} ({model.source}), {gigabytes(model.size_bytes)}"
            found = f"{where}, {model.detail}" if model.present else f"{model.name} is missing"
            yield Check(model.role, model.present, found, "" if model.present else model.detail)
    except Exception as error:  # noqa: BLE001
        yield Check("models", False, failures.one_line(error), "correct this, then run doctor again")
    larger = ", ".join(f"{model.hub_id} ({model.memory_gb:g} GB)" for model in LARGER_MODELS)
    yield Check(
        "larger models", True, f"with memory for them, better answers: {larger}; see study-tutor models"
    )


def _torch() -> Check:
    import torch

    build = "CUDA" if torch.cuda.is_available() else "CPU"
    return Check("torch", True, f"{torch.__version__}, runs on {build}")


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    ok = memory.available >= MEMORY_NEEDED
    step = "" if ok else f"close other programs: the shipped models take about {gigabytes(MEMORY_NEEDED)}"
    return Check("memory", ok, f"{gigabytes(memory.available)} free of {gigabytes(memory.total)}", step)


def _threads(settings: Settings) -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    used = f"{settings.threads} (setting `threads`)" if settings.threads else "all"
    return Check("threads", True, f"{cores} cores, the models use {used}")


def _network(settings: Settings) -> Check:
    reached = [f"the server {settings.server_url}"] if settings.server_url else []
    if os.environ.get("HF_HUB_OFFLINE", "").upper() not in ("1", "ON", "YES", "TRUE"):
        reached.append("the model hub, for what the settings name")
    policy = f"requests go only to {' and '.join(reached)}" if reached else "no request leaves this machine"
    return Check("network", True, f"{policy}; telemetry is off")
