"""Search and ingest at size: `python -m tests.bench retrieval [--chunks 1000 10000 100000]`.

The text is the course's own, repeated with variation: other sentences of the same page, a number that no other chunk
has. Embedding 100,000 chunks would take hours here and say nothing about search, so a variation gets the vectors of
what it was made from, turned a little; ingest speed is measured apart, on texts that are really embedded, beside
plain `SentenceTransformer.encode` on the same texts, one batch of each in turn.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from db import documents
from db.documents import NewChunk, NewDocument
from db.session import Database
from retrieval.chunker import chunk, search_text
from retrieval.embedder import load_embedder
from retrieval.loaders import load_document
from retrieval.reader import Reader
from retrieval.records import Vectors
from retrieval.retriever import Retriever
from tests.bench.evidence import COURSE, QUESTIONS
from tutor.agreement import quantile
from tutor.settings import SHIPPED_EMBEDDER

CHUNKS_A_DOCUMENT = 50
TURNED = 0.35  # how far a variation's vector is turned, as the length of the noise added to a unit vector
QUERIES = 100


def main(arguments: Sequence[str]) -> int:
    """Measure and print a table for each size. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench retrieval", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--chunks", type=int, nargs="+", default=[1000, 10_000, 100_000], metavar="N")
    parser.add_argument(
        "--texts", type=int, default=640, metavar="N", help="embedded to measure ingest speed"
    )
    options = parser.parse_args(arguments)
    embedder = load_embedder(SHIPPED_EMBEDDER)
    embedder.warm()
    print(
        "| chunks | search p50 | search p95 | with the reader p50 | p95 | first search | database | peak memory |"
    )
    print("|---|---|---|---|---|---|---|---|")
    questions = [json.loads(line)["question"] for line in QUESTIONS.read_text("utf-8").splitlines()]
    for size in options.chunks:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "bench.sqlite3"
            database = Database.open(file)
            fill(database, embedder, size)
            database.close()
            print(row(file, embedder, size, random.Random(0).sample(questions, QUERIES)), flush=True)
    speed(embedder, options.texts)
    return 0


def row(file: Path, embedder: object, size: int, questions: Sequence[str]) -> str:
    database = Database.open(file)
    plain = Retriever(database, embedder)  # type: ignore[arg-type]
    began = time.perf_counter()
    plain.retrieve(questions[0], 8)
    first = 1000 * (time.perf_counter() - began)
    found = timed(plain, questions)
    reading = Retriever(database, embedder, reader=Reader())  # type: ignore[arg-type]
    reading.retrieve(questions[0], 8)
    read = timed(reading, questions[: QUERIES // 2])
    database.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cells = [
        f"{size:,}",
        *(f"{quantile(values, q):.0f} ms" for values in (found, read) for q in (0.5, 0.95)),
        f"{first:.0f} ms",
        f"{file.stat().st_size / 1e6:.0f} MB",
        f"{peak:.0f} MB",
    ]
    return f"| {' | '.join(cells)} |"


def timed(retriever: Retriever, questions: Sequence[str]) -> list[float]:
    """Milliseconds of each whole search, the question's embedding and rewriting included; sorted."""
    spent = []
    for question in questions:
        began = time.perf_counter()
        retriever.retrieve(retriever.rewrite(question), 8)
        spent.append(1000 * (time.perf_counter() - began))
    return sorted(spent)


def fill(database: Database, embedder: object, size: int) -> None:
    """Put `size` chunks into an empty database."""
    chance = np.random.default_rng(0)
    originals = list(_course_chunks(embedder))
    made = 0
    while made < size:
        chunks = []
        for ordinal in range(min(CHUNKS_A_DOCUMENT, size - made)):
            chunks.append(
                _variation(originals[chance.integers(len(originals))], ordinal, made + ordinal, chance)
            )
        with database.session() as session:
            documents.put_document(session, _document(made, chunks, embedder))
        made += len(chunks)


def _course_chunks(embedder: object) -> Iterator[NewChunk]:
    for file in sorted(COURSE.glob("*.md")):
        document = load_document(file.name, file.read_bytes())
        pieces = chunk(document, count_tokens=embedder.count_tokens)  # type: ignore[attr-defined]
        for c in pieces:
            text = search_text(document.title, c.heading_path, c.sentences)
            vectors = embedder.encode([text, *(s.text for s in c.sentences)])  # type: ignore[attr-defined]
            sentences = tuple((s.start - c.start, s.end - c.start, s.text, s.kind) for s in c.sentences)
            yield NewChunk(
                0, c.heading_path, 0, len(c.text), c.text, text, sentences,
                vectors[0].astype("<f4").tobytes(), vectors[1:].astype("<f4").tobytes(),
            )  # fmt: skip


def _variation(original: NewChunk, ordinal: int, number: int, chance: np.random.Generator) -> NewChunk:
    own = f" Case {number} of {number % 97} in series {number % 1009}."
    return NewChunk(
        ordinal,
        original.heading_path,
        0,
        len(original.text) + len(own),
        original.text + own,
        original.search_text + own,
        original.sentences,
        _turned(original.vector, chance),
        _turned(original.sentence_vectors, chance),
    )


def _turned(stored: bytes, chance: np.random.Generator) -> bytes:
    rows: Vectors = np.frombuffer(stored, "<f4").reshape(-1, 384)
    noise = chance.standard_normal(rows.shape, dtype=np.float32)
    moved = rows + TURNED * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype("<f4").tobytes()


def _document(number: int, chunks: Sequence[NewChunk], embedder: object) -> NewDocument:
    text = max((c.text for c in chunks), key=len)
    return NewDocument(
        source="bench", path=f"{number}.md", title=f"Part {number}", media_type="text/markdown",
        content_hash=str(number), text=text, meta={}, chunks=tuple(chunks), embedder=embedder.name,  # type: ignore[attr-defined]
        dimension=384,
    )  # fmt: skip


def speed(embedder: object, count: int) -> None:
    """Our encode beside SentenceTransformer's own on the same texts, alternating; chunks a second of a whole ingest."""
    texts = [c.search_text for c in _course_chunks(embedder)]
    texts = (texts * (1 + count // len(texts)))[:count]
    model = embedder._loaded()  # type: ignore[attr-defined]
    ratios, ours, theirs = [], [], []
    for start in range(0, count, 128):
        part = texts[start : start + 128]
        began = time.perf_counter()
        embedder.encode_documents(part)  # type: ignore[attr-defined]
        middle = time.perf_counter()
        model.encode(part, show_progress_bar=False)
        end = time.perf_counter()
        ours.append(len(part) / (middle - began))
        theirs.append(len(part) / (end - middle))
        ratios.append((end - middle) / (middle - began))
    print(
        f"\nembedding: {median(ours):.0f} chunks/s, SentenceTransformer.encode {median(theirs):.0f}, "
        f"ratio {median(ratios):.2f} (median of {len(ratios)} pairs)"
    )
