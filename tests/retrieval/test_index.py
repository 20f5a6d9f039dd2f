"""The vectors in memory follow the stored index, and both searches rank as they say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db import documents
from db.session import Database
from retrieval.index import Index, Snapshot, nearest, query_terms
from retrieval.ingest import ingest_folder
from retrieval.ranking import HEADING_WEIGHT, LEXICAL_WEIGHT
from retrieval.records import Passage, Vectors
from retrieval.retriever import Retriever, Stages, fuse

PAGES = {
    "sky.md": "# Sky\n\nClouds carry rain over the mountains.\n\n# Night\n\nStars shine in the dark.",
    "sea.md": "# Sea\n\nSalt water fills the ocean.\n\n# Waves\n\nWind moves waves and clouds of ZX81_CONFIG spray.",
    "soil.txt": "Worms dig through soil. Roots drink water.",
}


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    folder.mkdir()
    for name, text in PAGES.items():
        (folder / name).write_text(text)
    return folder


def test_nearest_ranks_by_cosine_then_id() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1], [0.6, 0.8]], dtype=np.float32)
    snapshot = Snapshot(1, np.array([3, 5, 7, 9]), vectors)
    query = np.array([0, 1], dtype=np.float32)
    assert nearest(snapshot, query, 3) == [(7, 1.0), (5, pytest.approx(0.8)), (9, pytest.approx(0.8))]
    assert len(nearest(snapshot, query, 99)) == 4
    assert nearest(snapshot, query, 0) == []
    assert snapshot.rows_of([9, 4, 3, 10]).tolist() == [3, -1, 0, -1]


def test_query_terms_keep_what_the_question_is_about() -> None:
    assert query_terms("What is the difference between LoRA and full fine-tuning?") == [
        "lora",
        "full",
        "fine",
        "tuning",
    ]
    assert query_terms("Why does ZX81_CONFIG use 3.14, not 2? A model’s 3.14") == [
        "zx81_config",
        "3.14",
        "2",
        "model",
    ]
    assert query_terms("What is it?") == ["what", "is", "it"]
    assert query_terms("?! 😀") == []


def test_reciprocal_rank_fusion_by_hand() -> None:
    fused = fuse([[(1, 0.9), (2, 0.8)], [(2, 12.0), (3, 3.0)]])
    assert fused == {1: 1 / 61, 2: pytest.approx(1 / 62 + 1 / 61), 3: 1 / 62}


def test_a_change_is_found_at_once_and_vectors_are_read_only_then(
    database: Database, fake_embedder: Any, pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    read = documents.all_vectors
    monkeypatch.setattr(documents, "all_vectors", lambda *args: reads.append(1) or read(*args))
    index = Index(database, fake_embedder)
    query = fake_embedder.encode(["worms dig soil"])[0]
    assert index.dense(query, 5) == []
    ingest_folder(database, fake_embedder, pages, source="x")
    first = index.dense(query, 5)
    assert len(first) == 5
    assert index.dense(query, 5) == first
    assert len(reads) == 2
    (pages / "soil.txt").unlink()
    ingest_folder(database, fake_embedder, pages, source="x")
    assert first[0][0] not in dict(index.dense(query, 5))
    assert len(reads) == 3


def test_questions_are_answered_from_the_old_vectors_while_new_ones_are_read(
    database: Database, fake_embedder: Any, pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index(database, fake_embedder)
    ingest_folder(database, fake_embedder, pages, source="x")
    query = fake_embedder.encode(["stars"])[0]
    before = index.dense(query, 9)
    (pages / "new.txt").write_text("Stars stars stars.")
    ingest_folder(database, fake_embedder, pages, source="x")

    reading, go_on = threading.Event(), threading.Event()
    read = documents.all_vectors

    def slow(*args: Any) -> Any:
        reading.set()
        assert go_on.wait(20)
        return read(*args)

    monkeypatch.setattr(documents, "all_vectors", slow)
    result: list[Any] = []
    reader = threading.Thread(target=lambda: result.extend(index.dense(query, 9)))
    reader.start()
    assert reading.wait(20)
    assert index.dense(query, 9) == before
    go_on.set()
    reader.join(20)
    assert len(result) == len(before) + 1
    assert index.dense(query, 9) == result


def test_passages_carry_all_that_evidence_needs(database: Database, fake_embedder: Any, pages: Path) -> None:
    ingest_folder(database, fake_embedder, pages, source="course")
    retriever = Retriever(database, fake_embedder)
    assert retriever.embedder is fake_embedder
    passages = retriever.retrieve("Which worms dig in soil?", k=3)
    assert [p.rank for p in passages] == [1, 2, 3]
    assert sorted((p.score for p in passages), reverse=True) == [p.score for p in passages]
    best = passages[0]
    assert (best.source, best.document, best.title, best.heading_path) == ("course", "soil.txt", "soil", ())
    assert (best.start, best.end, best.text) == (0, 42, PAGES["soil.txt"])
    assert [s.text for s in best.sentences] == ["Worms dig through soil.", "Roots drink water."]
    expected = fake_embedder.encode([s.text for s in best.sentences])
    np.testing.assert_allclose(best.sentence_vectors, expected, atol=1e-6)
    query = fake_embedder.encode(["Which worms dig in soil?"])[0]
    chunk = fake_embedder.encode(["soil\nWorms dig through soil. Roots drink water."])[0]
    assert best.dense == pytest.approx(float(query @ chunk), abs=1e-6)
    assert best.lexical > 0
    # The best words of all, and one of three content words of the question ("soil") in the title.
    look = best.dense + float((expected @ query).max()) + LEXICAL_WEIGHT + HEADING_WEIGHT / 3
    assert best.score == pytest.approx(look, abs=1e-6)


def test_a_word_that_vectors_know_nothing_of_is_found_by_full_text(
    database: Database, fake_embedder: Any, pages: Path
) -> None:
    for number in range(60):
        (pages / f"more-{number:02}.txt").write_text(f"Clouds and stars and worms, part {number}.")
    same = np.eye(1, fake_embedder.dimension, dtype=np.float32)
    fake_embedder.encode = lambda texts: np.repeat(same, len(texts), axis=0)  # all texts look alike to it
    ingest_folder(database, fake_embedder, pages, source="x")
    assert Retriever(database, fake_embedder).retrieve("What is ZX81_CONFIG?", k=1)[0].document == "sea.md"


def test_the_same_text_from_two_sources_is_returned_once(
    database: Database, fake_embedder: Any, pages: Path
) -> None:
    ingest_folder(database, fake_embedder, pages, source="course")
    ingest_folder(database, fake_embedder, pages, source="mine")
    passages = Retriever(database, fake_embedder).retrieve("clouds rain", k=5)
    assert len({p.text for p in passages}) == len(passages) == 5


def test_vectors_of_another_embedder_are_never_compared(
    database: Database, fake_embedder: Any, make_embedder: Callable[..., Any], pages: Path
) -> None:
    ingest_folder(database, fake_embedder, pages, source="x")
    other = make_embedder("fake@2", 32)
    assert Retriever(database, other).retrieve("clouds", k=3) == ()
    assert Retriever(database, fake_embedder).retrieve("clouds", k=3) != ()


@pytest.mark.parametrize(
    "question", ["😀", "שלום", '"; DROP TABLE chunks; --', "a" * 100_000, "NEAR(x AND *"]
)
def test_no_question_breaks_the_search(
    database: Database, fake_embedder: Any, pages: Path, question: str
) -> None:
    retriever = Retriever(database, fake_embedder)
    assert retriever.retrieve(question) == ()
    ingest_folder(database, fake_embedder, pages, source="x")
    assert len(retriever.retrieve(question, k=2)) == 2


class SecondSentence:
    """A reader for which the second sentence of every passage answers, and of soil's the more."""

    name = "second@1"

    def read(self, question: str, passages: Sequence[Passage]) -> list[Vectors]:
        rows = []
        for passage in passages:
            row = np.full(len(passage.sentences), -4.0, np.float32)
            row[-1] = 6.0 if passage.document == "soil.txt" else -2.0
            rows.append(row)
        return rows


