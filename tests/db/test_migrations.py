"""Migrations: they give exactly the tables of the models, keep a backup, and refuse what is newer."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, inspect, make_url, text

from db import study, upgrade
from db.errors import DatabaseUnavailable, SchemaTooNew
from db.models import Base
from db.session import Database, postgres_engine, sqlite_engine


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_constants_name_alembics_own_revisions() -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(upgrade.alembic_config())
    assert [revision.revision for revision in script.walk_revisions()][::-1] == list(upgrade.REVISIONS)
    assert script.get_heads() == [upgrade.HEAD]


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_and_created(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    """A database made by the migrations, and one made from the models."""
    if request.param == "sqlite":
        Database.open(tmp_path / "a.sqlite3").close()
        engines = sqlite_engine(tmp_path / "a.sqlite3"), sqlite_engine(tmp_path / "b.sqlite3")
    else:
        url = make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql+psycopg")
        server = create_engine(url, isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            for name in ("migrated", "created"):
                connection.execute(text(f"CREATE DATABASE {name}"))
        Database.open(url.set(database="migrated").render_as_string(hide_password=False)).close()
        engines = postgres_engine(url.set(database="migrated")), postgres_engine(url.set(database="created"))
    Base.metadata.create_all(engines[1])
    yield engines
    for engine in engines:
        engine.dispose()


def _schema(connection: Connection) -> dict[str, Any]:
    """Everything that both engines can tell about the tables of the models."""
    look = inspect(connection)
    schema: dict[str, Any] = {}
    for table in Base.metadata.tables:
        columns = [
            (column["name"], str(column["type"]), column["nullable"], column["default"])
            for column in look.get_columns(table)
            if column["name"] != "search_vector"
        ]
        checks = sorted(
            (check["name"] or "", check["sqltext"]) for check in look.get_check_constraints(table)
        )
        keys = sorted(
            (key["name"] or "", key["constrained_columns"], key["referred_table"], key["options"])
            for key in look.get_foreign_keys(table)
        )
        unique = sorted(
            (one["name"] or "", one["column_names"]) for one in look.get_unique_constraints(table)
        )
        indexes = sorted(
            (index["name"] or "", index["column_names"], index["unique"])
            for index in look.get_indexes(table)
            if index["name"] != "ix_chunks_search_vector"
        )
        schema[table] = columns, look.get_pk_constraint(table), checks, keys, unique, indexes
    return schema


def test_the_migrated_tables_are_those_of_the_models(migrated_and_created: tuple[Engine, Engine]) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    migrated, created = migrated_and_created

    def include(_object: Any, name: str, kind: str, _reflected: bool, _to: Any) -> bool:
        return not name.startswith(("chunks_fts", "ix_chunks_search_vector", "search_vector"))

    with migrated.connect() as ours, created.connect() as theirs:
        options = {"version_table": upgrade.VERSION_TABLE, "include_object": include}
        context = MigrationContext.configure(ours, opts=options)
        assert compare_metadata(context, Base.metadata) == []
        ours_schema, theirs_schema = _schema(ours), _schema(theirs)
        for table in theirs_schema:  # checks, names and ON DELETE too, which Alembic doesn't compare
            assert ours_schema[table] == theirs_schema[table], table
        if migrated.dialect.name == "sqlite":
            listing = (
                "SELECT name, replace(sql, ' ', '') FROM sqlite_master WHERE type = 'table' AND name IN "
            )
            names = ", ".join(f"'{name}'" for name in Base.metadata.tables)
            for name, sql in ours.execute(text(f"{listing} ({names})")):
                assert ("AUTOINCREMENT" in sql) == (name not in ("index_state", "feedback_requests")), name


@pytest.fixture
def second_migration(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend that a later version has one more migration, which rebuilds a table others refer to."""
    folder = tmp_path_factory.mktemp("later")
    (folder / "0002_later.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        "revision, down_revision = '0002', '0001'\n"
        "def upgrade():\n"
        "    with op.batch_alter_table('learners', recreate='always') as table:\n"
        "        table.add_column(sa.Column('colour', sa.Text(), nullable=True))\n"
        "    pass\n"
    )
    plain = upgrade.alembic_config

    def config() -> Any:
        made = plain()
        own = Path(upgrade.__file__).parent / "migrations" / "versions"
        made.set_main_option("version_locations", f"{own}{os.pathsep}{folder}")
        return made

    monkeypatch.setattr(upgrade, "alembic_config", config)
    monkeypatch.setattr(upgrade, "REVISIONS", ("0001", "0002"))
    monkeypatch.setattr(upgrade, "HEAD", "0002")
    return folder / "0002_later.py"


