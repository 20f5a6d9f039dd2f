"""What a course page asks, hints and keeps; and the check that names file and line of what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.words import content_stems
from tutor.hints import gives_away, ladder, subject
from tutor.page_schema import course_problems, problems
from tutor.pages import concepts_in, questions, takeaways

ENTRY: dict[str, Any] = {
    "question": "Why does a model cut text into pieces?",
    "reference": "Pieces can spell any word. The vocabulary stays small.",
    "key_points": ["Pieces combine to spell any word.", "The vocabulary stays limited in size."],
}
META: dict[str, Any] = {"concepts": ["token", "vocabulary", "context window"], "think_first": [ENTRY]}

PAGE = """---
title: Tokens
order: 40
prerequisites: []
updated: 2026-11-22
tags: [mechanics]
concepts: [token, vocabulary]
understand: Models read pieces.
beginner: A token is a piece.
confusion: Tokens are not words.
mental_model: Think of a cutter.
think_first:
  - question: Why pieces?
    reference: Pieces spell any word.
    key_points:
      - Pieces combine to spell any word.
      - The vocabulary stays limited in size.
next: [tokens-2]
---

An opening.

## What it is

A token is a piece of text.

## Takeaways

- A piece of text that a model reads is a **token**.
- The list of all of them is the **vocabulary**.
- Cutting is done by a **tokenizer**
  before the model runs.
"""


def test_questions_are_numbered_and_what_is_malformed_is_left_out() -> None:
    second = ENTRY | {"question": "And  then?", "key_points": ["One thing.", "", None, 3]}
    broken = [None, "text", {"question": "No points?", "reference": "x"}, ENTRY | {"reference": " "}]
    found = questions("tokens.md", META | {"think_first": [*broken, ENTRY, ENTRY, second]})
    assert [(q.number, q.question) for q in found] == [(1, ENTRY["question"]), (2, "And then?")]
    assert found[1].key_points == ("One thing.", "3")
    assert found[0].key.startswith("tokens.md#q-")
    assert len(found[0].key) == len("tokens.md#q-") + 8
    for nonsense in ({}, {"think_first": "x"}, {"think_first": [ENTRY | {"key_points": {}}]}):
        assert questions("tokens.md", nonsense) == ()


def test_the_key_survives_corrected_punctuation_but_not_other_words() -> None:
    def key(question: str) -> str:
        return questions("p.md", {"think_first": [ENTRY | {"question": question}]})[0].key

    assert key("Why pieces?") == key("why  Pieces ?")
    assert key("Why pieces?") != key("Why words?")


def test_the_ladder_goes_from_how_many_to_about_what_to_one_with_gaps() -> None:
    (question,) = questions("tokens.md", META)
    assert question.hints == (
        "A full answer makes 2 points. It has to do with: vocabulary.",
        "Say something about each of these: “Pieces”, “The vocabulary”.",
        "The vocabulary ____ limited in ____.",
    )


def test_an_authors_hints_are_kept_unless_they_tell() -> None:
    own = ["Think of names.", "Think of typos.", "Think of size."]
    assert questions("p.md", {"think_first": [ENTRY | {"hints": own}]})[0].hints == tuple(own)
    telling = [*own[:2], "The vocabulary must stay limited in size!"]
    for hints in (telling, own[:2]):
        generated = questions("p.md", {"think_first": [ENTRY | {"hints": hints}]})[0].hints
        assert generated[0].startswith("A full answer makes 2 points")


@pytest.mark.parametrize(
    ("sentence", "about"),
    [
        ("The loss function measures how wrong the predictions are.", "The loss function"),
        ("Very large steps can jump past the valley.", "Very large steps"),
        ("A filter that always answers no can reach it.", "A filter"),
        ("Gradient descent moves each weight.", "Gradient descent"),
        ("Decode often becomes faster.", "Decode"),
        ("Sentences shrink.", "Sentences"),
        ("", ""),
    ],
)
def test_the_subject_is_what_stands_before_the_verb(sentence: str, about: str) -> None:
    assert subject(sentence) == about


WORDS = st.sampled_from(
    """model weights weight changes change token tokens the a no not every rating stored point points answer
    full piece twenty 20 it's LoRA byte-pair say something question part""".split()
)
SENTENCES = st.lists(WORDS, min_size=1, max_size=7).map(" ".join)


