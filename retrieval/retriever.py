"""Question -> ranked passages. Start reading here.

Two searches look at the same question: vectors find what means the same, full text finds what is called the same.
Their ranks are fused into one list of candidates; those get a closer look (`ranking.py`), and the best of them are
read sentence by sentence together with the question (`reader.py`), which has the last word on their order. Chunks that
stood side by side are joined. Every stage can be switched off, which is how `eval retrieval` says what each is worth.
Which sentences of the passages answer is `evidence.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from db import documents
from db.session import Database
from retrieval import query as rewriting
from retrieval.evidence import SURE
from retrieval.index import Hit, Index, nearest
from retrieval.ranking import joined, passage_score
from retrieval.records import BlockKind, Embedder, Passage, Sentence, Vectors
from retrieval.words import stem

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.documents import StoredChunk

CANDIDATES = 40  # of each search, and of both together
READ = 10  # passages that the reader gets: it takes most of a search's time
RRF_K = 60  # damps the lead of first places; 60 is the value of the paper that proposed it (Cormack 2009)
READING_WEIGHT = 0.1  # of the reader's log-odds for a passage's best sentence; the cosines count 1
LOOKED_AT = 20  # chunks searched for what an abbreviation stands for
COMMON = 500  # chunks; a word of more is taken for no abbreviation, and looking would be slow


@dataclass(frozen=True, slots=True)
class Stages:
    """Which stages run. All of them by default; the others are for measuring."""

    dense: bool = True
    fulltext: bool = True
    closer_look: bool = True
    reranker: bool = True
    reader: bool = True
    neighbours: bool = True
    spelling: bool = True
    abbreviations: bool = True


class PassageReading(Protocol):
    """Reads passages for a question: log-odds of each sentence that it answers."""

    @property
    def name(self) -> str: ...
    def read(self, question: str, passages: Sequence[Passage]) -> list[Vectors]: ...


class PassageScoring(Protocol):
    """Scores passages for a question; higher is better."""

    def score(self, question: str, passages: Sequence[Passage]) -> Vectors: ...


class Retriever:
    """Searches one database with one embedder. Safe to use from several threads."""

    def __init__(
        self,
        database: Database,
        embedder: Embedder,
        *,
        reader: PassageReading | None = None,
        reranker: PassageScoring | None = None,
        stages: Stages = Stages(),
        candidates: int = CANDIDATES,
    ) -> None:
        """Without a `reader` the closer look alone orders the passages. A `reranker` has the last word on the order of
        those that are read; none is shipped."""
        self.database = database
        self.embedder = embedder
        self.index = Index(database, embedder)
        self.reader = reader
        self.reranker = reranker
        self.stages = stages
        self._candidates = candidates
        self._long_forms: tuple[int, dict[str, str | None]] = (
            -1,
            {},
        )  # of abbreviations, for one index version

    def rewrite(self, question: str) -> str:
        """The question as it is searched: slips mended, abbreviations spelled out, both by what is indexed.

        Raises a DatabaseError.
        """
        stages = self.stages
        if not (stages.spelling or stages.abbreviations):
            return question
        with self.database.session(readonly=True) as session:
            if stages.spelling:
                question = self._mended(session, question)
            return self._spelled_out(session, question) if stages.abbreviations else question

    def retrieve(
        self, question: str, k: int = 6, *, vector: Vectors | None = None, read: bool = True
    ) -> tuple[Passage, ...]:
        """The `k` best passages, best first; fewer only where the index holds fewer.

        `vector` is the question's, from this embedder, where the caller has it already. `read=False` leaves the
        reader out for this question. Chunks made with another embedder are not found. The same text indexed twice is
        returned once. Raises EmbedderError or a DatabaseError.
        """
        query = self.embedder.encode([question])[0] if vector is None else vector
        passages = self._found(question, query, wide=max(self._candidates, 2 * k))
        if read:
            head = self.read(question, passages[: max(READ, k)])
            head = self._reranked(question, head)
            passages = sorted(head, key=lambda p: (-p.score, p.chunk_id)) + passages[len(head) :]
        if self.stages.neighbours:
            passages = joined(passages, k, self._text)
        return tuple(replace(passage, rank=i) for i, passage in enumerate(passages[:k], start=1))

    def read(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        """The passages with what the reader makes of them, and their scores with it; as they were without a reader.

        One that has been read already is left as it is.
        """
        if self.reader is None or not self.stages.reader:
            return [*passages]
        unread = [i for i, passage in enumerate(passages) if passage.reading is None]
        found = [*passages]
        for i, reading in zip(unread, self.reader.read(question, [passages[i] for i in unread]), strict=True):
            found[i] = replace(passages[i], reading=reading, score=with_reading(passages[i].score, reading))
        return found

    def _reranked(self, question: str, passages: list[Passage]) -> list[Passage]:
        if self.reranker is None or not self.stages.reranker:
            return passages
        scores = self.reranker.score(question, passages)
        return [replace(p, score=float(score)) for p, score in zip(passages, scores, strict=True)]

    def _found(self, question: str, query: Vectors, *, wide: int) -> list[Passage]:
        """Up to `wide` distinct passages in the order of the closer look, or of the searches without it."""
        stages = self.stages
        with self.database.session(readonly=True) as session:
            snapshot = self.index.snapshot(session)
            dense = nearest(snapshot, query, wide) if stages.dense else []
            matches = self.index.lexical(question, wide, session=session) if stages.fulltext else []
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
            passage = _passage(
                chunk, len(query), dense=cosine[chunk.id], lexical=text_score.get(chunk.id, 0.0)
            )
            look = (
                passage_score(passage, question, query, best_text) if stages.closer_look else fused[chunk.id]
            )
            found.append(replace(passage, score=look))
        found.sort(key=lambda passage: (-passage.score, passage.chunk_id))
        return _distinct(found)

    def _text(self, document_id: int, start: int, end: int) -> str:
        with self.database.session(readonly=True) as session:
            return documents.text_between(session, document_id, start, end)

    def _mended(self, session: Session, question: str) -> str:
        mended: dict[str, str] = {}
        for word in rewriting.plain_words(question):
            # One piece for the embedder is a word it knows: rare in the material, but no slip.
            if self.embedder.count_tokens(word.lower()) == 1 or documents.search_text(
                session, [word.lower()], 1
            ):
                continue
            term = rewriting.nearest_term(word, self.index.vocabulary(session))
            hits = documents.search_text(session, [term], 1) if term else []
            texts = documents.chunk_texts(session, [hit for hit, _ in hits])
            if term and (form := rewriting.surface_form(term, texts)):
                mended[word] = form
        return rewriting.replaced(question, mended)

    def _spelled_out(self, session: Session, question: str) -> str:
        version, vocabulary = documents.index_version(session), self.index.vocabulary(session)
        if self._long_forms[0] != version:
            self._long_forms = (version, {})
        known = self._long_forms[1]
        for word in rewriting.abbreviations(question):
            if word not in known and vocabulary.get(stem(word.lower()), 0) > COMMON:
                known[word] = None
            if word not in known:
                hits = documents.search_text(session, [word], LOOKED_AT)
                known[word] = rewriting.long_form(word, documents.chunk_texts(session, [h for h, _ in hits]))
            form = known[word]
            if form and form.lower() not in question.lower():
                return rewriting.replaced(question, {word: f"{word} ({form})"})
        return question


def with_reading(score: float, reading: Vectors) -> float:
    """A passage's score once it has been read."""
    return score + READING_WEIGHT * (max(-SURE, min(SURE, float(reading.max()))) if len(reading) else -SURE)


def _passage(chunk: StoredChunk, dimension: int, *, dense: float, lexical: float) -> Passage:
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
        score=0.0,
        dense=dense,
        lexical=lexical,
        ordinal=chunk.ordinal,
        sentence_vectors=np.frombuffer(chunk.sentence_vectors, dtype="<f4").reshape(-1, dimension),
    )


def fuse(rankings: Sequence[Sequence[Hit]], *, k: int = RRF_K) -> dict[int, float]:
    """Reciprocal rank fusion: each ranking gives a chunk 1 / (k + its place, from 1); the sums by chunk id."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for place, (chunk_id, _) in enumerate(ranking, start=1):
            scores[chunk_id] = scores.get(chunk_id, 0.0) + 1.0 / (k + place)
    return scores


def _distinct(passages: Sequence[Passage]) -> list[Passage]:
    """The passages without those whose headings and text stand higher up already."""
    kept: dict[tuple[object, ...], Passage] = {}
    for passage in passages:
        kept.setdefault((passage.title, passage.heading_path, passage.text), passage)
    return list(kept.values())
