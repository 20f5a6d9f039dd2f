"""Fine-tune jobs: the row through which a job's own process and everybody who watches it meet.

    queued -> running -> done | failed | cancelled        failed | cancelled -> queued (resume)

A job that nobody started yet can also be cancelled or fail. Every change checks the state it starts from, in one
short transaction; what a job does is left to `finetune`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.errors import DatabaseError, NotFound
from db.models import DatasetRow, JobRow
from db.statements import one_at_a_time
from db.types import as_utc, utc_now

STALE_S = 60  # a running job beats more often than this
LOST_S = 600  # after this long without a beat another process may have its pid
ENDED = ("cancelled", "failed", "done")
LOST = "Its process ended without a word; resume it."

_NEXT = {
    "queued": ("running", "cancelled", "failed"),
    "running": ("done", "failed", "cancelled"),
    "failed": ("queued",),
    "cancelled": ("queued",),
    "done": (),
}


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


def create_job(
    session: Session, kind: str, config: Mapping[str, Any], folder: str | Path | None = None
) -> Job:
    """A queued job. `folder` is the one that holds all jobs: this job's own is `<folder>/<id>`."""
    row = JobRow(kind=kind, state="queued", config=dict(config), metrics=[], created_at=utc_now())
    session.add(row)
    session.flush()
    row.folder = None if folder is None else str(Path(folder) / str(row.id))
    return _copy(session, row)


def get_job(session: Session, job_id: int) -> Job | None:
    """The job of this id, or None."""
    row = session.get(JobRow, job_id)
    return None if row is None else _copy(session, row)


def list_jobs(session: Session) -> list[Job]:
    """All jobs, newest first."""
    return [_copy(session, row) for row in session.scalars(select(JobRow).order_by(JobRow.id.desc()))]


def live_job(session: Session, now: datetime | None = None) -> Job | None:
    """The job that runs: its last beat is younger than STALE_S. Whether its pid is alive, the caller sees."""
    since = as_utc(now or utc_now()) - timedelta(seconds=STALE_S)
    live = select(JobRow).where(JobRow.state == "running", JobRow.heartbeat_at > since)
    row = session.scalar(live.order_by(JobRow.id.desc()).limit(1))
    return None if row is None else _copy(session, row)


def start_job(session: Session, job_id: int, pid: int, *, now: datetime | None = None) -> Job:
    """This process runs the queued job now. Raises NotFound, DatabaseError if it isn't queued or another runs."""
    one_at_a_time(session, "jobs")
    at = as_utc(now or utc_now())
    row = _locked(session, job_id)
    other = live_job(session, at)
    if other is not None and other.id != job_id:
        raise DatabaseError(f"Job {other.id} is running; wait for it or cancel it.")
    _move(row, "running")
    row.pid, row.heartbeat_at, row.started_at = pid, at, row.started_at or at
    return _copy(session, row)


def beat(
    session: Session,
    job_id: int,
    *,
    stage: str | None = None,
    progress: float | None = None,
    metrics: Sequence[Mapping[str, Any]] | None = None,
    now: datetime | None = None,
) -> Job:
    """Say that the job lives, and how far it is; `metrics` are appended. The answer's `cancel_requested` asks it
    to stop. Raises DatabaseError if the job isn't running (any more): then it must stop, too."""
    row = _locked(session, job_id)
    if row.state != "running":
        raise DatabaseError(f"Job {job_id} is {row.state}, not running.")
    row.heartbeat_at = as_utc(now or utc_now())
    if stage is not None:
        row.stage = stage
    if progress is not None:
        row.progress = min(max(progress, 0.0), 1.0)
    if metrics:
        row.metrics = [*row.metrics, *(dict(one) for one in metrics)]
    return _copy(session, row)


def set_dataset(session: Session, job_id: int, dataset_id: int) -> Job:
    """Note which snapshot the job works on. Raises NotFound."""
    row = _locked(session, job_id)
    if session.get(DatasetRow, dataset_id) is None:
        raise NotFound(f"Data set {dataset_id} doesn't exist (any more).")
    row.dataset_id = dataset_id
    return _copy(session, row)


def finish_job(
    session: Session,
    job_id: int,
    state: str,
    *,
    exit_code: int = 0,
    error: str | None = None,
    now: datetime | None = None,
) -> Job:
    """The job ended as `done`, `failed` or `cancelled`; `error` is one line. Raises NotFound, DatabaseError."""
    if state not in ENDED:
        raise ValueError(f"a job ends as one of {', '.join(ENDED)}, not {state!r}")
    row = _locked(session, job_id)
    _move(row, state)
    row.exit_code, row.finished_at = exit_code, as_utc(now or utc_now())
    row.error = " ".join(error.split()) if error else None
    if state == "done":
        row.stage, row.progress = "done", 1.0
    return _copy(session, row)


def request_cancel(session: Session, job_id: int) -> Job:
    """Ask a running job to stop at its next beat; one that is still queued is cancelled at once.

    An ended job stays as it is. Raises NotFound.
    """
    row = _locked(session, job_id)
    if row.state == "queued":
        return finish_job(session, job_id, "cancelled")
    if row.state == "running":
        row.cancel_requested = True
    return _copy(session, row)


def requeue(session: Session, job_id: int) -> Job:
    """Let a failed or cancelled job be started again from its last checkpoint. Raises NotFound, DatabaseError.

    One whose process was killed is still `running`: `reap` first.
    """
    row = _locked(session, job_id)
    _move(row, "queued")
    row.cancel_requested = False
    row.pid = row.exit_code = row.error = row.heartbeat_at = row.finished_at = None
    return _copy(session, row)


def reap(session: Session, alive: Callable[[int], bool], *, now: datetime | None = None) -> list[Job]:
    """Call the running jobs whose process is gone failed, so that they can be resumed; those jobs.

    `alive` tells of a pid. A job is lost without a living process, or after LOST_S without a beat.
    """
    at = as_utc(now or utc_now())
    lost = []
    for row in session.scalars(select(JobRow).where(JobRow.state == "running").with_for_update()):
        silent = row.heartbeat_at is None or at - row.heartbeat_at > timedelta(seconds=LOST_S)
        if silent or row.pid is None or not alive(row.pid):
            row.state, row.finished_at, row.error = "failed", at, LOST
            lost.append(_copy(session, row))
    return lost


def _locked(session: Session, job_id: int) -> JobRow:
    statement = select(JobRow).where(JobRow.id == job_id).with_for_update()
    row = session.scalar(statement.execution_options(populate_existing=True))
    if row is None:
        raise NotFound(f"Job {job_id} doesn't exist (any more).")
    return row


def _move(row: JobRow, state: str) -> None:
    if state not in _NEXT[row.state]:
        raise DatabaseError(f"Job {row.id} is {row.state}; it can't become {state}.")
    row.state = state


def _copy(session: Session, row: JobRow) -> Job:
    session.flush()
    return Job(**{field.name: getattr(row, field.name) for field in fields(Job)})
