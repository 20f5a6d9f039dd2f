"""Deleted documents as they were stored, vectors and all, so that an undo has nothing to compute. Only in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from db import documents
from db.documents import NewChunk, NewDocument
from retrieval.chunker import search_text
from retrieval.records import Sentence

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MAX_BYTES = 200 * 1024**2


class Copies:
    """The documents of the last deletions, as many as fit into MAX_BYTES; the newest always."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, list[NewDocument]] = OrderedDict()

    def __contains__(self, deletion_id: object) -> bool:
        return deletion_id in self._kept

    def get(self, deletion_id: str) -> list[NewDocument] | None:
        """What a deletion took, or None where it is not remembered."""
        return self._kept.get(deletion_id)

    def remember(self, deletion_id: str, copies: list[NewDocument]) -> None:
        """Keep what a deletion takes; the oldest make room."""
        self._kept[deletion_id] = copies
        while len(self._kept) > 1 and sum(map(_weight, self._kept.values())) > MAX_BYTES:
            self._kept.popitem(last=False)

    def forget(self, deletion_id: str) -> None:
        """Let go of a deletion."""
        self._kept.pop(deletion_id, None)


def copy_of(session: Session, document_id: int) -> NewDocument:
    """A stored document, ready to be stored again. It must exist."""
    document = documents.get_document(session, document_id)
    assert document is not None
    chunks = documents.document_chunks(session, document_id)
    return NewDocument(
        source=document.source,
        path=document.path,
        title=document.title,
        media_type=document.media_type,
        content_hash=document.content_hash,
        text=document.text,
        meta=document.meta,
        chunks=tuple(_chunk(document.title, chunk) for chunk in chunks),
        embedder=document.embedder,
        dimension=len(chunks[0].vector) // 4 if chunks else 1,
    )


def _chunk(title: str, stored: documents.StoredChunk) -> NewChunk:
    sentences = [Sentence(start, end, text) for start, end, text, _ in stored.sentences]
    return NewChunk(
        ordinal=stored.ordinal,
        heading_path=stored.heading_path,
        start=stored.start,
        end=stored.end,
        text=stored.text,
        search_text=search_text(title, stored.heading_path, sentences),
        sentences=stored.sentences,
        vector=stored.vector,
        sentence_vectors=stored.sentence_vectors,
    )


def _weight(copies: Iterable[NewDocument]) -> int:
    """About how many bytes they take."""
    return sum(
        len(copy.text) + sum(len(c.vector) + len(c.sentence_vectors) + 2 * len(c.text) for c in copy.chunks)
        for copy in copies
    )
