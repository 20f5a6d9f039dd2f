"""Small files that learners bring, and what became of them."""

from __future__ import annotations

import io
import threading
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from db import documents
from db.session import Database
from tutor.material import Material

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MOTH = b"# Moths\n\nA luna moth has no mouth and lives for one week.\n"
BEES = b"Bees dance to tell where nectar is. A hive has one queen."


def add(
    material: Material, path: str, data: bytes, collection: str = "", request_id: str | None = None
) -> dict[str, Any]:
    incoming = material.receive(collection, path)
    incoming.write(data)
    return material.take(incoming, request_id)


def paths(database: Database) -> list[tuple[str, str]]:
    with database.session(readonly=True) as session:
        return [(d.source, d.path) for d in documents.list_documents(session)]


def kept(root: Path) -> set[str]:
    return {
        f.relative_to(root).as_posix() for f in root.rglob("*") if f.is_file() and f.name != ".answers.json"
    }


def zipped(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)
    return data.getvalue()


def slow_down(
    monkeypatch: pytest.MonkeyPatch, embedder: Any, reading: threading.Event, go_on: threading.Event
) -> None:
    """Embedding says when it begins, and waits until it may go on."""
    for name in ("encode", "encode_documents"):
        encode = getattr(embedder, name, embedder.encode)

        def slowly(texts: Any, encode: Any = encode) -> Any:
            reading.set()
            assert go_on.wait(20)
            return encode(texts)

        monkeypatch.setattr(embedder, name, slowly, raising=False)