@given(SENTENCES, st.lists(SENTENCES, min_size=1, max_size=4), st.lists(SENTENCES, max_size=3))
def test_no_ladder_gives_a_key_point_away(question: str, points: list[str], concepts: list[str]) -> None:
    hints = ladder(question, points, concepts)
    assert len(hints) == 3
    for point in points:
        for shown in (*hints, " ".join(hints)):
            assert not gives_away(shown, point)
            stems = set(content_stems(point))
            assert not stems or len(stems & set(content_stems(shown))) < 0.8 * len(stems)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["question", "reference", "key_points", "hints", "x"]), inner, max_size=5
        )
    ),
    max_leaves=15,
)


@given(JSON, JSON)
def test_no_front_matter_breaks_the_reader(listed: Any, concepts: Any) -> None:
    for number, question in enumerate(
        questions("p.md", {"think_first": listed, "concepts": concepts}), start=1
    ):
        assert question.number == number
        assert len(question.hints) == 3
        assert question.key_points


def test_concepts_are_found_by_their_stems_and_all_of_them_where_none_is() -> None:
    listed = ["token", "context window", "byte-pair encoding"]
    assert concepts_in("Windows give context to tokens.", listed) == ("token", "context window")
    assert concepts_in("A window without it.", listed) == tuple(listed)


def test_takeaways_become_cards_with_one_gap() -> None:
    text = PAGE.replace("The list of all of them", "The *list* of [all](x.md) `t**k**ns`")
    found = takeaways("tokens.md", text)
    assert [(t.term, t.front) for t in found] == [
        ("token", "A piece of text that a model reads is a ____."),
        ("vocabulary", "The list of all t**k**ns is the ____."),
        ("tokenizer", "Cutting is done by a ____ before the model runs."),
    ]
    assert found[0].sentence == "A piece of text that a model reads is a token."
    assert found[0].key.startswith("tokens.md#t-")


def test_takeaways_that_give_their_term_away_or_have_none_make_no_card() -> None:
    text = PAGE.replace("is a **token**", "is a token, a **token**").replace("**vocabulary**", "vocabulary")
    text = text.replace("by a **tokenizer**", "**by** a **tokenizer**")
    assert takeaways("tokens.md", text) == ()
    outside = (
        PAGE.replace("## Takeaways", "## More")
        + "\n## Takeaways\n\n- The **last** one.\n\n## After\n\n- A **b**.\n"
    )
    assert [t.term for t in takeaways("tokens.md", outside)] == ["last"]
    assert takeaways("tokens.md", "---\ntitle: [\n---\n") == ()


