"""A job's sign of life: a thread that tells the database how far the job is, and hears that it should stop.

The job itself only sets numbers here; it never waits for the database. A row that another process ended (the job was
thought dead) stops the job, too: two must not write one folder.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from db import jobs
from db.errors import DatabaseBusy, DatabaseError, DatabaseUnavailable
from finetune.outcomes import Cancelled

if TYPE_CHECKING:
    from db.session import Database

BEAT_S = 3.0
METRICS_EVERY_S = 2.0  # a row of metrics is kept so often, and the first and last of a stage always

log = logging.getLogger(__name__)


class Heart:
    """Beats from `with` on. Its numbers may be set from any thread."""

    def __init__(self, database: Database, job_id: int, every_s: float = BEAT_S) -> None:
        self._database = database
        self._job_id = job_id
        self._every_s = every_s
        self._lock = threading.Lock()
        self._stage: str | None = None
        self._progress: float | None = None
        self._metrics: list[dict[str, Any]] = []
        self._last: dict[str, Any] | None = None
        self._kept_at = 0.0
        self._ending = threading.Event()
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """The last beat happens before the job is finished."""
        self._ending.set()
        self._thread.join()
        self._beat()

    @property
    def should_stop(self) -> bool:
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise Cancelled if the job should stop."""
        if self.should_stop:
            raise Cancelled("It was stopped; resume it to go on from where it was.")

    def enter(self, stage: str, progress: float) -> None:
        """A new stage begins: told at once. Raises Cancelled."""
        with self._lock:
            self._keep_last()
            self._stage, self._progress, self._kept_at = stage, progress, 0.0
        self._beat()
        self.check()

    def tell(self, progress: float, metrics: Mapping[str, Any]) -> None:
        """How far the stage is: told with the next beat, thinned out in time."""
        with self._lock:
            self._progress, self._last = progress, dict(metrics)
            if time.monotonic() - self._kept_at >= METRICS_EVERY_S:
                self._keep_last()

    def _keep_last(self) -> None:
        if self._last is not None:
            self._metrics.append(self._last)
            self._last, self._kept_at = None, time.monotonic()

    def _run(self) -> None:
        while not self._ending.wait(self._every_s):
            self._beat()

    def _beat(self) -> None:
        with self._lock:
            if self._ending.is_set():
                self._keep_last()
            metrics, self._metrics = self._metrics, []
            stage, progress = self._stage, self._progress
        try:
            with self._database.session() as session:
                job = jobs.beat(session, self._job_id, stage=stage, progress=progress, metrics=metrics)
                if job.cancel_requested:
                    self._cancelled.set()
        except (DatabaseBusy, DatabaseUnavailable):
            with self._lock:
                self._metrics = [*metrics, *self._metrics]  # the next beat tells them
        except DatabaseError as error:
            log.warning("job %s: %s", self._job_id, error)
            self._cancelled.set()
