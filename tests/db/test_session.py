"""Opening a database and sharing it: clear errors, one writer at a time, readers never in the way."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

import db.session
from db import documents, study
from db.documents import NewDocument
from db.errors import DatabaseBusy, DatabaseDamaged, DatabaseError, DatabaseUnavailable
from db.session import Database


@pytest.fixture
def impatient(
    database: Database, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Database:
    """The same database, opened with a short wait for the write lock."""
    monkeypatch.setattr(db.session, "BUSY_SECONDS", 0.3)
    other = Database.open(database.path or request.getfixturevalue("postgres_url"))
    yield other
    other.close()


def test_every_write_of_many_threads_counts_and_readers_see_whole_ones(database: Database) -> None:
    lock = "" if database.dialect == "sqlite" else " FOR UPDATE"
    failures: list[BaseException] = []
    writing = threading.Event()
    writing.set()
    with database.session() as session:
        study.learner(session, "0")

    def write() -> None:
        for _ in range(20):
            with database.session() as session:  # reads, then writes what it read plus one
                row = session.execute(text(f"SELECT name FROM learners{lock}")).one()
                session.execute(text("UPDATE learners SET name = :name"), {"name": str(int(row.name) + 1)})
                session.execute(text("UPDATE index_state SET version = version + 1"))

    def read() -> None:
        while writing.is_set():
            with database.session(readonly=True) as session:
                name = session.scalar(text("SELECT name FROM learners"))
                version = session.scalar(text("SELECT version FROM index_state"))
                assert int(name) == version  # one snapshot: never half of a transaction

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 (a thread's failure must reach the test)
                failures.append(error)

        return run

    writers = [threading.Thread(target=guarded(write)) for _ in range(6)]
    readers = [threading.Thread(target=guarded(read)) for _ in range(3)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    writing.clear()
    for thread in readers:
        thread.join()
    assert failures == []
    with database.session(readonly=True) as session:
        assert session.scalar(text("SELECT name FROM learners")) == "120"


def test_a_reader_does_not_wait_for_a_writer(
    impatient: Database, make_document: Callable[..., NewDocument]
) -> None:
    with impatient.session() as writer:
        documents.put_document(writer, make_document("Words."))
        began = time.monotonic()
        with impatient.session(readonly=True) as reader:
            assert documents.list_documents(reader) == []
        assert time.monotonic() - began < 0.2
    with impatient.session(readonly=True) as reader:
        assert len(documents.list_documents(reader)) == 1


def test_a_second_writer_waits_then_is_told(impatient: Database) -> None:
    with impatient.session() as first:
        first.execute(text("UPDATE index_state SET version = 5"))
        began = time.monotonic()
        with pytest.raises(DatabaseBusy, match="another task") as caught, impatient.session() as second:
            second.execute(text("UPDATE index_state SET version = 6"))
        assert 0.25 < time.monotonic() - began < 3
        assert "\n" not in str(caught.value)
        release = threading.Timer(0.1, first.commit)
        release.start()
        with impatient.session() as third:  # and one that waits less than the limit gets its turn
            third.execute(text("UPDATE index_state SET version = version + 2"))
        release.join()
    with impatient.session(readonly=True) as session:
        assert documents.index_version(session) == 7


def test_a_readonly_session_can_not_write(database: Database) -> None:
    with pytest.raises(SQLAlchemyError), database.session(readonly=True) as session:
        study.learner(session, "me")
    with database.session() as session:  # the connection writes again afterwards
        assert study.learner(session, "me").name == "me"


def test_sqlite_is_set_up_to_keep_what_it_acknowledges(sqlite_database: Database) -> None:
    with sqlite_database.session() as session:
        pragmas = {
            name: session.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
        version = session.scalar(text("SELECT sqlite_version()"))
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10000}
    assert tuple(map(int, version.split("."))) >= (3, 51, 3)


def _zero_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:8192] = b"\xff" * (8192 - 100)
    path.write_bytes(data)


def _other_program(path: Path) -> None:
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE places (id)')"
    subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True
    )  # its own process: never two SQLites in one


BROKEN: dict[str, tuple[Callable[[Path], object], type[DatabaseError], str]] = {
    "a folder": (lambda path: path.mkdir(), DatabaseUnavailable, "is a folder"),
    "text": (lambda path: path.write_text("not a database\n" * 99), DatabaseDamaged, "not a SQLite database"),
    "damaged": (lambda path: (Database.open(path).close(), _zero_pages(path)), DatabaseDamaged, "backup"),
    "cut": (lambda path: path.write_bytes(b"SQLite format 3\0" + b"\0" * 20), DatabaseDamaged, "backup"),
    "another program's": (_other_program, DatabaseUnavailable, "another program"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_database_of_ours_is_left_alone(tmp_path: Path, kind: str) -> None:
    make, error, words = BROKEN[kind]
    path = tmp_path / "study.sqlite3"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(error, match=words) as caught:
        Database.open(path)
    assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.is_file() else b"") == before


@pytest.mark.parametrize("url", [
    "/proc/nowhere/study.sqlite3",
    "{file}/below-a-file/study.sqlite3",
    "sqlite://",
    "mysql://me:secret@localhost/x",
    "postgresql://me:secret@127.0.0.1:1/x",
    "postgresql://me:secret@127.0.0.1:not-a-port/x",
])  # fmt: skip
def test_what_can_not_be_opened_is_said_in_one_line(tmp_path: Path, url: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatabaseUnavailable, match="Please") as caught:
        Database.open(url.format(file=tmp_path / "file"))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db.session, "OLDEST_SQLITE", (4, 0, 0))
    with pytest.raises(DatabaseUnavailable, match="too old"):
        Database.open(tmp_path / "study.sqlite3")


def test_a_full_disk_is_said_and_nothing_is_kept(sqlite_database: Database) -> None:
    def fill() -> None:
        with sqlite_database.session() as session:
            pages = session.scalar(text("PRAGMA page_count"))
            session.execute(text(f"PRAGMA max_page_count={pages}"))
            for number in range(1000):
                study.learner(session, f"{number}" * 500)

    with pytest.raises(DatabaseUnavailable, match="disk is full"):
        fill()
    with sqlite_database.session(readonly=True) as session:
        assert session.scalar(text("SELECT count(*) FROM learners")) == 0


def test_the_password_is_not_displayed(postgres_url: str) -> None:
    database = Database.open(postgres_url.replace("postgres:@", "postgres:secret@"))
    assert database.dialect == "postgresql"
    assert "secret" not in database.url_for_display
    database.close()


def test_opening_a_current_database_is_light(new_sqlite_file: Path, tmp_path: Path) -> None:
    """Alembic stays unimported, and so does the interpreter's own SQLite."""
    path = shutil.copy(new_sqlite_file, tmp_path / "study.sqlite3")
    code = (
        "import sys\n"
        "from db import conversations, documents, feedback, maintenance, portable, quizzes, registry, reviews, study\n"
        "from db.session import Database\n"
        "database = Database.open(sys.argv[1])\n"
        "with database.session() as session: study.learner(session, 'me')\n"
        "print([name for name in ('alembic', 'sqlite3', '_sqlite3', 'numpy', 'psycopg') if name in sys.modules])\n"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert out.stdout == "[]\n"