def test_the_reader_has_the_last_word_on_the_order(
    database: Database, fake_embedder: Any, pages: Path
) -> None:
    ingest_folder(database, fake_embedder, pages, source="course")
    question = "What floats above the sea?"
    plain = Retriever(database, fake_embedder).retrieve(question, k=3)
    read = Retriever(database, fake_embedder, reader=SecondSentence()).retrieve(question, k=3)
    assert plain[0].document != "soil.txt"
    assert plain[0].reading is None
    assert read[0].document == "soil.txt"
    assert list(read[0].reading) == [-4.0, 6.0]
    off = Retriever(database, fake_embedder, reader=SecondSentence(), stages=Stages(reader=False))
    assert [p.document for p in off.retrieve(question, k=3)] == [p.document for p in plain]
    unread = Retriever(database, fake_embedder, reader=SecondSentence()).retrieve(question, k=3, read=False)
    assert unread[0].reading is None


def test_neighbours_found_together_are_one_passage_of_the_documents_own_text(
    database: Database, fake_embedder: Any, tmp_path: Path
) -> None:
    words = " ".join(f"Tides turn twice a day near harbour number {n}." for n in range(60))
    page = tmp_path / "tides.md"
    page.write_text(f"# Tides\n\n{words}\n\n## Moon\n\nThe moon pulls the water.\n", "utf-8")
    ingest_folder(database, fake_embedder, tmp_path, source="course")
    apart = Retriever(database, fake_embedder, stages=Stages(neighbours=False)).retrieve(
        "When do tides turn?", k=8
    )
    joined = Retriever(database, fake_embedder).retrieve("When do tides turn?", k=8)
    assert len(joined) < len(apart)
    text = page.read_text("utf-8")
    for passage in joined:
        assert passage.text == text[passage.start : passage.end]
        assert len(passage.sentences) == len(passage.sentence_vectors)
        assert [text[s.start : s.end] for s in passage.sentences] == [s.text for s in passage.sentences]
    assert not any("Moon" in p.heading and "Tides turn" in p.text for p in joined)  # never across a heading