def test_a_sound_page_has_no_problems() -> None:
    assert problems("tokens.md", PAGE.encode()) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("order: 40", "order: first", "tokens.md:3: order must be a number"),
        ("updated: 2026-11-22", "updated: last week", "tokens.md:5: updated must be a date such as 2026-11-22"),
        ("tags: [mechanics]", "tags: []", "tokens.md:6: tags must have at least 1 entries, not 0"),
        ("tags: [mechanics]", "tags: [2026]", "tokens.md:6: tags may hold only text; put quotes around 2026"),
        ("understand: Models read pieces.\n", "", "tokens.md:1: understand is missing"),
        ("beginner: A token is a piece.", "beginner: yes", "tokens.md:9: beginner must be text; put quotes"),
        ("    reference: Pieces spell any word.\n", "", "tokens.md:13: reference is missing"),
        ("      - The vocabulary stays limited in size.\n", "", "tokens.md:15: key_points must have 2 to 4 entries"),
        ("any word.\n      - The", "any word.\n      - x: The", "tokens.md:17: key_points may hold only text"),
        ("next: [tokens-2]", "next: [tokens.md]", "tokens.md:18: next: 'tokens.md' is no page name"),
        ("next: [tokens-2]", "next: [a, b, c, d]", "tokens.md:18: next must have 1 to 3 entries, not 4"),
        ("title: Tokens", "title: Tokens\ntitle: Again", "tokens.md:3: title is given twice"),
        ("confusion: T", "confusion: a: b: T", "tokens.md:10: broken front matter: mapping values are not allowed"),
        ("---\ntitle", "title", "tokens.md:1: no front matter; open the page with"),
        ("a **token**", "a token", "tokens.md:29: a takeaway must have exactly one **bold** term, not 0"),
        ("is the **voc", "**is** the **voc", "tokens.md:30: a takeaway must have exactly one **bold** term, not 2"),
        ("text that", "token that", "tokens.md:29: the takeaway says its term 'token' a second time"),
        ("Cutting is done by a **tokenizer**\n  before the model runs.", "**Cut**", "tokens.md:31: nothing is left"),
        ("- The list of all of them is the **vocabulary**.\n", "", "tokens.md:29: Takeaways must have 3 to 8 bullets"),
        ("## Takeaways", "## The end", "tokens.md:33: no section ## Takeaways"),
        ("## ", "### ", "tokens.md:20: no ## heading"),
    ],
)  # fmt: skip
def test_a_broken_page_is_named_with_its_line(old: str, new: str, found: str) -> None:
    assert old in PAGE
    lines = [str(problem) for problem in problems("tokens.md", PAGE.replace(old, new).encode())]
    assert len(lines) == 1, lines
    assert lines[0].startswith(found)


def test_a_hint_that_tells_is_a_problem_of_its_line() -> None:
    hints = (
        "    hints:\n      - Names.\n      - Typos.\n      - The vocabulary is limited and stays one size.\n"
    )
    broken = PAGE.replace("next:", hints + "next:")
    assert [str(p) for p in problems("t.md", broken.encode())] == [
        "t.md:21: this hint gives a key point away"
    ]
    two = PAGE.replace("next:", hints.replace("      - Typos.\n", "") + "next:")
    assert str(problems("t.md", two.encode())[0]) == "t.md:18: hints must have 3 entries, not 2"


def test_what_is_no_text_is_one_problem() -> None:
    assert str(problems("t.md", b"\xff\xfe\xfd")[0]).startswith("t.md:1: damaged: too many characters")


def test_pages_must_fit_together() -> None:
    def page(title: str, order: int, needs: str, following: str = "a") -> bytes:
        text = PAGE.replace("title: Tokens", f"title: {title}").replace("order: 40", f"order: {order}")
        text = text.replace("prerequisites: []", f"prerequisites: [{needs}]")
        return text.replace("next: [tokens-2]", f"next: [{following}]").encode()

    sound = {"a.md": page("A", 1, "", "b"), "b.md": page("B", 2, "a")}
    assert course_problems(sound) == []
    broken = {
        "a.md": page("A", 1, "c", "b"),
        "b.md": page("a", 1, "a, gone", "b"),
        "c.md": page("C", 3, "b, x", "gone"),
        "d.md": page("D", 4, "d"),
        "x.md": page("X", 5, "a"),
    }
    assert [str(problem) for problem in course_problems(broken)] == [
        "b.md:4: prerequisites: there is no page gone.md",
        "b.md:18: next: a page can't follow itself",
        "c.md:18: next: there is no page gone.md",
        "b.md:3: order 1 is also that of a.md",
        "b.md:2: title 'a' is also that of a.md",
        "a.md:4: prerequisites go in a circle: a -> c -> b -> a",
        "d.md:4: prerequisites go in a circle: d -> d",
    ]
