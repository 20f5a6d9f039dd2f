"""Documents, their chunks and vectors, and full-text search over the chunks.

Vectors are opaque here: float32, little-endian, as the embedder's rows; `sentence_vectors` holds one row a
sentence. Comparing vectors and fusing rankings is left to `retrieval`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from db.models import ChunkRow, DocumentRow, IndexStateRow
from db.statements import batches, insert_for
from db.types import clean_text, utc_now

MAX_TERMS = 100


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to store. `sentences`: (start, end, text, kind), offsets into the document's text."""

    ordinal: int
    heading_path: tuple[str, ...]
    start: int
    end: int
    text: str
    search_text: str
    sentences: tuple[tuple[int, int, str, str], ...]
    vector: bytes
    sentence_vectors: bytes


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to store, with all its chunks and the embedder (of `dimension`) that made their vectors."""

    source: str
    path: str
    title: str
    media_type: str
    content_hash: str
    text: str
    meta: Mapping[str, Any]
    chunks: tuple[NewChunk, ...]
    embedder: str
    dimension: int


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A stored document; `text` is "" where a list was asked for without texts."""

    id: int
    source: str
    path: str
    title: str
    media_type: str
    content_hash: str
    text: str
    meta: dict[str, Any]
    chunk_count: int
    embedder: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A stored chunk, with what a reader needs to know of its document."""

    id: int
    document_id: int
    source: str
    path: str
    title: str
    ordinal: int
    heading_path: tuple[str, ...]
    start: int
    end: int
    text: str
    sentences: tuple[tuple[int, int, str, str], ...]
    vector: bytes
    sentence_vectors: bytes
    embedder: str


def put_document(session: Session, document: NewDocument) -> StoredDocument:
    """Insert the document, or replace the one of the same (source, path) with all its chunks, keeping its id.

    Raises ValueError if a vector's length doesn't fit `dimension` or the number of sentences.
    """
    _check_vectors(document)
    now = utc_now()
    values: dict[str, Any] = {
        "title": document.title,
        "media_type": document.media_type,
        "content_hash": document.content_hash,
        "text": document.text,
        "meta": dict(document.meta),
        "embedder": document.embedder,
        "dimension": document.dimension,
        "updated_at": now,
    }
    statement = insert_for(session, DocumentRow).values(
        source=document.source, path=document.path, created_at=now, **values
    )
    document_id = session.scalar(
        statement.on_conflict_do_update(index_elements=["source", "path"], set_=values).returning(
            DocumentRow.id
        )
    )
    assert document_id is not None
    session.execute(delete(ChunkRow).where(ChunkRow.document_id == document_id))
    if document.chunks:
        session.execute(insert(ChunkRow), [_chunk_values(document_id, chunk) for chunk in document.chunks])
    _bump(session)
    stored = get_document(session, document_id)
    assert stored is not None
    return stored


def copy_documents(source: Session, target: Session, embedder: str) -> int:
    """Put every document that `embedder` made vectors for into another database too; how many there were."""
    listed = source.execute(select(DocumentRow.__table__).where(DocumentRow.embedder == embedder)).all()
    for row in listed:
        chunks = source.execute(select(ChunkRow.__table__).where(ChunkRow.document_id == row.id))
        document = NewDocument(
            **{
                field.name: getattr(row, field.name)
                for field in fields(NewDocument)
                if field.name != "chunks"
            },
            chunks=tuple(
                NewChunk(
                    ordinal=chunk.ordinal,
                    heading_path=tuple(chunk.heading_path),
                    start=chunk.start_at,
                    end=chunk.end_at,
                    text=chunk.text,
                    search_text=chunk.search_text,
                    sentences=tuple(tuple(sentence) for sentence in chunk.sentences),
                    vector=chunk.vector,
                    sentence_vectors=chunk.sentence_vectors,
                )
                for chunk in chunks
            ),
        )
        put_document(target, document)
    return len(listed)


def delete_document(session: Session, document_id: int) -> bool:
    """Delete a document with its chunks; they can't be found any more. False if there was none."""
    found = session.scalar(delete(DocumentRow).where(DocumentRow.id == document_id).returning(DocumentRow.id))
    if found is not None:
        _bump(session)
    return found is not None


