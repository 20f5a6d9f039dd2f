"""Which sentences are chosen. Vectors are given by hand: dimension 0 is nearness to the question."""

import math
from dataclasses import replace

import numpy as np
import pytest

from retrieval.evidence import (
    Calibration,
    LinearModel,
    candidates,
    lacks_the_fact,
    select_evidence,
    shipped_calibration,
)
from retrieval.records import Passage, Sentence

QUERY = np.array([1.0, 0.0, 0.0], np.float32)
BY_COSINE = Calibration(
    sentence=LinearModel(-5.0, {"cosine": 10.0}),
    coverage=LinearModel(-5.0, {"best_cosine": 10.0}),
    threshold=0.5,
    keep_ratio=0.6,
)


def vector(cosine: float, direction: float = 0.0) -> list[float]:
    """A unit vector at this cosine to the question; different `direction`s make sentences that differ."""
    rest = math.sqrt(1 - cosine**2)
    return [cosine, rest * math.cos(direction), rest * math.sin(direction)]


def passage(
    *sentences: tuple[str, float], chunk_id: int = 1, kind: str = "paragraph", title: str = "Tokens"
) -> Passage:
    spans, at = [], 0
    for text, _ in sentences:
        spans.append(Sentence(at, at + len(text), text, kind))  # type: ignore[arg-type]
        at += len(text) + 1
    vectors = np.array([vector(c, i + chunk_id) for i, (_, c) in enumerate(sentences)], np.float32)
    text = " ".join(t for t, _ in sentences)
    return Passage(
        chunk_id,
        1,
        "course",
        "tokens.md",
        title,
        (),
        0,
        len(text),
        text,
        tuple(spans),
        chunk_id,
        1.0,
        0.5,
        1.0,
        vectors,
    )


def texts(passages: list[Passage], question: str = "What is a token?") -> list[str]:
    return [e.sentence.text for e in select_evidence(question, QUERY, passages, BY_COSINE).sentences]


def test_the_best_sentences_are_chosen_and_read_in_the_order_of_the_page() -> None:
    page = passage(
        ("Tokens are counted in bills.", 0.7),
        ("Bread is baked daily here.", 0.1),
        ("A token is a piece of text.", 0.9),
    )
    assert texts([page]) == ["Tokens are counted in bills.", "A token is a piece of text."]


def test_the_passage_with_the_best_sentence_comes_first() -> None:
    first = passage(("Tokens are counted in bills.", 0.7), chunk_id=1)
    second = passage(("A token is a piece of text.", 0.9), chunk_id=2)
    assert texts([first, second]) == ["A token is a piece of text.", "Tokens are counted in bills."]


def test_a_sentence_that_leans_back_brings_what_it_leans_on() -> None:
    page = passage(("A token is a piece of text.", 0.2), ("It may be a whole word or a part.", 0.9))
    assert texts([page]) == ["A token is a piece of text.", "It may be a whole word or a part."]


def test_questions_code_and_fragments_are_no_answers() -> None:
    code = passage(("print(tokens) prints all tokens", 0.95), chunk_id=2, kind="code")
    page = passage(
        ("What is a token anyway?", 0.99), ("Tokens, tokens.", 0.98), ("A token is a piece of text.", 0.9)
    )
    about = passage(("This page explains what a token is.", 0.97), chunk_id=3)
    assert texts([page, code, about]) == ["A token is a piece of text."]


def test_the_same_thing_is_not_said_twice() -> None:
    one = passage(("A token is a piece of text.", 0.9))
    again = passage(("A token is a text piece.", 0.9))
    assert texts([one, again]) == ["A token is a piece of text."]


@pytest.mark.parametrize(("best", "covered"), [(0.6, True), (0.4, False)])
def test_covered_compares_the_calibrated_probability_with_the_threshold(best: float, covered: bool) -> None:
    found = select_evidence(
        "What is a token?", QUERY, [passage(("A token is a piece of text.", best))], BY_COSINE
    )
    assert found.confidence == pytest.approx(1 / (1 + math.exp(5 - 10 * best)), abs=1e-6)
    assert found.covered is covered


