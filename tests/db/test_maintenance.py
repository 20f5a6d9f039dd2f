"""`check` finds damage of each kind, names it, and finds none in a sound database."""

from __future__ import annotations

from collections.abc import Callable
from struct import pack

import pytest
from sqlalchemy import text

from db import documents
from db.documents import NewDocument
from db.maintenance import check
from db.session import Database

Make = Callable[..., NewDocument]


@pytest.fixture
def filled(database: Database, make_document: Make) -> Database:
    with database.session() as session:
        for number in range(3):
            document = make_document(*(f"Words of part {part}." for part in range(4)), path=f"{number}.md")
            documents.put_document(session, document)
    return database


def test_a_sound_database_is_ok(filled: Database) -> None:
    report = check(filled)
    assert report.problems == ()
    assert report.ok
    assert (report.counts["documents"], report.counts["chunks"], report.counts["turns"]) == (3, 12, 0)


DAMAGE = {
    "short vector": (
        "UPDATE chunks SET vector = :four WHERE id = 5",
        "chunk 5 of 1.md: its vector has 4 bytes, not 8",
    ),
    "sentence vectors": (
        "UPDATE chunks SET sentence_vectors = :four WHERE id = 6",
        "chunk 6 of 1.md: its sentence",
    ),
    "not a number": ("UPDATE chunks SET vector = :nan WHERE id = 7", "chunk 7 of 1.md: its vectors hold"),
    "lost chunk": ("DELETE FROM chunks WHERE id = 2", "document 0.md in course: its chunks are incomplete"),
    "lost chunks": (
        "DELETE FROM chunks WHERE document_id = 3",
        "document 2.md in course: its chunks are incomplete",
    ),
    "cut text": ("UPDATE documents SET text = 'W' WHERE id = 2", "document 1.md in course: its chunks"),
    "index state": ("DELETE FROM index_state", "index state: its one row is missing"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_does_not_fit_together_is_named(filled: Database, kind: str) -> None:
    statement, expected = DAMAGE[kind]
    values = {"four": b"\0\0\0\0", "nan": pack("<2f", 1.0, float("nan"))}
    with filled.session() as session:
        session.execute(
            text(statement), {name: value for name, value in values.items() if f":{name}" in statement}
        )
    report = check(filled)
    assert not report.ok
    assert len(report.problems) == 1
    assert report.problems[0].startswith(expected)


UNINDEX = (
    "INSERT INTO chunks_fts(chunks_fts, rowid, search_text) "
    "SELECT 'delete', id, search_text FROM chunks WHERE id = 4"
)
SQLITE_DAMAGE = {
    "full-text row removed": (
        UNINDEX,
        "full text: chunk 4 is not indexed",
    ),
    "full-text row left over": (
        "INSERT INTO chunks_fts(rowid, search_text) VALUES (77, 'ghost')",
        "full text: chunk 77 is indexed but gone",
    ),
    "other words indexed": (
        f"{UNINDEX}; INSERT INTO chunks_fts(rowid, search_text) VALUES (4, 'other words')",
        "full text: the index doesn't match the chunks",
    ),
    "orphan": (
        "PRAGMA foreign_keys=0; DELETE FROM documents WHERE id = 1",
        "references: row 1 of chunks names a missing row of documents",
    ),
}


@pytest.mark.parametrize("kind", SQLITE_DAMAGE)
def test_damage_that_only_sqlite_can_have_is_named(
    sqlite_database: Database, make_document: Make, kind: str
) -> None:
    with sqlite_database.session() as session:
        documents.put_document(session, make_document(*(f"Words of part {part}." for part in range(4))))
    statements, expected = SQLITE_DAMAGE[kind]
    raw = sqlite_database._engine.raw_connection()  # outside a transaction, as the pragma needs
    for statement in statements.split(";"):
        raw.cursor().execute(statement)
    raw.invalidate()
    report = check(sqlite_database)
    assert not report.ok
    assert report.problems[0].startswith(expected)


def test_flipped_bytes_in_the_file_are_found(sqlite_database: Database, make_document: Make) -> None:
    with sqlite_database.session() as session:
        for number in range(40):
            documents.put_document(session, make_document("Words. " * 200, path=f"{number}.md"))
        pages = "SELECT rootpage FROM sqlite_master WHERE name = 'chunks'"
        root, size = session.scalar(text(pages)), session.scalar(text("PRAGMA page_size"))
    path = sqlite_database.path
    assert path is not None
    sqlite_database.close()  # the log is folded into the file
    data = bytearray(path.read_bytes())
    for offset in range((root - 1) * size, (root - 1) * size + 64):
        data[offset] ^= 0xFF
    path.write_bytes(data)
    database = Database.open(path)
    report = check(database)
    database.close()
    assert not report.ok
    assert any(problem.startswith("file: ") for problem in report.problems)
    assert all("\n" not in problem for problem in report.problems)
    assert report.counts["documents"] == 40  # what can be read still is
