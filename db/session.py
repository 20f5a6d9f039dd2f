"""Opens the database and hands out sessions: commit at the end, roll back on any error.

How threads and processes share one SQLite file: `session()` begins with BEGIN IMMEDIATE, so it owns the only
write lock from its first statement, and what it reads can't change before it writes. A second writer waits up to
BUSY_SECONDS, then gets DatabaseBusy. `session(readonly=True)` begins with a plain BEGIN: under WAL it sees one
snapshot, waits for nobody and delays nobody; a write in it is refused. So: read in readonly sessions, and never
keep a writing one open while something slow happens (a model writes, a file is embedded). On PostgreSQL a writing
session is READ COMMITTED with the same limit on waiting, a readonly one REPEATABLE READ, READ ONLY.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url, text
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from db import upgrade
from db.errors import DatabaseBusy, DatabaseError
from db.failures import translate, unavailable
from db.types import dump_json

BUSY_SECONDS: float = 10
OLDEST_SQLITE = (3, 51, 3)  # the first 3.51 without the bug that can corrupt a WAL written by two connections
_POOL = {"pool_size": 8, "max_overflow": 56, "pool_timeout": BUSY_SECONDS}


class Database:
    """One open database, shared by all threads of a process. Make it with `Database.open`."""

    def __init__(self, engine: Engine, where: str, path: Path | None) -> None:
        self._engine = engine
        self.url_for_display = where
        self.path = path
        reading: dict[str, Any] = {"readonly": True}
        if path is None:
            reading |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._writing = sessionmaker(engine, expire_on_commit=False)
        self._reading = sessionmaker(engine.execution_options(**reading), expire_on_commit=False)

    @classmethod
    def open(cls, url_or_path: str | Path, *, migrate: bool = True) -> Database:
        """Open a SQLite file (made if missing, with its folder) or a PostgreSQL URL, and bring its schema up to date.

        Raises DatabaseUnavailable, DatabaseDamaged, DatabaseBusy or SchemaTooNew, each one line. A newer schema is
        refused before a byte is written; an older one is refused if `migrate` is False. An existing SQLite file
        is copied beside itself before it is migrated.
        """
        url = _parse(url_or_path)
        if url.drivername == "sqlite":
            return cls._open_file(Path(url.database or "").expanduser().absolute(), migrate)
        return cls._open_server(url, migrate)

    @classmethod
    def _open_file(cls, path: Path, migrate: bool) -> Database:
        upgrade.prepare_path(path)
        with _translated(str(path)):
            revision = upgrade.file_revision(path)
            pending = upgrade.pending(revision, str(path), migrate)
            if revision is not None and pending:
                upgrade.backup_before_upgrade(path)
            engine = sqlite_engine(path)
            try:
                _enter_wal(engine, path)
                if pending:
                    # Rebuilding a table (batch migration) with foreign keys on would cascade its deletes.
                    migrating = sqlite_engine(path, foreign_keys=False, pooled=False)
                    upgrade.run(migrating)
                    migrating.dispose()
            except BaseException:
                engine.dispose()
                raise
        return cls(engine, str(path), path)

    @classmethod
    def _open_server(cls, url: URL, migrate: bool) -> Database:
        where = url.render_as_string(hide_password=True)
        try:
            engine = postgres_engine(url)
        except ImportError:
            raise unavailable(
                where, "psycopg is missing", "run: pip install 'study-tutor[postgres]'"
            ) from None
        try:
            with _translated(where):
                with engine.connect() as connection:
                    if connection.scalar(text("SHOW server_encoding")) != "UTF8":
                        raise unavailable(where, "its encoding isn't UTF8", "create it with ENCODING 'UTF8'")
                    revision = upgrade.stored_revision(connection, where)
                if upgrade.pending(revision, where, migrate):
                    upgrade.run(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, where, None)

    @property
    def dialect(self) -> Literal["sqlite", "postgresql"]:
        return "postgresql" if self.path is None else "sqlite"

    @contextmanager
    def session(self, *, readonly: bool = False) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Raises DatabaseBusy, DatabaseUnavailable or DatabaseDamaged; an acknowledged commit is on disk.
        """
        session = (self._reading if readonly else self._writing)()
        try:
            with _translated(self.url_for_display, readonly=readonly):
                try:
                    yield session
                    session.commit()
                except BaseException:
                    with suppress(exc.SQLAlchemyError):  # the connection may be what failed
                        session.rollback()
                    raise
        finally:
            with suppress(exc.SQLAlchemyError):
                session.close()

    def close(self) -> None:
        """Close every connection that isn't in use."""
        self._engine.dispose()


