"""Search over the stored chunks: nearest vectors, and full text. Both give (chunk id, score), best first.

The vectors live in memory as one matrix, read again only when the stored index changed. Putting the two rankings
together is `retriever.py`; the full-text index itself is `db.documents`.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from db import documents
from db.session import Database
from retrieval.records import Embedder, Vectors
from retrieval.words import STOPWORDS, stem

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

Hit = tuple[int, float]

LARGE = 5000  # chunks; in a smaller index every term is looked up
COMMON_SHARE = 0.1  # of the chunks
MAX_TERMS = 64  # of one full-text query; questions are shorter

# Words with the signs that identifiers and numbers hold inside: 3.14, snake_case, v1.2, it's.
_TERM = re.compile(r"\w+(?:[._'’]\w+)*")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All chunk vectors of one embedder at one index version. `ids` ascend; row i of `vectors` is chunk ids[i]."""

    version: int
    ids: NDArray[np.int64]
    vectors: Vectors

    def rows_of(self, chunk_ids: list[int]) -> NDArray[np.int64]:
        """The row of each chunk id, -1 for a chunk this snapshot does not hold."""
        wanted = np.asarray(chunk_ids, dtype=np.int64)
        if not len(self.ids):
            return np.full(len(wanted), -1, dtype=np.int64)
        rows = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return np.where(self.ids[rows] == wanted, rows, -1)


class Index:
    """The chunks of one database that one embedder has made vectors for. Safe to use from several threads."""

    def __init__(self, database: Database, embedder: Embedder) -> None:
        self._database = database
        self._embedder = embedder
        self._snapshot: Snapshot | None = None
        self._vocabulary: tuple[int, dict[str, int]] | None = None
        self._loading = threading.Lock()

    def snapshot(self, session: Session) -> Snapshot:
        """The current vectors; while another thread is reading newer ones, those from before the change."""
        version = documents.index_version(session)
        known = self._snapshot
        if known is not None and known.version == version:
            return known
        if known is not None and not self._loading.acquire(blocking=False):
            return known
        if known is None:
            self._loading.acquire()
        try:
            if self._snapshot is None or self._snapshot.version != version:
                self._snapshot = self._read(session, version)
            return self._snapshot
        finally:
            self._loading.release()

    def dense(self, query_vector: Vectors, limit: int, *, session: Session | None = None) -> list[Hit]:
        """The chunks whose vectors are nearest to a normalised query vector, by cosine."""
        if session is None:
            with self._database.session(readonly=True) as own:
                return self.dense(query_vector, limit, session=own)
        return nearest(self.snapshot(session), query_vector, limit)

    def lexical(self, query: str, limit: int, *, session: Session | None = None) -> list[Hit]:
        """The chunks that best match any of the query's content words in the full-text index."""
        if session is None:
            with self._database.session(readonly=True) as own:
                return self.lexical(query, limit, session=own)
        terms = self._telling(session, query_terms(query))
        return list(documents.search_text(session, terms, limit)) if terms else []

    def _telling(self, session: Session, terms: list[str]) -> list[str]:
        """The terms without those that stand in a large share of a large index, unless all do: they hardly change an
        order, and full text would score half of the index for them."""
        if self._snapshot is None or len(self._snapshot.ids) < LARGE:
            return terms
        known, most = self.vocabulary(session), COMMON_SHARE * len(self._snapshot.ids)
        return [term for term in terms if known.get(stem(term), 0) <= most] or terms

    def vocabulary(self, session: Session) -> dict[str, int]:
        """The stems of the full-text index, and in how many chunks each stands; read once an index version."""
        version = documents.index_version(session)
        if self._vocabulary is None or self._vocabulary[0] != version:
            self._vocabulary = (version, documents.vocabulary(session))
        return self._vocabulary[1]

    def _read(self, session: Session, version: int) -> Snapshot:
        dimension = self._embedder.dimension
        ids: list[int] = []
        blobs: list[bytes] = []
        for chunk_id, blob in documents.all_vectors(session, self._embedder.name):
            if len(blob) == 4 * dimension:
                ids.append(chunk_id)
                blobs.append(bytes(blob))
        vectors = np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(ids), dimension)
        numbers = np.asarray(ids, dtype=np.int64)  # in ascending order, as `all_vectors` gives them
        sound = np.isfinite(vectors).all(axis=1)
        if not sound.all():
            numbers, vectors = numbers[sound], vectors[sound]
        return Snapshot(version, numbers, np.ascontiguousarray(vectors, dtype=np.float32))


def nearest(snapshot: Snapshot, query_vector: Vectors, limit: int) -> list[Hit]:
    """The `limit` best rows by cosine, best first; equal ones in the order of their ids."""
    if not len(snapshot.ids) or limit < 1:
        return []
    cosines = snapshot.vectors @ np.asarray(query_vector, dtype=np.float32).reshape(-1)
    kth = min(limit, len(cosines)) - 1
    top = np.argpartition(-cosines, kth)[: kth + 1]
    top = top[np.lexsort((snapshot.ids[top], -cosines[top]))]
    return [(int(snapshot.ids[i]), float(cosines[i])) for i in top]


def query_terms(query: str) -> list[str]:
    """What full text looks for: the content words, numbers and identifiers of a query, each once, in order.

    Function and question words say nothing about the subject; they count only when there is nothing else.
    """
    found = [term.lower().replace("’", "'") for term in _TERM.findall(query)]
    found = [term.removesuffix("'s") for term in found]
    content = [term for term in found if term not in STOPWORDS]
    return list(dict.fromkeys(content or found))[:MAX_TERMS]
