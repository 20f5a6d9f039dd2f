"""Measuring search and answers: on a few pages whose right answers can be counted by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db import study
from db.session import Database
from retrieval.ingest import ingest_folder
from retrieval.records import Passage, Vectors
from retrieval.retriever import Retriever
from tutor.evaluation.answers import QuoteOnly, answer_all, answers_report, answers_tables
from tutor.evaluation.questions import Question, check_documents, own_index, read_questions
from tutor.evaluation.retrieval import FULL, RememberedReading, retrieval_report, retrieval_tables
from tutor.generators.scripted import ScriptedGenerator
from tutor.settings import Settings
from tutor.turn import Tutor
from tutor.wire import InputError

PAGES = {
    "tokens.md": "# Tokens\n\nA token is a piece of text that a model reads as one unit. Prices count tokens.\n",
    "gardens.md": "# Gardens\n\nRoses need water every week. Moss grows in the shade.\n",
    "worms.md": "# Worms\n\nWorms dig long tunnels in the soil. Birds eat them in the morning.\n",
}
LINES: list[dict[str, Any]] = [
    {
        "id": "t", "split": "test", "kind": "direct", "question": "What is a token?",
        "gold": [{"document": "tokens.md", "quote": "A token is a piece of text"}],
        "must_say": ["piece of text"], "must_not_say": ["word"],
    },
    {
        "id": "r", "split": "test", "kind": "direct", "question": "How often do roses need water?",
        "gold": {"document": "gardens.md", "quote": "Roses need water every week."}, "must_say": ["every month"],
    },
    {
        "id": "x", "split": "test", "kind": "off_topic", "question": "Who painted the ceiling in Rome?",
        "answerable": False,
    },
]  # fmt: skip


def questions(*changes: dict[str, Any]) -> list[Question]:
    return read_questions(
        json.dumps(line | change).encode() for line, change in zip(LINES, changes or [{}] * 3, strict=True)
    )


@pytest.fixture
def indexed(database: Database, tmp_path: Path, make_embedder: Callable[..., Any]) -> tuple[Database, Any]:
    folder = tmp_path / "pages"
    folder.mkdir()
    for name, text in PAGES.items():
        (folder / name).write_text(text, "utf-8")
    embedder = make_embedder(dimension=512)
    ingest_folder(database, embedder, folder, source="course")
    return database, embedder


class ShadeReader:
    """Takes every sentence about shade for the answer, and counts how often it is asked."""

    name = "shade@1"

    def __init__(self) -> None:
        self.passages = 0

    def read(self, question: str, passages: Sequence[Passage]) -> list[Vectors]:
        self.passages += len(passages)
        return [
            np.array([8.0 if "shade" in s.text else -8.0 for s in p.sentences], np.float32) for p in passages
        ]


def test_every_way_to_search_is_measured_on_the_same_questions(indexed: tuple[Database, Any]) -> None:
    report = retrieval_report(questions(), *indexed, reader=None)
    part = report["splits"]["test"]
    assert (report["n"], part["n"], report["reader"]) == (2, 2, None)  # nothing to find for the third
    assert part["ways"][FULL]["recall@1"] == {"mean": 1.0, "interval": [1.0, 1.0], "n": 2}
    assert {"full text alone (BM25)", "vectors alone", "without the closer look"} <= part["ways"].keys()
    assert "without the reader" not in part["ways"]
    assert part["all stages minus"]["vectors alone"]["recall@5"]["mean"] == 0.0
    titles = [title for title, _, _ in retrieval_tables(report)]
    assert titles == ["test: 2 questions", "test: differences, question by question"]


def test_a_reader_changes_the_order_and_reads_each_passage_once(indexed: tuple[Database, Any]) -> None:
    reader = ShadeReader()
    report = retrieval_report(questions(), *indexed, reader=reader)
    part = report["splits"]["test"]["ways"]
    assert part["without the reader"]["recall@1"]["mean"] == 1.0
    assert part[FULL]["recall@1"]["mean"] < 1.0  # it put the shade first for both questions
    assert reader.passages == 2 * len(PAGES)
    remembered = RememberedReading(reader)
    passages = Retriever(*indexed).retrieve("What is a token?", 3)
    assert [list(r) for r in remembered.read("q", passages)] == [
        list(r) for r in remembered.read("q", passages)
    ]
    assert reader.passages == 3 * len(PAGES)


def test_answers_are_right_when_they_say_what_they_must_and_nothing_they_must_not(
    indexed: tuple[Database, Any],
) -> None:
    database, embedder = indexed
    with database.session() as session:
        learner_id = study.learner(session, "eval").id
    drafts = ScriptedGenerator(lambda messages: "A token is a piece of text that a model reads.")

    def run(generator: Any) -> Any:
        tutor = Tutor(database, Retriever(database, embedder), lambda name: generator, Settings())
        return answer_all(questions(), tutor, learner_id)

    report = answers_report({"scripted": run(drafts), "quotes only": run(QuoteOnly())})
    own, quoted = report["splits"]["test"]["scripted"], report["splits"]["test"]["quotes only"]
    assert (
        quoted["right"]["mean"] == 0.5
    )  # the roses are watered every week, and the label asks for every month
    assert quoted["must_say"]["mean"] == 0.5
    assert quoted["must_not_say"]["mean"] == 0.0
    assert quoted["status"] == {"quoted": 2, "not_covered": 1}
    assert quoted["cites_gold"]["mean"] == 1.0
    assert quoted["every_sentence_cited"]["mean"] == 1.0
    assert quoted["declined_unanswerable"]["mean"] == 1.0
    assert quoted["declined_by_kind"] == {"off_topic": {"mean": 1.0, "interval": [1.0, 1.0], "n": 1}}
    assert own["status"] == {"answered": 1, "quoted": 1, "not_covered": 1}
    assert own["own_words"]["mean"] == 0.5
    assert 0 < own["drafted_supported"]["mean"] < 1  # the roses were answered with tokens, which was refused
    assert report["differences"]["test"]["scripted − quotes only"]["right"]["mean"] == 0.0
    assert "declined: off_topic" in [row[0] for row in answers_tables(report)[0][2]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"question": " "}, "line 1: question is empty"),
        ({"gold": "tokens.md"}, "line 1: gold must be a list"),
        ({"gold": [{"document": "tokens.md"}]}, "line 1: quote is missing"),
        ({"gold": [{"document": "tokens.md", "quote": "…"}]}, "line 1: gold quotes nothing"),
        ({"answerable": "yes"}, "line 1: answerable must be true or false"),
        ({"must_say": "x"}, "line 1: must_say must be a list"),
    ],
)
def test_a_bad_line_ends_an_evaluation(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        questions(change, {}, {})
    with pytest.raises(InputError, match="no labelled question"):
        read_questions([b"\n"])


def test_a_label_of_a_document_that_is_not_indexed_is_an_error(indexed: tuple[Database, Any]) -> None:
    check_documents(questions(), indexed[0])
    with pytest.raises(InputError, match=r"1 labelled document is not indexed, such as seas\.md"):
        check_documents(
            questions({"gold": [{"document": "seas.md", "quote": "Seas are salty."}]}, {}, {}), indexed[0]
        )


def test_what_is_measured_happens_in_an_index_of_its_own(
    indexed: tuple[Database, Any], tmp_path: Path
) -> None:
    database, embedder = indexed
    with own_index(embedder, [], copied=database) as copy:
        found = Retriever(copy, embedder).retrieve("What is a token?", 1)
        assert found[0].text == Retriever(database, embedder).retrieve("What is a token?", 1)[0].text
    with own_index(embedder, [tmp_path / "pages" / "worms.md"]) as alone:
        assert [p.document for p in Retriever(alone, embedder).retrieve("What is a token?", 5)] == [
            "worms.md"
        ]
    with (
        pytest.raises(InputError, match="nothing could be indexed"),
        own_index(embedder, [tmp_path / "gone"]),
    ):
        pass
