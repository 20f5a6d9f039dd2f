"""Follow-up questions, made to stand alone."""

import pytest

from tutor.standalone import compared_things, standalone_question, topic_of


@pytest.mark.parametrize(
    ("question", "searched"),
    [
        ("Why is it expensive?", "Why is training expensive?"),
        ("How long does that take?", "How long does training take?"),
        ("What are its steps?", "What are training's steps?"),
        ("What about inference?", "What is inference?"),
        ("why?", "why: What is training?"),
        ("What is a token?", "What is a token?"),
        ("Is it true that models think?", "Is it true that models think?"),
        ("If a model has many parameters, is it better?", "If a model has many parameters, is it better?"),
    ],
)
def test_what_a_follow_up_leans_on_is_filled_in(question: str, searched: str) -> None:
    assert standalone_question(question, ["What is training?"]) == searched


def test_without_history_the_question_is_searched_as_typed() -> None:
    assert standalone_question("  Why is it\nexpensive? ", []) == "Why is it expensive?"


def test_a_chain_leans_on_the_last_standalone_question() -> None:
    first = standalone_question("Why is it expensive?", ["What is training?"])
    assert (
        standalone_question("How can it be cheaper?", ["What is training?", first])
        != "How can it be cheaper?"
    )


def test_a_long_topic_is_appended_instead_of_pasted_in() -> None:
    asked = standalone_question(
        "why does it matter?", ["How do tokenizers cut rare words into smaller pieces?"]
    )
    assert asked == "why does it matter? (tokenizers cut rare words into smaller pieces)"


@pytest.mark.parametrize(
    ("question", "topic"),
    [
        ("What is a LoRA adapter?", "a LoRA adapter"),
        ("How does retrieval work?", "retrieval"),
        (
            "what's the difference between training and inference?",
            "the difference between training and inference",
        ),
        ("ok", ""),
    ],
)
def test_topic(question: str, topic: str) -> None:
    assert topic_of(question) == topic


@pytest.mark.parametrize(
    ("question", "things"),
    [
        ("What is the difference between a weight and a bias?", ("weight", "bias")),
        ("How does LoRA differ from full fine-tuning?", ("LoRA", "full fine-tuning")),
        ("training vs inference", ("training", "inference")),
        ("Compare retrieval with fine-tuning.", ("retrieval", "fine-tuning")),
        ("How is training different from inference?", ("training", "inference")),
        ("What is a token?", ()),
        ("Why is it expensive? (the difference between training and inference)", ()),
        ("What is the difference between it and this?", ()),
    ],
)
def test_things_compared(question: str, things: tuple[str, ...]) -> None:
    assert compared_things(question) == things
