"""The reader: its card, that a passage is read alike in any company, and what it makes of plain cases."""

from __future__ import annotations

import json

import numpy as np
import pytest

from retrieval.fitted import sha256
from retrieval.reader import WEIGHTS, Reader, as_read
from retrieval.records import Passage, Sentence
from tests.bench.reading import PASSAGES, UNSEEN, Judged, judged, rates, read

TIDES = (
    "The pull of the moon makes the water of the seas rise and fall.",
    "It rises twice a day in most harbours.",
    "Fishermen print the hours of high water on cards.",
)
BREAD = (
    "Bread dough is left to rest in a warm place.",
    "Yeast makes gas, and the gas lifts the dough.",
    "Salt slows the yeast down.",
)


def passage(sentences: tuple[str, ...], title: str, chunk_id: int = 1) -> Passage:
    spans, at = [], 0
    for text in sentences:
        spans.append(Sentence(at, at + len(text), text))
        at += len(text) + 1
    vectors = np.zeros((len(sentences), 4), np.float32)
    return Passage(
        chunk_id, 1, "course", "page.md", title, (title,), 0, at, " ".join(sentences), tuple(spans), 1, 1.0, 0.5, 1.0,
        vectors,
    )  # fmt: skip


def test_the_card_belongs_to_the_weights() -> None:
    about = json.loads(WEIGHTS.with_suffix(".json").read_text("utf-8"))
    assert sha256(WEIGHTS) == about["weights_sha256"]
    assert sha256(PASSAGES) == about["data_sha256"]["reading_passages.jsonl"]


def test_what_it_is_measured_on_is_of_other_documents() -> None:
    trained, unseen = read(PASSAGES), read(UNSEEN)
    assert not {p["title"] for p in trained} & {p["title"] for p in unseen}
    for p in unseen:
        assert {i for q in p["questions"] for i in q["a"]} <= set(range(len(p["sentences"])))
        assert all(q["a"] for q in p["questions"])
        assert p["unanswered"]


def test_a_way_of_scoring_is_judged_by_its_favourite_and_by_its_best_numbers() -> None:
    page = {"questions": [{"q": "a", "a": [1]}, {"q": "b", "a": [0, 2]}], "unanswered": ["c"]}
    given = {"a": [0.1, 0.9, 0.2], "b": [0.1, 0.5, 0.2], "c": [0.6, 0.0, 0.0]}
    found = judged(lambda _, asked: [np.array(given[q], np.float32) for q in asked], [page])
    assert found == [Judged([True, False], pytest.approx([0.9, 0.5]), pytest.approx([0.6]))]
    assert rates(found) == {"first_answers": 0.5, "auc": 0.5}  # 0.9 is above 0.6, 0.5 isn't


def test_a_heading_is_read_once() -> None:
    assert as_read(passage(TIDES, "Tides")) == ("Tides", [*TIDES])


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


@pytest.mark.models
def test_the_sentence_that_answers_stands_out(reader: Reader) -> None:
    why, bread = reader.read(
        "What lifts the dough of bread?", [passage(TIDES, "Tides"), passage(BREAD, "Bread")]
    )
    assert bread.argmax() == 1
    assert bread.max() > why.max() + 1  # log-odds
    often = reader.read("how many times does the sea come up each day", [passage(TIDES, "Tides")])[0]
    assert often.argmax() == 1  # "It" is the water of the sentence before


@pytest.mark.models
def test_a_passage_is_read_alike_in_any_company(reader: Reader) -> None:
    long = passage(
        tuple(f"Word {n} stands here, and so does another one beside it." for n in range(80)), "Long", 2
    )
    empty = passage((), "Empty", 3)
    alone = reader.read("Why do tides come?", [passage(TIDES, "Tides")])[0]
    together = reader.read("Why do tides come?", [long, empty, passage(TIDES, "Tides")])
    assert [len(row) for row in together] == [
        80,
        0,
        3,
    ]  # what didn't fit is as unlikely as the least of the rest
    assert np.allclose(together[2], alone, atol=0.2)
    assert reader.read("Why?", []) == []
