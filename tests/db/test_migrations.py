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

from db import conversations, quizzes, study, upgrade
from db.errors import DatabaseUnavailable, SchemaTooNew
from db.maintenance import check
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
    keys: list[Any]
    for table in Base.metadata.tables:
        columns = [
            (column["name"], str(column["type"]), column["nullable"], column["default"])
            for column in look.get_columns(table)
            if column["name"] != "search_vector"
        ]
        checks = sorted(
            (check["name"] or "", check["sqltext"]) for check in look.get_check_constraints(table)
        )
        if connection.dialect.name == "sqlite":  # SQLAlchemy doesn't read keys that came with a new column
            listed = connection.execute(text(f"PRAGMA foreign_key_list({table})"))
            keys = sorted((row[3], row[2], row[4], row[5], row[6]) for row in listed)
        else:
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
        if kind == "foreign_key_constraint":
            return False  # `_schema` compares them, with their ON DELETE
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
                assert ("AUTOINCREMENT" in sql) == (
                    name not in ("index_state", "feedback_requests", "dataset_items")
                ), name


@pytest.fixture
def next_migration(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend that a later version has one more migration, which rebuilds a table others refer to."""
    folder = tmp_path_factory.mktemp("later")
    (folder / "0004_later.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        "revision, down_revision = '0004', '0003'\n"
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
    monkeypatch.setattr(upgrade, "REVISIONS", ("0001", "0002", "0003", "0004"))
    monkeypatch.setattr(upgrade, "HEAD", "0004")
    return folder / "0004_later.py"


@pytest.fixture(params=["sqlite", "postgresql"])
def first_schema(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a database of the first released schema is, with one row of all that the second one changes."""
    where = str(tmp_path / "study.sqlite3")
    if request.param == "postgresql":
        url = make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql+psycopg")
        with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text("CREATE DATABASE first_schema"))
        where = url.set(database="first_schema").render_as_string(hide_password=False)
    with monkeypatch.context() as earlier:
        earlier.setattr(upgrade, "REVISIONS", ("0001",))
        earlier.setattr(upgrade, "HEAD", "0001")
        database = Database.open(where)
    with database.session() as session:
        at = "'2025-01-01 00:00:00.000000'"
        blank = ", ".join(["'[]'"] * 8)
        for statement in (
            f"INSERT INTO learners (name, created_at) VALUES ('me', {at})",
            "INSERT INTO conversations (learner_id, title, created_at, updated_at) "
            f"VALUES (1, 'kept', {at}, {at})",
            "INSERT INTO turns (conversation_id, learner_id, ordinal, status, question, query, draft, answer, "
            "messages, sentences, citations, passages, follow_ups, timings_ms, tokens, model, created_at) "
            f"VALUES (1, 1, 0, 'interrupted', 'Kept?', '', '', '', {blank}, {at})",
            "INSERT INTO quiz_attempts (learner_id, request_id, page, question_key, question, verdict, score, "
            "key_points, concepts, grader, created_at) "
            f"VALUES (1, 'r-1', 'p.md', 'p.md#q-1', 'Why?', 'partial', 0.5, '[]', '[\"loss\"]', 'g', {at})",
            "INSERT INTO study_events (learner_id, kind, ref, seconds, data, at) "
            f"VALUES (1, 'quiz', '1', 9, '{{}}', {at})",
        ):
            session.connection().exec_driver_sql(statement)
    database.close()
    return where


def test_what_the_first_schema_held_is_kept_by_the_second(first_schema: str) -> None:
    database = Database.open(first_schema)
    with database.session() as session:
        turn = conversations.get_turn(session, 1)
        assert turn is not None
        assert (turn.question, turn.socratic) == ("Kept?", None)
        attempt = quizzes.get_attempt(session, 1, 1)
        assert attempt is not None
        assert (attempt.request_id, attempt.concepts, attempt.score) == ("r-1", ["loss"], 0.5)
        assert (attempt.reference, attempt.quiz_id, attempt.counted) == ("", None, "partial")
        assert [event.seconds for event in study.events(session, 1)] == [9.0]
        at = attempt.created_at
        quiz = quizzes.start_quiz(session, 1, kind="due", page=None, title="Due", items=[], at=at)
        session.execute(text("UPDATE quiz_attempts SET quiz_id = :id"), {"id": quiz.id})
        session.execute(text("DELETE FROM quizzes"))
        session.expire_all()
        assert (
            quizzes.get_attempt(session, 1, 1) == attempt
        )  # the reference was set to NULL, not the row deleted
    assert check(database).problems == ()
    database.close()


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
    tmp_path: Path, new_sqlite_file: Path, next_migration: Path
) -> None:
    path = _used(tmp_path / "study.sqlite3", new_sqlite_file)
    with pytest.raises(DatabaseUnavailable, match="older schema 0003"):
        Database.open(path, migrate=False)
    assert list(tmp_path.glob("*before*")) == []
    database = Database.open(path)
    with database.session() as session:
        assert session.execute(text("SELECT name, colour FROM learners")).all() == [("me", None)]
        # Rebuilding learners with foreign keys on would have deleted this row.
        assert session.scalar(text("SELECT title FROM conversations")) == "kept"
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
    database.close()
    (backup,) = tmp_path.glob("study.before-0004-*.sqlite3")
    assert upgrade.file_revision(backup) == "0003"
    engine = sqlite_engine(backup)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT title FROM conversations")) == "kept"
    engine.dispose()
    Database.open(path).close()  # current now: no second backup
    assert len(list(tmp_path.glob("*before*"))) == 1


def test_a_failing_migration_changes_nothing(
    tmp_path: Path, new_sqlite_file: Path, next_migration: Path
) -> None:
    next_migration.write_text(next_migration.read_text().replace("    pass", "    1 / 0"))
    path = _used(tmp_path / "study.sqlite3", new_sqlite_file)
    with pytest.raises(ZeroDivisionError):
        Database.open(path)
    assert upgrade.file_revision(path) == "0003"
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
