"""Rows as the Improve page finds them, and a trainer that does nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from db import registry
from db.jobs import Job

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STUB = """
import sys, time
print("study-tutor: ready", *sys.argv[1:], flush=True)
time.sleep(600)
"""


Add = Callable[..., registry.Adapter]


def job(**values: Any) -> Job:
    known: dict[str, Any] = {
        "id": 7, "kind": "finetune", "state": "running", "config": {}, "dataset_id": None, "folder": None,
        "stage": "training", "progress": 0.2, "metrics": [], "cancel_requested": False, "pid": 1, "exit_code": None,
        "error": None, "heartbeat_at": NOW, "created_at": NOW, "started_at": NOW, "finished_at": None,
    }  # fmt: skip
    return Job(**known | values)


def report(*, promote: bool = True, served: str | None = None, **more: Any) -> dict[str, Any]:
    rules = [
        {"name": "target", "passed": promote, "text": "Right: +0.1 (0.0 to 0.2); it must be above 0."},
        {"name": "words", "passed": True, "text": "Length: 0.7; it must be at most 1.1."},
    ]
    return {"served": {"adapter": served}, "verdict": {"promote": promote, "rules": rules}, **more}
