"""A folder that is kept in the index as its files are: looked at every two seconds, without any help of the system."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from db.errors import DatabaseBusy
from db.session import Database
from retrieval.files import walk
from retrieval.ingest import IngestReport, Progress, ingest_folder
from retrieval.records import Embedder

EVERY = 2.0  # seconds between two looks
SETTLED = 2.0  # seconds; a file that was written to later may not be whole yet

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _State:
    size: int
    changed_ns: int


class Watcher:
    """Adds, changes and removes documents of one folder as its files do. `step` is one look at it.

    The source is the folder's path, as with `ingest_paths`. `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        embedder: Embedder,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        on_progress: Progress | None = None,
    ) -> None:
        self.folder = folder.expanduser().resolve()
        self._database = database
        self._embedder = embedder
        self._clock = clock
        self._on_progress = on_progress
        self._seen: dict[str, _State] = {}  # at the last look
        self._done: dict[str, _State] | None = None  # as they went into the index; None before the first look
        self._told: set[tuple[str, str]] = set()

    def step(self) -> IngestReport:
        """Bring the index up to date; an empty report where nothing has changed.

        A file whose size or time still changes waits for a later look. While the folder itself is gone (a stick pulled
        out, a drive not mounted), nothing is removed. Raises EmbedderError, DatabaseError: what failed is tried again
        at the next step.
        """
        if not self.folder.is_dir():
            return IngestReport()
        now = self._look()
        settled = {label for label, state in now.items() if self._is_settled(label, state)}
        self._seen = now
        done = self._done or {}
        pending = {label for label in settled if done.get(label) != now[label]}
        if self._done is not None and not pending and done.keys() <= now.keys():
            return IngestReport()
        report = ingest_folder(
            self._database,
            self._embedder,
            self.folder,
            source=str(self.folder),
            on_progress=self._on_progress,
            only=pending,
        )
        self._done = {label: state for label, state in done.items() if label in now}
        self._done |= {label: now[label] for label in pending}
        return self._news(report, pending)

    def run(
        self, stop: threading.Event, on_report: Callable[[IngestReport], None], every: float = EVERY
    ) -> None:
        """Look every so many seconds until `stop` is set; `on_report` gets what changed.

        A database in use by another program is waited for. Raises what else `step` raises.
        """
        while not stop.is_set():
            try:
                report = self.step()
            except DatabaseBusy as error:
                log.warning("%s; trying again", error)
            else:
                if report != IngestReport():
                    on_report(report)
            stop.wait(every)

    def _look(self) -> dict[str, _State]:
        found: dict[str, _State] = {}
        for label, file in walk(self.folder)[0]:
            try:
                status = file.stat()
            except OSError:  # it has just gone
                continue
            found[label] = _State(status.st_size, status.st_mtime_ns)
        return found

    def _is_settled(self, label: str, state: _State) -> bool:
        return self._seen.get(label) == state or self._clock() - state.changed_ns / 1e9 >= SETTLED

    def _news(self, report: IngestReport, pending: set[str]) -> IngestReport:
        """The report without refusals that were told before (a folder that can't be opened is met at every look)."""
        rejected = tuple(
            (path, why) for path, why in report.rejected if path in pending or (path, why) not in self._told
        )
        self._told.update(report.rejected)
        return IngestReport(report.added, report.changed, report.unchanged, report.removed, rejected)