def delete_source(session: Session, source: str, keep_paths: Collection[str] | None = None) -> list[str]:
    """Delete every document of `source` whose path isn't in `keep_paths`; return their paths, sorted."""
    keep = {clean_text(path) for path in keep_paths or ()}
    rows = session.execute(select(DocumentRow.id, DocumentRow.path).where(DocumentRow.source == source)).all()
    gone = [(row.id, row.path) for row in rows if row.path not in keep]
    for batch in batches(gone):
        session.execute(delete(DocumentRow).where(DocumentRow.id.in_([row_id for row_id, _ in batch])))
    if gone:
        _bump(session)
    return sorted(path for _, path in gone)


def list_documents(
    session: Session, source: str | None = None, *, with_text: bool = False
) -> list[StoredDocument]:
    """All documents, or those of one source, by source and path. Texts are left out unless asked for."""
    statement = _documents(with_text).order_by(DocumentRow.source, DocumentRow.path)
    if source is not None:
        statement = statement.where(DocumentRow.source == source)
    return [_document(row) for row in session.execute(statement)]


def get_document(session: Session, document_id: int) -> StoredDocument | None:
    """The document with its text, or None."""
    row = session.execute(_documents().where(DocumentRow.id == document_id)).one_or_none()
    return None if row is None else _document(row)


def find_document(session: Session, source: str, path: str) -> StoredDocument | None:
    """The document of this source and path with its text, or None."""
    statement = _documents().where(DocumentRow.source == source, DocumentRow.path == path)
    row = session.execute(statement).one_or_none()
    return None if row is None else _document(row)


def text_between(session: Session, document_id: int, start: int, end: int) -> str:
    """The document's text from `start` to `end` (character offsets); "" where there is no such document."""
    part = func.substr(DocumentRow.text, start + 1, end - start)
    return session.scalar(select(part).where(DocumentRow.id == document_id)) or ""


def document_hashes(session: Session, source: str) -> dict[str, tuple[str, str]]:
    """path -> (content hash, embedder) of every document of `source`: what ingest compares."""
    statement = select(DocumentRow.path, DocumentRow.content_hash, DocumentRow.embedder)
    rows = session.execute(statement.where(DocumentRow.source == source))
    return {row.path: (row.content_hash, row.embedder) for row in rows}


def index_version(session: Session) -> int:
    """A number that grows with every put or delete, in the same transaction."""
    return session.scalars(select(IndexStateRow.version)).one()


def all_vectors(session: Session, embedder: str) -> list[tuple[int, bytes]]:
    """(chunk id, vector) of every chunk that `embedder` made, by id."""
    statement = select(ChunkRow.id, ChunkRow.vector).join(DocumentRow).where(DocumentRow.embedder == embedder)
    return [(row[0], row[1]) for row in session.execute(statement.order_by(ChunkRow.id)).all()]


def get_chunks(session: Session, ids: Iterable[int]) -> list[StoredChunk]:
    """The chunks of these ids, in the order asked; ids that are gone are left out."""
    wanted = list(ids)
    found: dict[int, StoredChunk] = {}
    for batch in batches(wanted):
        for row in session.execute(_chunks().where(ChunkRow.id.in_(batch))):
            found[row.id] = _chunk(row)
    return [found[chunk_id] for chunk_id in wanted if chunk_id in found]


def chunk_texts(session: Session, ids: Sequence[int]) -> list[str]:
    """The texts alone of these chunks, in the order asked; ids that are gone are left out."""
    rows = session.execute(select(ChunkRow.id, ChunkRow.text).where(ChunkRow.id.in_(ids))).all()
    found = {row.id: row.text for row in rows}
    return [found[chunk_id] for chunk_id in ids if chunk_id in found]


def get_chunk_by_ordinal(session: Session, document_id: int, ordinal: int) -> StoredChunk | None:
    """The chunk at this place of a document, or None: neighbours are at `ordinal` - 1 and + 1."""
    statement = _chunks().where(ChunkRow.document_id == document_id, ChunkRow.ordinal == ordinal)
    row = session.execute(statement).one_or_none()
    return None if row is None else _chunk(row)


def document_chunks(session: Session, document_id: int) -> list[StoredChunk]:
    """All chunks of a document, in order."""
    statement = _chunks().where(ChunkRow.document_id == document_id).order_by(ChunkRow.ordinal)
    return [_chunk(row) for row in session.execute(statement)]


