"""The answer as it grows: numbering, what is shown, what a draft sentence is stripped of."""

import numpy as np
import pytest

from retrieval.evidence import EvidenceSentence
from retrieval.records import Passage, Sentence
from tutor.answer import (
    AnswerBuilder,
    finished_sentences,
    follow_ups,
    not_covered,
    tidy_draft_sentence,
    without_citations,
)

TEXT = "Intro. A **token** is a piece of text. It ends."


def passage(chunk_id: int = 1, heading: tuple[str, ...] = (), title: str = "Tokens") -> Passage:
    return Passage(
        chunk_id, 1, "course", "tokens.md", title, heading, 100, 100 + len(TEXT), TEXT, (), 1, 1.0, 1.0, 1.0,
        np.zeros((0, 2), np.float32),
    )  # fmt: skip


def item(start: int, end: int, text: str) -> EvidenceSentence:
    return EvidenceSentence(Sentence(100 + start, 100 + end, text), passage(), 1.0, np.zeros(2, np.float32))


def test_a_citation_quotes_the_file_to_the_letter_and_keeps_its_number() -> None:
    token, ends = item(7, 38, "A token is a piece of text."), item(39, 47, "It ends.")
    builder = AnswerBuilder()
    builder.add_draft("Tokens are pieces of text.", [token])
    builder.add_refused("Tokens are cheese.", ["words"])
    builder.add_quote(ends)
    builder.add_draft("A token is a piece.", [token])

    assert [(c.n, c.quote, c.start) for c in builder.citations] == [
        (1, "A **token** is a piece of text.", 107),
        (2, "It ends.", 139),
    ]
    assert builder.text == "Tokens are pieces of text. [1] It ends. [2] A token is a piece. [1]"
    assert [s.supported for s in builder.sentences] == [True, False, True, True]


@pytest.mark.parametrize(
    ("drafted", "tidy"),
    [
        ("- A token is **text** [1].", "A token is text."),
        ("2) Tokens are `pieces` [2, 3] of\n text.", "Tokens are pieces of text."),
        ("1.5 tokens are enough.", "1.5 tokens are enough."),
    ],
)
def test_a_models_own_numbering_and_marks_are_removed(drafted: str, tidy: str) -> None:
    assert tidy_draft_sentence(drafted) == tidy


def test_citation_numbers_go_and_what_only_looks_like_one_stays() -> None:
    assert without_citations("A piece. [1] [2] Another.[3] End [10, 11]") == "A piece. Another. End"
    assert without_citations("The list[0] of [1](page.md). [2]") == "The list[0] of [1](page.md)."


def test_not_covered_names_each_nearest_page_once() -> None:
    passages = [passage(1), passage(2), passage(3, title="Models"), passage(4, title="Data")]
    assert not_covered(passages)[1] == "The nearest pages are: Tokens; Models."
    assert len(not_covered([])) == 1


def test_follow_ups_are_questions_of_the_material_not_asked_yet() -> None:
    passages = [
        passage(1, ("Questions", "Is a token a word?")),
        passage(2, ("Why tokens exist",)),
        passage(3, ("Questions", "Can I count tokens?")),
    ]
    assert follow_ups("is a token a word", passages) == ("Can I count tokens?",)
    assert follow_ups("What is this?", passages, asked=["Can I count tokens?"]) == ("Is a token a word?",)


@pytest.mark.parametrize(
    ("drafted", "finished", "rest"),
    [
        ("A token is", [], "A token is"),
        ("A token is text.", [], "A token is text."),
        ("A token is text. It", ["A token is text."], " It"),
        ("- A token is **text**.\n", ["A token is text."], ""),
        ("It costs 3.5 cents", [], "It costs 3.5 cents"),
    ],
)
def test_sentences_are_taken_from_a_growing_draft_once_they_are_whole(
    drafted: str, finished: list[str], rest: str
) -> None:
    found, left = finished_sentences(drafted)
    assert (found, left.rstrip("\n")) == (finished, rest)
