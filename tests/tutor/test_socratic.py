"""What a Socratic turn shows before its answer gives nothing away; what is held back, and until when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.conversations import Turn
from retrieval.words import content_stems
from tutor import socratic
from tutor.hints import BLANK, GIVEN_AWAY
from tutor.quiz import Grade, Point

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
STEP = "Gradient descent moves each weight a small step against its gradient."
RATE = "The learning rate sets the size of the step."


def _cited(quote: str, heading: str = "What it is", title: str = "Training", document: str = "t.md") -> dict:
    return {"quote": quote, "heading": heading, "title": title, "document": document, "source": "course"}


def _said(text: str, *, supported: bool = True) -> dict:
    return {"text": text, "supported": supported}


def _nudge(question: str, *quotes: str) -> socratic.Nudge:
    return socratic.nudge(question, [_said(quote) for quote in quotes], [_cited(quote) for quote in quotes])


def _turn(**changes: Any) -> Turn:
    turn = Turn(
        id=1, conversation_id=1, learner_id=1, request_id=None, ordinal=0, question="What does it do?", query="",
        status="answered", messages=[], draft="", answer="", sentences=[_said(STEP)], citations=[_cited(STEP)],
        passages=[], follow_ups=[], timings_ms={}, tokens={}, model={}, error=None, replaces=None, created_at=NOW,
        completed_at=NOW, socratic=socratic.begun(),
    )  # fmt: skip
    return replace(turn, **changes)


def test_every_second_new_word_is_a_gap_and_the_words_of_the_question_stay() -> None:
    found = _nudge("What does gradient descent do?", STEP, RATE)
    assert found.sentence == "Gradient descent ____ each weight a ____ step against its gradient."
    assert found.question == "What part does “the learning rate” play here?"
    assert [socratic.place_name(place) for place in found.places] == ["Training › What it is"]


def test_the_thing_that_is_asked_for_is_never_named() -> None:
    found = _nudge(
        "What is the fixed list of all tokens called?",
        "A **vocabulary** is the fixed list of all tokens that a tokenizer knows.",
    )
    assert found.sentence == "A ____ is the fixed list of all tokens that a tokenizer knows."
    assert "vocabulary" not in found.question


def test_a_yes_or_no_is_not_told_by_a_sentence_however_many_gaps_it_has() -> None:
    found = _nudge(
        "So does a model learn during inference?", "During inference a model does not learn anything new."
    )
    assert (found.sentence, found.question) == ("", "What speaks for a yes, and what for a no?")
    assert (
        "not"
        not in _nudge("Why do models invent facts?", "A model does not check facts before speech.").sentence
    )


def test_the_question_fills_no_gap_and_asks_about_a_thing() -> None:
    unsupported = "An unsupported sentence is refused before anyone reads it."
    assert _nudge("What do learners notice?", unsupported).sentence.startswith("An ____ sentence")
    for quote in (
        unsupported,
        "Over all questions the candidate gained many points.",
        "It then stops there.",
    ):
        assert "What part" not in _nudge("What do learners notice?", unsupported, quote).question


def test_a_row_of_a_table_is_no_sentence_to_fill_in() -> None:
    row = "| Validation set | Choosing between versions | After each run |"
    assert _nudge("What is validation for?", row).sentence == ""


def test_a_heading_that_is_the_answer_is_left_out() -> None:
    found = socratic.nudge(
        "Where does a tokenizer cut?",
        [_said("It cuts between frequent pairs of letters.")],
        [_cited("It cuts between frequent pairs of letters.", heading="Frequent pairs of letters")],
    )
    assert [socratic.place_name(place) for place in found.places] == ["Training"]


_TEXT = st.lists(
    st.sampled_from("loss weight step gradient rate token not the a 12 of model".split()), min_size=1
)


@given(asked=_TEXT, quotes=st.lists(_TEXT, min_size=1, max_size=3))
def test_hint_and_question_together_never_tell_what_the_answer_adds(
    asked: list[str], quotes: list[list[str]]
) -> None:
    question = " ".join(asked)
    sentences = [" ".join(quote) + "." for quote in quotes]
    found = _nudge(question, *sentences)
    known = set(content_stems(question))
    shown = set(content_stems(f"{found.sentence} {found.question}"))
    form = set(content_stems(socratic.nudge(question, [], []).question))  # the same for every answer
    for sentence in sentences:
        news = set(content_stems(sentence)) - known
        assert not news or len((shown - form) & news) < GIVEN_AWAY * len(news)
    assert not found.sentence or BLANK in found.sentence


def test_a_full_reply_makes_each_shown_point_once() -> None:
    sentences = [
        _said(STEP),
        _said("It repaints the house.", supported=False),
        _said("**Gradient descent** moves each weight a small step."),  # said already
        _said(RATE),
    ]
    assert socratic.key_points(sentences) == (STEP, RATE)


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({}, True),
        ({"status": "quoted"}, True),
        ({"status": "interrupted", "sentences": []}, True),  # its passages are known all the same
        ({"status": "not_covered", "sentences": [_said("The material does not cover this.")]}, False),
        ({"status": "failed", "sentences": []}, False),
        ({"sentences": []}, False),  # nothing that could be asked for
        ({"socratic": None}, False),
        ({"socratic": socratic.revealed(socratic.begun(), NOW)}, False),
        ({"socratic": {"hint": "from an older file"}}, True),
    ],
)
def test_what_is_held_back(changes: dict[str, Any], held: bool) -> None:
    assert socratic.is_held(_turn(**changes)) is held


def test_a_reply_is_kept_with_its_grade_and_read_back_whatever_a_file_made_of_it() -> None:
    point = Point(STEP, hit=True, contradicted=False, evidence="it moves the weights")
    grade = Grade("correct", 1.0, (point,), "That is it.", "test@1")
    stored = socratic.revealed(
        socratic.posed(socratic.nudge_of(_turn())), NOW, "It moves the weights.", grade
    )
    assert stored["revealed_at"] == NOW.isoformat()
    assert stored["hint"].startswith("Look in Training › What it is. ")
    own = socratic.tried(stored)
    assert own is not None
    assert (own.reply, own.verdict, own.points[0].hit) == ("It moves the weights.", "correct", True)
    for odd in (
        None,
        {},
        {"reply": 3, "grade": grade},
        {"reply": "x", "grade": {"points": 1}},
        {"reply": "x"},
    ):
        assert socratic.tried(odd) is None
