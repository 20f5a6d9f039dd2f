"""The work of the Improve page over a trainer that does nothing, and adapters whose files are there."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db import registry, study
from db.session import Database
from tests.tutor.improve.sample import STUB, Add
from tutor.generators.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tutor.improve import Improve
from tutor.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", learner="eve", threads=2)


@pytest.fixture
def improve(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Improve]:
    """Over an empty database; what it starts is a process that writes a line and then waits."""
    monkeypatch.setattr("tutor.improve_jobs.COMMAND", (sys.executable, "-c", STUB))
    with database.session() as session:
        learner_id = study.learner(session, "eve").id
    made = Improve(database, settings, learner_id)
    yield made
    for child in made._trainers._children.values():
        child.kill()
        child.wait()


@pytest.fixture
def add(database: Database, tmp_path: Path) -> Add:
    """add(name, report, state="registered") -> an adapter whose files are there."""

    def added(name: str, made: dict[str, Any], state: str = "registered") -> registry.Adapter:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        (folder / ADAPTER_CONFIG).write_text("{}")
        (folder / ADAPTER_WEIGHTS).write_bytes(name.encode())
        with database.session() as session:
            return registry.register_adapter(
                session, name=name, path=str(folder), base_model="b",
                sha256=hashlib.sha256(name.encode()).hexdigest(), state=state, manifest={}, report=made,
            )  # fmt: skip

    return added
