"""An adapter measured again, because something else is served now than when it was made: `report NAME --again`.

What is on the disk stays as it was registered; the new report is the registry's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db import registry
from finetune.keeping import one_job_a_home, versions

if TYPE_CHECKING:
    from db.registry import Adapter
    from db.session import Database
    from finetune.dataset import Example
    from tutor.settings import Settings


def measure_again(settings: Settings, database: Database, adapter: Adapter) -> dict[str, Any]:
    """The new report, which is kept. Raises BusyError while a job runs, and what evaluating raises."""
    from db.registry import ServedAdapter
    from finetune.evaluate import evaluate_adapter
    from finetune.pacing import wait_while_answering
    from finetune.report import Origin

    before = adapter.report
    origin = Origin(
        adapter=adapter.name,
        base=adapter.base_model,
        dataset=before.get("dataset") or {},
        training=before.get("training") or {},
        config=before.get("config") or {},
        versions=versions(),
        command=str(before.get("command", "")),
    )

    def tick(done: int, of: int) -> None:
        wait_while_answering(settings.home)

    candidate = ServedAdapter(adapter.name, adapter.path, adapter.base_model, adapter.sha256)
    with one_job_a_home(settings.home):
        report = evaluate_adapter(
            settings,
            database,
            candidate,
            origin,
            _held_out(database, adapter),
            tick,
            began=time.monotonic(),
        )
        with database.session() as session:
            registry.set_report(session, adapter.name, report)
    return report


def _held_out(database: Database, adapter: Adapter) -> Sequence[Example]:
    """What the adapter's data set held out, where the snapshot is still there."""
    from finetune.snapshot import read_snapshot

    with database.session(readonly=True) as session:
        rows = {row.id: row for row in registry.list_datasets(session)}
    row = rows.get(adapter.dataset_id or 0)
    return read_snapshot(Path(row.path)).held_out if row and Path(row.path).is_dir() else ()
