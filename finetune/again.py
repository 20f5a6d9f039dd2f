"""An adapter measured again, because something else is served now than when it was made: `report NAME --again`.

What is on the disk stays as it was registered; the new report is the registry's, and so is what the gate says to it:
what was refused may be promoted once it passes, and the other way round.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db import feedback, registry
from finetune import gate
from finetune.keeping import one_job_a_home, versions

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

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
            _judged(session, adapter, report)
    return report


def _judged(session: Session, adapter: Adapter, report: Mapping[str, Any]) -> None:
    """Keep the report and the gate's word. What is served was only compared with itself, which says nothing of it."""
    if report["served"]["adapter"] == adapter.name:
        registry.set_report(session, adapter.name, report)
        return
    state = gate.state(report)
    registry.set_report(session, adapter.name, report, state=state)
    if adapter.dataset_id is None:
        return
    # Only what is where this adapter left it: feedback that went into another data set or adapter since stays there.
    own = set(registry.feedback_of(session, adapter.dataset_id))
    here = [f for f in feedback.list_feedback(session) if f.id in own and f.dataset_id == adapter.dataset_id]
    if state == "registered":
        waiting = [f.id for f in here if f.fate == "in_dataset"]
        feedback.set_fate(session, waiting, "in_adapter", adapter_id=adapter.id)
    else:
        mine = [f.id for f in here if f.adapter_id == adapter.id]
        feedback.set_fate(session, mine, "in_dataset", dataset_id=adapter.dataset_id)


def _held_out(database: Database, adapter: Adapter) -> Sequence[Example]:
    """What the adapter's data set held out, where the snapshot is still there."""
    from finetune.snapshot import read_snapshot

    with database.session(readonly=True) as session:
        rows = {row.id: row for row in registry.list_datasets(session)}
    row = rows.get(adapter.dataset_id or 0)
    return read_snapshot(Path(row.path)).held_out if row and Path(row.path).is_dir() else ()
