"""Which schema a database has, and how it gets to ours: paths, versions, backups, migrations.

Alembic is imported only when a migration must run; a current database is recognised by comparing its stored
revision with HEAD. To write the next migration: add its id to REVISIONS and its file to migrations/versions.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from db.errors import DatabaseError, DatabaseUnavailable, SchemaTooNew
from db.failures import damaged, unavailable

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002", "0003")
HEAD = REVISIONS[-1]
VERSION_TABLE = "schema_revision"
_HEADER = b"SQLite format 3\0"
PATIENCE_SECONDS = 10
_ADVISORY_LOCK = 7_305_411_201  # any number; the same one in every process that migrates


def prepare_path(path: Path) -> None:
    """Make the folder and look at the file before SQLite does, for errors a user can act on."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise unavailable(str(path), "it is a folder", "name a file")
        if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
            raise unavailable(
                str(path), "it may not be written", "choose another home or change its permissions"
            )
        if path.exists() and path.stat().st_size:
            require_sqlite(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise unavailable(str(path), f"{reason}: {path.parent}", "choose another home folder") from None


def require_sqlite(path: Path) -> None:
    """Raise DatabaseDamaged for a file that is no SQLite database, OSError for one that can't be read."""
    with path.open("rb") as file:
        if file.read(len(_HEADER)) != _HEADER:
            raise damaged(str(path), "it is not a SQLite database")


def file_revision(path: Path) -> str | None:
    """The schema revision of a SQLite file, read without writing to it; None if the file is new or empty."""
    if not path.exists() or not path.stat().st_size:
        return None
    from pysqlite3 import dbapi2

    engine = create_engine(
        "sqlite://", module=dbapi2, creator=lambda: open_readonly(path), poolclass=NullPool
    )
    try:
        with engine.connect() as connection:
            return stored_revision(connection, str(path))
    finally:
        engine.dispose()


def stored_revision(connection: Connection, where: str) -> str | None:
    """The schema revision of an open database; None if it has no tables.

    Raises DatabaseUnavailable if its tables are another program's, DatabaseDamaged if the revision is missing.
    """
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if VERSION_TABLE not in tables:
        raise unavailable(where, "it holds another program's tables", "name a new file or an empty database")
    revision = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    if revision is None:
        raise damaged(where, "its schema revision is missing")
    return str(revision)


def pending(revision: str | None, where: str, migrate: bool) -> bool:
    """Whether migrations must run. Raises SchemaTooNew for a revision we don't know."""
    if revision is not None and revision not in REVISIONS:
        raise SchemaTooNew(
            f"The database {where} was written by a newer version (schema {revision}, this version knows {HEAD}). "
            "Update study-tutor; nothing was changed."
        )
    if revision == HEAD:
        return False
    if not migrate:
        state = "doesn't exist yet" if revision is None else f"has the older schema {revision}"
        raise DatabaseUnavailable(
            f"The database {where} {state}. Start study-tutor once to bring it up to date."
        )
    return True


def backup_before_upgrade(path: Path) -> Path:
    """Copy a live SQLite file, WAL included, beside itself. The copy appears whole or not at all."""
    from db.backup import copy_file

    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    target = path.with_name(f"{path.stem}.before-{HEAD}-{stamp}{path.suffix}")
    copy_file(path, target)
    return target


def run(engine: Engine) -> None:
    """Run every migration that is missing, each in its own transaction, one process at a time."""
    from alembic import command

    config = alembic_config()
    for revision in REVISIONS:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            where = engine.url.render_as_string(hide_password=True)
            stored = stored_revision(connection, where)  # again, now that nobody else can change it
            pending(stored, where, migrate=True)
            if stored is not None and REVISIONS.index(stored) >= REVISIONS.index(revision):
                continue
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            if connection.dialect.name == "sqlite":
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                if broken is not None:
                    raise DatabaseError(
                        f"Migration {revision} would break a reference in {broken[0]}; undone."
                    )


def alembic_config() -> Config:
    """Alembic's configuration, made in memory. For `alembic.command` functions, such as `revision`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def open_readonly(path: Path) -> Any:
    """A raw connection that can't change the file."""
    from pysqlite3 import dbapi2

    return dbapi2.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=PATIENCE_SECONDS)
