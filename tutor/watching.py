"""The folder of the setting `watch`: kept in the index as its files are, in a thread, while the app is served."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from tutor import failures

if TYPE_CHECKING:
    from pathlib import Path

    from db.session import Database
    from retrieval.ingest import IngestReport
    from retrieval.records import Embedder

RETRY_S = 30.0

log = logging.getLogger(__name__)


class Watching:
    """Watches one folder from `start` to `stop`. What goes wrong is told once in the log and tried again."""

    def __init__(self, database: Database, embedder: Embedder, folder: Path) -> None:
        self._database = database
        self._embedder = embedder
        self._folder = folder
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin; returns at once. A folder that is not there is waited for."""
        if not self._folder.is_dir():
            log.warning("the folder to watch, %s, is not there; it is read once it is", self._folder)
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def stop(self) -> None:
        """End soon: a document that is being read is finished first."""
        self._stop.set()

    def _run(self) -> None:
        from retrieval.watch import Watcher

        watcher = Watcher(self._database, self._embedder, self._folder)
        while not self._stop.is_set():
            try:
                watcher.run(self._stop, self._tell)
            except Exception as error:  # noqa: BLE001 - the pages go on without it
                if self._stop.is_set():
                    return  # the database was closed under it
                told = failures.one_line(error) if failures.exit_code(error) is not None else repr(error)
                log.warning("watching %s: %s; trying again", self._folder, told)
                self._stop.wait(RETRY_S)

    def _tell(self, report: IngestReport) -> None:
        for name in ("added", "changed", "removed"):
            for path in getattr(report, name):
                log.info("%s: %s %s", self._folder, name, path)
        for path, why in report.rejected:
            log.warning("%s: %s was left out: %s", self._folder, path, why)
