"""Question -> ranked passages. Start reading here.

Two searches look at the same question: vectors find what means the same, full text finds what is called the same.
Their ranks are fused into one list of candidates, and those are ordered by a closer look: how near the whole
passage is, how near its best sentence is, and how well its words match. On the labelled course questions the
closer look raised recall@6 from 0.66 to 0.81. Which sentences of the passages answer is `evidence.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from db import documents
from db.documents import StoredChunk
from db.session import Database
from retrieval.index import Hit, Index, nearest
from retrieval.records import BlockKind, Embedder, Passage, Sentence, Vectors

CANDIDATES = 40  # of each search, and of both together
RRF_K = 60  # damps the lead of first places; 60 is the value of the paper that proposed it (Cormack 2009)

# The share of the words in a passage's score; the two cosines count 1 each. 0.15 does as well on the labelled
# questions, 0.2 a little worse. Engines scale full-text scores differently, so they are divided by the query's best.
LEXICAL_WEIGHT = 0.1


class Retriever:
    """Searches one database with one embedder. Safe to use from several threads."""

    def __init__(self, database: Database, embedder: Embedder, *, candidates: int = CANDIDATES) -> None:
        self.database = database
        self.embedder = embedder
        self.index = Index(database, embedder)
        self._candidates = candidates

    def retrieve(self, question: str, k: int = 6, *, vector: Vectors | None = None) -> tuple[Passage, ...]:
        """The `k` best passages, best first; fewer only where the index holds fewer.

        `vector` is the question's, from this embedder, where the caller has it already.

        Chunks made with another embedder are not found. The same text indexed twice is returned once.
        Raises EmbedderError or a DatabaseError.
        """
        query = self.embedder.encode([question])[0] if vector is None else vector
        with self.database.session(readonly=True) as session:
            snapshot = self.index.snapshot(session)
            wide = max(self._candidates, 2 * k)
            dense = nearest(snapshot, query, wide)
            matches = self.index.lexical(question, wide, session=session)
            rows = snapshot.rows_of([chunk_id for chunk_id, _ in matches])
            lexical = [hit for hit, row in zip(matches, rows, strict=True) if row >= 0]
            cosine = dict(dense) | {
                chunk_id: float(snapshot.vectors[row] @ query)
                for (chunk_id, _), row in zip(matches, rows, strict=True)
                if row >= 0
            }
            fused = fuse([dense, lexical])
            pool = sorted(fused, key=lambda chunk_id: (-fused[chunk_id], -cosine[chunk_id], chunk_id))[:wide]
            chunks = documents.get_chunks(session, pool)
        text_score = dict(lexical)
        best_text = max(text_score.values(), default=0.0) or 1.0
        found = []
        for chunk in chunks:
            vectors = np.frombuffer(chunk.sentence_vectors, dtype="<f4").reshape(-1, len(query))
            words = text_score.get(chunk.id, 0.0)
            score = cosine[chunk.id] + float((vectors @ query).max()) + LEXICAL_WEIGHT * words / best_text
            found.append(_passage(chunk, vectors, score=score, dense=cosine[chunk.id], lexical=words))
        found.sort(key=lambda passage: (-passage.score, passage.chunk_id))
        return tuple(replace(passage, rank=i) for i, passage in enumerate(_distinct(found, k), start=1))


def _passage(chunk: StoredChunk, vectors: Vectors, *, score: float, dense: float, lexical: float) -> Passage:
    return Passage(
        chunk_id=chunk.id,
        document_id=chunk.document_id,
        source=chunk.source,
        document=chunk.path,
        title=chunk.title,
        heading_path=chunk.heading_path,
        start=chunk.start,
        end=chunk.end,
        text=chunk.text,
        sentences=tuple(
            Sentence(start, end, text, cast(BlockKind, kind)) for start, end, text, kind in chunk.sentences
        ),
        rank=0,
        score=score,
        dense=dense,
        lexical=lexical,
        sentence_vectors=vectors,
    )


def fuse(rankings: Sequence[Sequence[Hit]], *, k: int = RRF_K) -> dict[int, float]:
    """Reciprocal rank fusion: each ranking gives a chunk 1 / (k + its place, from 1); the sums by chunk id."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for place, (chunk_id, _) in enumerate(ranking, start=1):
            scores[chunk_id] = scores.get(chunk_id, 0.0) + 1.0 / (k + place)
    return scores


def _distinct(passages: Sequence[Passage], k: int) -> list[Passage]:
    """The first k passages, without those whose headings and text stand higher up already."""
    kept: dict[tuple[object, ...], Passage] = {}
    for passage in passages:
        kept.setdefault((passage.title, passage.heading_path, passage.text), passage)
    return list(kept.values())[:k]