def sqlite_engine(path: Path, *, foreign_keys: bool = True, pooled: bool = True) -> Engine:
    """An engine on a SQLite file through pysqlite3; the interpreter's own SQLite may have the WAL bug."""
    from pysqlite3 import dbapi2

    if dbapi2.sqlite_version_info < OLDEST_SQLITE:
        raise unavailable(
            str(path), f"SQLite {dbapi2.sqlite_version} is too old", "run: pip install -U pysqlite3"
        )
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        module=dbapi2,
        json_serializer=dump_json,
        **(_POOL if pooled else {"poolclass": NullPool}),
    )

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself; `begun` does
        connection.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA foreign_keys={int(foreign_keys)}")
        # The words of the full-text index, for `documents.vocabulary`: a view of its own for each connection.
        connection.execute("CREATE VIRTUAL TABLE temp.chunks_vocab USING fts5vocab(main, chunks_fts, row)")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        readonly = bool(connection.get_execution_options().get("readonly"))
        connection.exec_driver_sql(f"PRAGMA query_only={int(readonly)}")
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    return engine


def postgres_engine(url: URL) -> Engine:
    """An engine on PostgreSQL through psycopg 3; raises ImportError without it."""
    options = f"-c lock_timeout={int(BUSY_SECONDS * 1000)} -c timezone=UTC"
    return create_engine(
        url,
        json_serializer=dump_json,
        pool_pre_ping=True,
        connect_args={"options": options, "connect_timeout": 10, "application_name": "study-tutor"},
        **_POOL,
    )


@contextmanager
def _translated(where: str, *, readonly: bool = False) -> Iterator[None]:
    try:
        yield
    except DatabaseError:
        raise
    except exc.SQLAlchemyError as error:
        known = translate(error, where, readonly=readonly)
        if known is None:
            raise
        raise known from error


def _enter_wal(engine: Engine, path: Path) -> None:
    """WAL is kept in the file, so this changes something only once.

    SQLite doesn't wait for others with this change, whatever the busy timeout: of processes that start together on a
    new file, one makes it and the others ask again.
    """
    raw = engine.raw_connection()
    patience = time.monotonic() + BUSY_SECONDS
    mode = None
    try:
        while mode is None:
            try:
                mode = raw.cursor().execute("PRAGMA journal_mode=WAL").fetchone()[0]
            except Exception as error:
                wrapped = exc.DBAPIError("PRAGMA journal_mode=WAL", None, error, hide_parameters=True)
                known = translate(wrapped, str(path))
                if not isinstance(known, DatabaseBusy) or time.monotonic() > patience:
                    raise known or error from error
                time.sleep(0.05)
    finally:
        raw.close()
    if mode != "wal":
        raise unavailable(str(path), "this file system can't hold it safely", "choose a home on a local disk")


def _parse(url_or_path: str | Path) -> URL:
    if isinstance(url_or_path, Path) or "://" not in url_or_path:
        return URL.create("sqlite", database=str(url_or_path))
    try:
        url = make_url(url_or_path)
    except (exc.ArgumentError, ValueError):
        raise unavailable("URL", "it can't be read", "write postgresql://user:password@host/name") from None
    name = url.drivername.split("+")[0]
    if name == "sqlite" and url.database not in (None, "", ":memory:"):
        return url.set(drivername="sqlite")
    if name in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise unavailable(
        url.render_as_string(hide_password=True),
        "this kind isn't supported",
        "name a SQLite file or PostgreSQL URL",
    )
