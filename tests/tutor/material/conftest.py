"""The learner's material of a test, in a home of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db.session import Database
from tests.tutor.material.sample import NOW
from tutor.material import Material


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "home" / "material"


@pytest.fixture
def material(database: Database, fake_embedder: Any, root: Path) -> Iterator[Material]:
    opened = Material(database, fake_embedder, root, now=lambda: NOW)
    yield opened
    opened.close()
