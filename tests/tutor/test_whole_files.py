"""Files that are whole or as they were before."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tutor.whole_files import read_json, write_json


def test_what_was_written_comes_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    file = tmp_path / "new" / "state.json"
    write_json(file, {"name": "Zoë", "at": datetime(2026, 1, 2, tzinfo=UTC)})
    write_json(file, {"name": "Zoë"} | read_json(file))
    assert read_json(file) == {"name": "Zoë", "at": "2026-01-02 00:00:00+00:00"}
    assert [*file.parent.iterdir()] == [file]


def test_what_cant_be_written_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "state.json"
    write_json(file, {"good": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json(file, {"good": 2})
    assert read_json(file) == {"good": 1}
    assert [*tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b'"text"', b"\xff\xfe{}"])
def test_what_cant_be_read_is_empty(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "state.json"
    if content is not None:
        file.write_bytes(content)
    assert read_json(file) == {}
