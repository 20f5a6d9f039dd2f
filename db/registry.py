"""Fine-tune jobs, data sets and adapters as the app needs to see them: what is there, and what is served.

Running a job, registering and promoting are written with the trainer that does them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import models
from db.statements import insert_for
from db.types import utc_now


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """What a generator needs to load an adapter and to refuse a wrong one."""

    name: str
    path: str
    base_model: str
    sha256: str


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A snapshot of training data; `counts` says how many examples of each kind."""

    id: int
    sha256: str
    path: str
    counts: dict[str, Any]
    seed: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """One run of the trainer; `progress` runs from 0 to 1, `heartbeat_at` tells whether it still lives."""

    id: int
    kind: str
    state: str
    config: dict[str, Any]
    dataset_id: int | None
    folder: str | None
    stage: str
    progress: float
    metrics: list[Any]
    cancel_requested: bool
    pid: int | None
    exit_code: int | None
    error: str | None
    heartbeat_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Adapter:
    """A registered adapter with its manifest (files, hashes, versions) and its report."""

    id: int
    name: str
    path: str
    base_model: str
    sha256: str
    state: str
    manifest: dict[str, Any]
    report: dict[str, Any]
    job_id: int | None
    dataset_id: int | None
    created_at: datetime


def served_adapter(session: Session) -> ServedAdapter | None:
    """The adapter that the newest promotion names; None: the base model alone."""
    newest = select(models.PromotionRow.adapter_id).order_by(models.PromotionRow.id.desc()).limit(1)
    adapter_id = session.scalar(newest)
    row = None if adapter_id is None else session.get(models.AdapterRow, adapter_id)
    return None if row is None else _copy(ServedAdapter, row)


def find_adapter(session: Session, name: str) -> ServedAdapter | None:
    """The adapter of this name, served or not."""
    row = session.scalar(select(models.AdapterRow).where(models.AdapterRow.name == name))
    return None if row is None else _copy(ServedAdapter, row)


def put_dataset(session: Session, sha256: str, path: str, counts: Mapping[str, Any], seed: int) -> DatasetRow:
    """Register a snapshot. The same content again returns the first registration."""
    insertion = insert_for(session, models.DatasetRow).values(
        sha256=sha256, path=path, counts=dict(counts), seed=seed, created_at=utc_now()
    )
    session.execute(insertion.on_conflict_do_nothing(index_elements=["sha256"]))
    statement = select(models.DatasetRow).where(models.DatasetRow.sha256 == sha256)
    return _copy(DatasetRow, session.scalars(statement).one())


def list_jobs(session: Session) -> list[Job]:
    """All jobs, newest first."""
    rows = session.scalars(select(models.JobRow).order_by(models.JobRow.id.desc()))
    return [_copy(Job, row) for row in rows]


def list_adapters(session: Session) -> list[Adapter]:
    """All adapters, newest first."""
    rows = session.scalars(select(models.AdapterRow).order_by(models.AdapterRow.id.desc()))
    return [_copy(Adapter, row) for row in rows]


R = TypeVar("R")


def _copy(kind: type[R], row: object) -> R:
    return kind(**{field.name: getattr(row, field.name) for field in fields(kind)})  # type: ignore[arg-type]