def search_text(session: Session, query_terms: Sequence[str], limit: int) -> list[tuple[int, float]]:
    """(chunk id, score) of the chunks that hold any of the terms, best first; a higher score is better.

    Words are stemmed. A term of several words must occur as a phrase. Nothing in a term is query syntax. At most
    MAX_TERMS different terms count. Scores are BM25 on SQLite and ts_rank on PostgreSQL: don't compare them.
    """
    terms = [term for term in dict.fromkeys(clean_text(term).strip() for term in query_terms) if term][
        :MAX_TERMS
    ]
    if not terms or limit <= 0:
        return []
    if session.get_bind().dialect.name == "sqlite":
        # A quoted FTS5 string is only ever a phrase; a quote inside it is doubled.
        match = " OR ".join('"' + term.replace('"', '""') + '"' for term in terms)
        rows: Iterable[Row[Any]] = session.execute(_SQLITE_SEARCH, {"match": match, "limit": limit})
    else:
        rows = _postgres_search(session, terms, limit)
    return [(row.id, float(row.score)) for row in rows]


_SQLITE_SEARCH = text(
    "SELECT rowid AS id, -bm25(chunks_fts) AS score FROM chunks_fts WHERE chunks_fts MATCH :match "
    "ORDER BY score DESC, id LIMIT :limit"
)


def _postgres_search(session: Session, terms: Sequence[str], limit: int) -> Iterable[Row[Any]]:
    # phraseto_tsquery reads plain words only; || joins the phrases with OR. 1: divide by 1 + log(length).
    names = [f"t{number}" for number in range(len(terms))]
    query = " || ".join(f"phraseto_tsquery('english', :{name})" for name in names)
    statement = text(
        f"WITH q AS (SELECT {query} AS query) "
        "SELECT id, ts_rank(search_vector, q.query, 1) AS score FROM chunks, q WHERE search_vector @@ q.query "
        "ORDER BY score DESC, id LIMIT :limit"
    )
    return session.execute(statement, dict(zip(names, terms, strict=True)) | {"limit": limit})


def vocabulary(session: Session) -> dict[str, int]:
    """Every stem of the full-text index with the number of chunks that hold it."""
    if session.get_bind().dialect.name == "sqlite":
        statement = text("SELECT term, doc FROM temp.chunks_vocab")
    else:
        statement = text("SELECT word, ndoc FROM ts_stat('SELECT search_vector FROM chunks')")
    return {row[0]: row[1] for row in session.execute(statement)}


def _bump(session: Session) -> None:
    session.execute(update(IndexStateRow).values(version=IndexStateRow.version + 1))


def _check_vectors(document: NewDocument) -> None:
    row = 4 * document.dimension
    for chunk in document.chunks:
        where = f"chunk {chunk.ordinal} of {document.path}"
        if len(chunk.vector) != row:
            raise ValueError(f"{where}: its vector has {len(chunk.vector)} bytes, not {row}")
        if len(chunk.sentence_vectors) != row * len(chunk.sentences):
            raise ValueError(f"{where}: its sentence vectors don't fit {len(chunk.sentences)} sentences")


def _chunk_values(document_id: int, chunk: NewChunk) -> dict[str, Any]:
    return {
        "document_id": document_id,
        "ordinal": chunk.ordinal,
        "heading_path": chunk.heading_path,
        "start_at": chunk.start,
        "end_at": chunk.end,
        "text": chunk.text,
        "search_text": chunk.search_text,
        "sentences": chunk.sentences,
        "vector": chunk.vector,
        "sentence_vectors": chunk.sentence_vectors,
    }


def _documents(with_text: bool = True) -> Select[Any]:
    count = select(func.count()).where(ChunkRow.document_id == DocumentRow.id).scalar_subquery()
    columns = [
        c for c in DocumentRow.__table__.columns if c.name != "dimension" and (with_text or c.name != "text")
    ]
    return select(*columns, count.label("chunk_count"))


def _document(row: Row[Any]) -> StoredDocument:
    return StoredDocument(**{"text": "", **row._mapping})


def _chunks() -> Select[Any]:
    columns = [c for c in ChunkRow.__table__.columns if c.name != "search_text"]
    document = (DocumentRow.source, DocumentRow.path, DocumentRow.title, DocumentRow.embedder)
    return select(*columns, *document).join_from(ChunkRow, DocumentRow)


def _chunk(row: Row[Any]) -> StoredChunk:
    return StoredChunk(
        id=row.id,
        document_id=row.document_id,
        source=row.source,
        path=row.path,
        title=row.title,
        ordinal=row.ordinal,
        heading_path=tuple(row.heading_path),
        start=row.start_at,
        end=row.end_at,
        text=row.text,
        sentences=tuple((start, end, words, kind) for start, end, words, kind in row.sentences),
        vector=row.vector,
        sentence_vectors=row.sentence_vectors,
        embedder=row.embedder,
    )
