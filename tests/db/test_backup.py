"""Backups: whole while others write, refused when damaged, and put back under a running app."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db import documents, study
from db.backup import checked, make_backup, restore_backup
from db.errors import DatabaseDamaged, DatabaseUnavailable, SchemaTooNew
from db.session import Database

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "study-tutor.sqlite3"


def names(database: Database) -> list[str]:
    from db.models import LearnerRow

    with database.session(readonly=True) as session:
        return sorted(session.scalars(LearnerRow.__table__.select().with_only_columns(LearnerRow.name)))


def add(database: Database, name: str) -> None:
    with database.session() as session:
        study.learner(session, name)


def test_a_backup_made_while_others_write_is_whole_and_comes_back(path: Path, tmp_path: Path) -> None:
    database = Database.open(path)
    stop = threading.Event()
    written = []

    def write() -> None:
        while not stop.is_set() and len(written) < 300:
            written.append(f"learner {len(written):03}")
            add(database, written[-1])

    thread = threading.Thread(target=write)
    thread.start()
    while len(written) < 5:
        pass
    before = len(written) - 1  # acknowledged before the copy began
    backup = make_backup(path, tmp_path / "backups", NOW)
    stop.set()
    thread.join()
    assert backup.path.name == "study-tutor-20261124T120000000000Z.sqlite3"
    assert [file.name for file in backup.path.parent.iterdir()] == [backup.path.name]
    copy = Database.open(backup.path)
    kept = names(copy)
    copy.close()
    assert kept == written[: len(kept)]  # no gap
    assert len(kept) >= before
    add(database, "later")
    restore_backup(path, backup.path)
    assert names(database) == kept  # the open database sees it
    add(database, "after")
    assert "after" in names(database)
    database.close()


def test_the_index_counts_as_changed_after_a_restore(path: Path, tmp_path: Path) -> None:
    database = Database.open(path)
    backup = make_backup(path, tmp_path, NOW)
    with database.session(readonly=True) as session:
        before = documents.index_version(session)
    restore_backup(path, backup.path)
    with database.session(readonly=True) as session:
        assert documents.index_version(session) > before
    database.close()


def test_what_is_no_sound_backup_is_refused_and_nothing_changes(path: Path, tmp_path: Path) -> None:
    database = Database.open(path)
    for number in range(200):
        add(database, f"learner {number}")
    good = make_backup(path, tmp_path, NOW).path
    bad = tmp_path / "bad.sqlite3"
    with pytest.raises(DatabaseUnavailable, match="no such file"):
        restore_backup(path, bad)
    bad.write_bytes(b"no database at all" * 100)
    with pytest.raises(DatabaseDamaged, match="not a SQLite database"):
        restore_backup(path, bad)
    data = bytearray(good.read_bytes())
    data[8192:20480] = b"\xff" * 12288
    bad.write_bytes(data)
    with pytest.raises(DatabaseDamaged):
        restore_backup(path, bad)
    bad.write_bytes(good.read_bytes()[: len(data) // 2])
    with pytest.raises(DatabaseDamaged):
        restore_backup(path, bad)
    newer = Database.open(good)
    with newer.session() as session:
        from sqlalchemy import text

        session.execute(text("UPDATE schema_revision SET version_num = '9999'"))
    newer.close()
    with pytest.raises(SchemaTooNew):
        checked(good)
    assert len(names(database)) == 200
    database.close()


def test_there_is_nothing_to_back_up_before_the_first_start(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="there is no database yet"):
        make_backup(path, tmp_path, NOW)
    assert not path.exists()