def test_a_heading_that_asks_the_question_is_answered_by_what_stands_under_it() -> None:
    faq = passage(
        ("No.", 0.1),
        ("Asking changes no weights.", 0.2),
        ("Training does.", 0.1),
        ("Later.", 0.0),
        chunk_id=2,
    )
    faq = replace(faq, heading_path=("Questions", "Does the model learn from my questions?"))
    near = passage(("A model learns from questions and answers.", 0.9))
    found = select_evidence("does a model learn from my questions", QUERY, [near, faq], BY_COSINE)
    assert [e.sentence.text for e in found.sentences] == [
        "No.",
        "Asking changes no weights.",
        "Training does.",
    ]
    assert found.covered
    other = select_evidence("Does the model learn from my clicks and likes?", QUERY, [near, faq], BY_COSINE)
    assert other.sentences[0].sentence.text == "A model learns from questions and answers."


@pytest.mark.parametrize(
    ("question", "sentence", "lacks"),
    [
        ("Who invented tokens?", "A token is a piece of text.", True),
        ("Who invented tokens?", "Tokens were invented by Ada.", False),
        ("In which year were tokens invented?", "A token is a piece of text.", True),
        ("How many tokens fit into a page?", "Tokens fit into a page.", True),
        ("How many tokens fit into a page?", "About 500 tokens fit into a page.", False),
        ("What is a merge?", "A token is a piece of text.", True),
        ("What is a token?", "A token is a piece of text.", False),
        ("What are pieces of sentences called?", "A token is a piece of text.", False),
        ("What do tokens cost?", "A token is a piece of text.", False),
    ],
)
def test_a_name_date_quantity_or_meaning_must_be_there_to_be_covered(
    question: str, sentence: str, lacks: bool
) -> None:
    found = select_evidence(question, QUERY, [passage((sentence, 0.9))], BY_COSINE)
    assert lacks_the_fact(question, found.sentences, [passage((sentence, 0.9))]) is lacks
    assert found.covered is not lacks


def test_nothing_found_is_not_covered() -> None:
    assert not select_evidence("What?", QUERY, [], BY_COSINE).covered


@pytest.mark.parametrize(
    ("question", "sentence", "defines"),
    [
        ("What is a token?", "A token is a piece of text.", 1.0),
        ("What is a token?", "A token bill is a list of prices.", 0.5),
        ("What is RAG?", "RAG, short for retrieval-augmented generation, is a design.", 1.0),
        (
            "What is retrieval-augmented generation?",
            "RAG, short for retrieval-augmented generation, is a design.",
            1.0,
        ),
        ("What is a token?", "Bread is the food of bakers.", 0.0),
        ("Why do tokens cost money?", "A token is a piece of text.", 0.0),
    ],
)
def test_how_far_a_sentence_defines_what_is_asked(question: str, sentence: str, defines: float) -> None:
    (found,) = candidates(question, QUERY, [passage((sentence, 0.9))])
    assert found.features["defines"] == defines


def test_each_side_of_a_comparison_gets_its_best_sentence() -> None:
    page = passage(
        ("Tokens and words differ in many small ways.", 0.9), ("A word is what a dictionary lists.", 0.1)
    )
    side = np.array(vector(0.1, 2.0), np.float32)  # the second sentence's own vector
    found = select_evidence("tokens vs words", QUERY, [page], BY_COSINE, sides=[("What is a word?", side)])
    assert [e.sentence.text for e in found.sentences] == [s.text for s in page.sentences]


def test_the_shipped_calibration_reads_the_features_that_exist() -> None:
    found = select_evidence("What is a token?", QUERY, [passage(("A token is a piece of text.", 0.9))])
    assert found.threshold == shipped_calibration().threshold
    assert 0.0 < found.confidence < 1.0
