"""Is what is stored sound? Says what is wrong and where; changes nothing and repairs nothing."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from sqlalchemy import exc, func, or_, select, text
from sqlalchemy.orm import Session

from db import upgrade
from db.errors import DatabaseBusy, DatabaseError
from db.models import Base, ChunkRow, DocumentRow, IndexStateRow
from db.session import Database

_SHOWN = 5  # problems of one kind that are listed before "and N more"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """`problems` are one line each; `counts` has the number of rows of every table that could be read."""

    ok: bool
    problems: tuple[str, ...]
    counts: dict[str, int]


def check(database: Database) -> CheckReport:
    """Check the file itself, its references, and that documents, chunks, vectors and full text fit together.

    What can't be read is a problem in the report, not an exception. Raises DatabaseBusy.
    """
    problems: list[str] = []
    counts: dict[str, int] = {}
    steps: list[Callable[[Session], Iterator[str]]] = [_schema, _documents, _chunks, _vectors]
    if database.dialect == "sqlite":
        steps = [_pages, _references, *steps]
    steps += [partial(_count, counts, name) for name in Base.metadata.tables]
    for step in steps:
        problems += _run(database, step)
    if database.dialect == "sqlite":
        problems += _run(database, _full_text, readonly=False)
    unique = tuple(dict.fromkeys(problems))
    return CheckReport(ok=not unique, problems=unique, counts=counts)


def _run(database: Database, step: Callable[[Session], Iterator[str]], *, readonly: bool = True) -> list[str]:
    try:
        with database.session(readonly=readonly) as session:
            found = list(step(session))
    except DatabaseBusy:
        raise
    except (DatabaseError, exc.SQLAlchemyError) as error:
        return [" ".join(str(getattr(error, "orig", None) or error).split())]
    if len(found) > _SHOWN:
        found[_SHOWN:] = [f"... and {len(found) - _SHOWN} more like these"]
    return found


def _pages(session: Session) -> Iterator[str]:
    for line in session.scalars(text("PRAGMA integrity_check(20)")):
        if line != "ok":
            yield f"file: {' '.join(line.split())}"


def _references(session: Session) -> Iterator[str]:
    for row in session.execute(text("PRAGMA foreign_key_check")):
        yield f"references: row {row[1]} of {row[0]} names a missing row of {row[2]}"


def _schema(session: Session) -> Iterator[str]:
    revision = session.scalar(text(f"SELECT version_num FROM {upgrade.VERSION_TABLE}"))
    if revision != upgrade.HEAD:
        yield f"schema: revision {revision}, this version knows {upgrade.HEAD}"
    if len(session.scalars(select(IndexStateRow.version)).all()) != 1:
        yield "index state: its one row is missing; restore a backup"


def _documents(session: Session) -> Iterator[str]:
    count, last = func.count(ChunkRow.id), func.max(ChunkRow.ordinal)
    longest = func.max(ChunkRow.end_at)
    size = func.length(DocumentRow.text)
    statement = (
        select(DocumentRow.source, DocumentRow.path, count.label("count"), last.label("last"))
        .outerjoin(ChunkRow)
        .group_by(DocumentRow.id)
        .having(or_(count == 0, last + 1 != count, longest > size))
        .order_by(DocumentRow.id)
    )
    for row in session.execute(statement):
        yield f"document {row.path} in {row.source}: its chunks are incomplete ({row.count}); ingest it again"


def _chunks(session: Session) -> Iterator[str]:
    orphans = select(ChunkRow.id).outerjoin(DocumentRow).where(DocumentRow.id.is_(None))
    for chunk_id in session.scalars(orphans):
        yield f"chunk {chunk_id}: its document is missing"


def _vectors(session: Session) -> Iterator[str]:
    statement = select(
        ChunkRow.id,
        ChunkRow.vector,
        ChunkRow.sentence_vectors,
        ChunkRow.sentences,
        DocumentRow.dimension,
        DocumentRow.path,
    ).join(DocumentRow)
    for row in session.execute(statement.execution_options(yield_per=500)):
        where = f"chunk {row.id} of {row.path}"
        if len(row.vector) != 4 * row.dimension:
            yield f"{where}: its vector has {len(row.vector)} bytes, not {4 * row.dimension}; ingest it again"
        elif len(row.sentence_vectors) != 4 * row.dimension * len(row.sentences):
            yield f"{where}: its sentence vectors don't fit its {len(row.sentences)} sentences; ingest it again"
        elif not (_finite(row.vector) and _finite(row.sentence_vectors)):
            yield f"{where}: its vectors hold values that are no numbers; ingest it again"


def _finite(vectors: bytes) -> bool:
    values = array("f", vectors)
    if sys.byteorder == "big":
        values.byteswap()
    return math.isfinite(sum(values))


def _full_text(session: Session) -> Iterator[str]:
    for id_, state in session.execute(text(_OUT_OF_STEP)):
        yield f"full text: chunk {id_} is {state}; ingest its document again"
    try:
        # A command in the form of an INSERT: rank 1 compares the index with the text of every chunk.
        session.execute(text("INSERT INTO chunks_fts(chunks_fts, rank) VALUES ('integrity-check', 1)"))
    except exc.DatabaseError as error:
        yield f"full text: the index doesn't match the chunks ({error.orig}); ingest the documents again"


_OUT_OF_STEP = """
SELECT id, 'not indexed' FROM chunks WHERE id NOT IN (SELECT id FROM chunks_fts_docsize)
UNION ALL SELECT id, 'indexed but gone' FROM chunks_fts_docsize WHERE id NOT IN (SELECT id FROM chunks)
"""


def _count(counts: dict[str, int], table: str, session: Session) -> Iterator[str]:
    counts[table] = session.scalars(select(func.count()).select_from(Base.metadata.tables[table])).one()
    yield from ()
