"""Whole copies of a SQLite database: made while it is in use, opened and checked before they count, put back whole.

PostgreSQL has tools of its own for this (`pg_dump`). Exports for learners are `portable.py`'s.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import exc

from db import upgrade
from db.errors import DatabaseDamaged, DatabaseUnavailable
from db.failures import damaged, translate, unavailable


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy that was opened and found whole; `size` in bytes."""

    path: Path
    size: int
    schema: str


def make_backup(database: Path, folder: Path, now: datetime, *, label: str = "") -> Backup:
    """Copy a live database, WAL included, into `folder`; the copy appears whole or not at all.

    Raises DatabaseUnavailable (no database, no space, no permission), DatabaseBusy, DatabaseDamaged.
    """
    if not database.exists():
        raise unavailable(str(database), "there is no database yet", "there is nothing to back up")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise unavailable(str(folder), error.strerror or str(error), "choose another folder") from None
    stamp = now.strftime("%Y%m%dT%H%M%S%fZ")
    target = folder / f"{database.stem}{label}-{stamp}{database.suffix}"
    copy_file(database, target)
    return checked(target)


def checked(backup: Path) -> Backup:
    """Open a backup and read every page of it, changing nothing.

    Raises DatabaseUnavailable for no file or another program's, DatabaseDamaged, SchemaTooNew.
    """
    if not backup.is_file():
        raise unavailable(str(backup), "there is no such file", "name a backup")
    upgrade.require_sqlite(backup)
    try:
        with closing(upgrade.open_readonly(backup)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    except _sqlite_error() as error:
        raise damaged(str(backup), " ".join(str(error).split())) from None
    if found != ["ok"]:
        raise damaged(str(backup), " ".join(found[0].split()))
    revision = upgrade.file_revision(backup)
    if revision is None:
        raise damaged(str(backup), "it is empty")
    upgrade.pending(revision, str(backup), migrate=True)
    return Backup(backup, backup.stat().st_size, revision)


def restore_backup(database: Path, backup: Path) -> None:
    """Put a backup's content in place of the database's, in one transaction, also while the app is running.

    Whoever has the database open sees the new content with the next transaction; the index counts as changed. An
    older schema stays as it is until the database is next opened. Raises as `checked`, and DatabaseBusy.
    """
    checked(backup)
    upgrade.prepare_path(database)
    from pysqlite3 import dbapi2

    try:
        with (
            closing(upgrade.open_readonly(backup)) as source,
            closing(dbapi2.connect(str(database), timeout=upgrade.PATIENCE_SECONDS)) as target,
        ):
            before = _index_version(target)
            source.backup(target)
            with target:  # caches of the index are told apart by this number
                target.execute("UPDATE index_state SET version = max(version, ?) + 1", (before,))
    except dbapi2.Error as error:
        raise _translated(error, database, "nothing was restored") from error


def copy_file(database: Path, target: Path) -> None:
    """Copy a live SQLite file, WAL included, to `target`, which appears whole or not at all."""
    partial = target.with_suffix(".partial")
    from pysqlite3 import dbapi2

    try:
        with (
            closing(upgrade.open_readonly(database)) as source,
            closing(dbapi2.connect(str(partial))) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, no -wal beside it
        partial.chmod(0o600)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except (OSError, dbapi2.Error) as error:
        partial.unlink(missing_ok=True)
        raise _translated(error, database, "no backup could be made") from error


def _index_version(connection: Any) -> int:
    try:
        row = connection.execute("SELECT max(version) FROM index_state").fetchone()
    except _sqlite_error():  # a database that was never opened, or is damaged: that is why one restores
        return 0
    return int(row[0] or 0)


def _translated(
    error: Exception, database: Path, what: str
) -> DatabaseUnavailable | DatabaseDamaged | Exception:
    wrapped = exc.DBAPIError("backup", None, error, hide_parameters=True)
    return translate(wrapped, str(database)) or unavailable(
        str(database), f"{what} ({error})", "free some space beside it"
    )


def _sqlite_error() -> type[Exception]:
    from pysqlite3 import dbapi2

    return dbapi2.Error