def _used(path: Path, new_sqlite_file: Path) -> Path:
    shutil.copy(new_sqlite_file, path)
    engine = sqlite_engine(path)
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO learners (name, created_at) VALUES ('me', '2025-01-01 00:00:00.000000')")
        )
        connection.execute(
            text(
                "INSERT INTO conversations (learner_id, title, created_at, updated_at) "
                "VALUES (1, 'kept', '2025-01-01 00:00:00.000000', '2025-01-01 00:00:00.000000')"
            )
        )
    engine.dispose()
    return path


def test_an_older_database_is_copied_then_migrated(
    tmp_path: Path, new_sqlite_file: Path, second_migration: Path
) -> None:
    path = _used(tmp_path / "study.sqlite3", new_sqlite_file)
    with pytest.raises(DatabaseUnavailable, match="older schema 0001"):
        Database.open(path, migrate=False)
    assert list(tmp_path.glob("*before*")) == []
    database = Database.open(path)
    with database.session() as session:
        assert session.execute(text("SELECT name, colour FROM learners")).all() == [("me", None)]
        # Rebuilding learners with foreign keys on would have deleted this row.
        assert session.scalar(text("SELECT title FROM conversations")) == "kept"
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
    database.close()
    (backup,) = tmp_path.glob("study.before-0002-*.sqlite3")
    assert upgrade.file_revision(backup) == "0001"
    engine = sqlite_engine(backup)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT title FROM conversations")) == "kept"
    engine.dispose()
    Database.open(path).close()  # current now: no second backup
    assert len(list(tmp_path.glob("*before*"))) == 1


def test_a_failing_migration_changes_nothing(
    tmp_path: Path, new_sqlite_file: Path, second_migration: Path
) -> None:
    second_migration.write_text(second_migration.read_text().replace("    pass", "    1 / 0"))
    path = _used(tmp_path / "study.sqlite3", new_sqlite_file)
    with pytest.raises(ZeroDivisionError):
        Database.open(path)
    assert upgrade.file_revision(path) == "0001"
    engine = sqlite_engine(path)
    with engine.connect() as connection:
        assert "colour" not in {column["name"] for column in inspect(connection).get_columns("learners")}
        assert connection.scalar(text("SELECT title FROM conversations")) == "kept"
    engine.dispose()


@pytest.mark.parametrize("live", [False, True], ids=["closed", "with a log from a crash"])
def test_a_newer_schema_is_refused_without_touching_a_byte(
    tmp_path: Path, new_sqlite_file: Path, live: bool
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(new_sqlite_file, source / "study.sqlite3")
    engine = sqlite_engine(source / "study.sqlite3")
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {upgrade.VERSION_TABLE} SET version_num = '9999'"))
    if not live:
        engine.dispose()
    home = tmp_path / "home"
    home.mkdir()
    for file in source.iterdir():
        if not file.name.endswith("-shm"):
            shutil.copy(file, home)
    engine.dispose()
    assert len(list(home.iterdir())) == (2 if live else 1)
    before = _hashes(home)
    for _ in range(2):
        with pytest.raises(SchemaTooNew, match="9999") as caught:
            Database.open(home / "study.sqlite3")
        assert "\n" not in str(caught.value)
    after = {name: digest for name, digest in _hashes(home).items() if not name.endswith("-shm")}
    assert after | before == after
    assert all(
        digest == hashlib.sha256(b"").hexdigest() for name, digest in after.items() if name not in before
    )


def test_a_newer_schema_is_refused_on_postgres(postgres_database: Database, postgres_url: str) -> None:
    for revision, expected in (("9999", pytest.raises(SchemaTooNew, match="9999")), (upgrade.HEAD, None)):
        with postgres_database.session() as session:
            session.execute(text(f"UPDATE {upgrade.VERSION_TABLE} SET version_num = :new"), {"new": revision})
        if expected is not None:
            with expected:
                Database.open(postgres_url)
    Database.open(postgres_url).close()


def test_processes_that_start_together_make_one_database(tmp_path: Path) -> None:
    path = tmp_path / "new" / "study.sqlite3"
    code = (
        "import sys; from db import study; from db.session import Database\n"
        "database = Database.open(sys.argv[1])\n"
        "with database.session() as session: print(study.learner(session, 'me').id)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    rivals = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    results = [rival.communicate(timeout=60) for rival in rivals]
    assert results == [("1\n", "")] * 3
    database = Database.open(path)
    with database.session(readonly=True) as session:
        assert study.learner(session, "me").id == 1
    database.close()
