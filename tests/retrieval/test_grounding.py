"""The sentence check, rule by rule. Vectors are given, so that each case turns on the words alone."""

import numpy as np
import pytest

from retrieval.evidence import EvidenceSentence
from retrieval.grounding import already_said, check_sentence, hopeless, pairs_to_judge
from retrieval.records import Passage, Sentence

NEAR = np.array([1.0, 0.0], np.float32)
FAR = np.array([0.0, 1.0], np.float32)

TRAINING = "Training changes the weights of a model; inference leaves every weight as it was."
TOKENS = "One token is about four characters, so 1,000 tokens hold about 750 English words."
FIXED = "Inference computes output while its weights stay fixed."
REPLY = "At 40 tokens per second, a reply of 200 tokens takes 5 seconds."
RATING = "A rating does not change the weights."


def evidence(*texts: str, title: str = "Training and inference") -> list[EvidenceSentence]:
    items = []
    for i, text in enumerate(texts):
        sentence = Sentence(0, len(text), text)
        passage = Passage(
            i,
            1,
            "course",
            "page.md",
            title,
            (),
            0,
            len(text),
            text,
            (sentence,),
            1,
            1.0,
            1.0,
            1.0,
            NEAR[None, :],
        )
        items.append(EvidenceSentence(sentence, passage, 1.0, NEAR))
    return items


@pytest.mark.parametrize(
    "draft",
    [
        "Training changes the weights of a model.",
        "Inference leaves every weight as it was.",
        "In training, the weights of a model are changed.",
    ],
)
def test_faithful_sentences_hold(draft: str) -> None:
    check = check_sentence(draft, NEAR, evidence(TRAINING), "What does training do?")
    assert check.supported, check.reasons
    assert check.cites == (0,)


@pytest.mark.parametrize(
    ("draft", "source", "reason"),
    [
        ("Inference changes the weights of a model.", TRAINING, "another"),
        ("Inference computes output while its weights are updated.", FIXED, "words"),
        ("Training computes output while its weights stay fixed.", FIXED, "words"),
        ("Training leaves every weight as it was.", TRAINING, "another"),
        ("Weights change training of a model.", TRAINING, "order"),
        ("Training does not change the weights of a model.", TRAINING, "negation"),
        ("A rating changes the weights.", RATING, "negation"),
        ("One token is about five characters.", TOKENS, "numbers"),
        ("One token is about four characters, so 2,000 tokens hold about 750 words.", TOKENS, "numbers"),
        ("Training changes the weights and the tokenizer of a quantum model.", TRAINING, "words"),
        ("Training always changes the weights of a model.", TRAINING, "wider"),
        ("Training changes the weights of a", TRAINING, "unfinished"),
        ("At 40 tokens per second, a reply takes 5 seconds.", REPLY, "leaves out a size"),
        ("The current time is used.", "In the first case the current time is used.", "leaves out when"),
        ("The notes say training changes the weights.", TRAINING, "task"),
        ("What training does is training.", TRAINING, "nothing"),
        ("Tokens cost less.", "Longer prompts have more tokens, and tokens cost more.", "turned around"),
    ],
)
def test_unfaithful_sentences_are_refused_for_the_right_reason(draft: str, source: str, reason: str) -> None:
    check = check_sentence(draft, NEAR, evidence(source), "What does training do?")
    assert not check.supported
    assert check.cites == ()
    assert any(reason in r for r in check.reasons), check.reasons


def test_a_sentence_far_from_the_evidence_is_refused_although_its_words_are_there() -> None:
    check = check_sentence("Training changes the weights of a model.", FAR, evidence(TRAINING), "What?")
    assert not check.supported
    assert "far" in check.reasons[0]


def test_every_sentence_that_lends_words_is_cited() -> None:
    items = evidence(
        "Training changes the weights.", "Inference reads a prompt.", "Tokens are pieces of text."
    )
    check = check_sentence(
        "Training changes the weights, and inference reads a prompt.", NEAR, items, "Compare both."
    )
    assert check.supported, check.reasons
    assert check.cites == (0, 1)


def test_numbers_in_words_and_digits_are_the_same_number() -> None:
    check = check_sentence("One token is about 4 characters.", NEAR, evidence(TOKENS), "How long is a token?")
    assert check.supported, check.reasons


@pytest.mark.parametrize(
    ("draft", "source", "question"),
    [
        ("The lamps are on.", "When night falls, the lamps are on.", "What is on at night?"),
        ("The lamps are on.", "In practice the lamps are on.", "What is on?"),
        ("A reply of 200 tokens takes 5 seconds.", REPLY, "How long does it take?"),
        (
            "Writing takes 5 seconds.",
            REPLY.replace("reply", "writing of words, a reply"),
            "How long does it take?",
        ),
    ],
)
def test_what_the_question_said_and_what_limits_nothing_may_be_left_out(
    draft: str, source: str, question: str
) -> None:
    check = check_sentence(draft, NEAR, evidence(source), question)
    assert check.supported, check.reasons


def test_said_needs_both_the_meaning_and_the_words() -> None:
    (item,) = evidence(TRAINING)
    whole = "Training changes the weights of a model, and inference leaves every weight as it was."
    assert already_said(item, [(whole, NEAR)])
    assert not already_said(item, [(whole, FAR)])
    assert not already_said(item, [("Training changes.", NEAR)])
    assert not already_said(item, [])


def test_what_is_cited_needs_the_words_only() -> None:
    (item,) = evidence(TRAINING)
    most = "Inference leaves the weights of a model as they were; training changes every weight."
    assert not already_said(item, [(most, FAR)])
    assert already_said(item, [(most, FAR)], cited=True)
    assert not already_said(item, [("Training changes.", NEAR)], cited=True)


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        (
            "Byte-pair encoding is a method that builds a vocabulary by repeatedly joining the most frequent "
            "neighbouring pair of tokens.",
            "Byte-pair encoding builds its vocabulary by joining frequent neighbours.",
        ),
        (
            "Exploration is the trying of actions that do not look best at the moment, in order to learn more about "
            "them.",
            "Exploration is the trying of actions that do not look best at the moment.",
        ),
        (
            "Pasting a report of 20,000 words adds about 27,000 tokens, or 5.4 cents, to every request that carries "
            "it.",
            "Pasting a report of 20,000 words adds about 5.4 cents to every request that carries it.",
        ),
        (
            "Hint A was shown 10 times and earned 6 rewards, an average of 0.6.",
            "Hint A was shown 10 times and earned 6 rewards.",
        ),
    ],
)
def test_what_a_draft_leaves_out_of_the_sentence_it_cites_is_not_said(source: str, draft: str) -> None:
    (item,) = evidence(source)
    assert not already_said(item, [(draft, NEAR)], cited=True)


def test_a_bare_no_is_said_first_or_not_at_all() -> None:
    (item,) = evidence("No.")
    assert not already_said(item, [])
    assert already_said(item, [(TRAINING, NEAR)])


def test_words_of_two_sentences_do_not_make_a_third_true() -> None:
    items = evidence(FIXED, "In training the weights are updated.")
    mixed = check_sentence(
        "Inference computes output while its weights are updated.", NEAR, items, "Compare both."
    )
    assert not mixed.supported


def test_a_draft_that_strays_is_given_up_before_its_end() -> None:
    items = evidence(FIXED)
    assert not hopeless("Inference computes output while its weigh", items)
    assert not hopeless("Inference bakes brea", items)
    assert hopeless("Inference bakes bread for ", items)
    assert not hopeless("", items)


def test_a_judge_may_refuse_what_the_rules_let_through_and_nothing_else() -> None:
    draft, source = "In training, the weights of a model are changed.", evidence(TRAINING)
    states, contradicts = (np.array([[0.1, p, 0.9 - p]], np.float32) for p in (0.8, 0.1))
    assert pairs_to_judge(draft, source) == [(draft, TRAINING)]
    assert check_sentence(draft, NEAR, source, "What does training do?", states).supported
    refused = check_sentence(draft, NEAR, source, "What does training do?", contradicts)
    assert refused.reasons == ("the evidence says otherwise",)
    wrong = "Inference changes the weights of a model."
    assert not check_sentence(wrong, NEAR, source, "What does training do?", states).supported


CONTRADICTED = np.array([[0.0, 0.0, 1.0]], np.float32)
BYTES = "Each fetch moves 12 bytes for a card, and a slow disk may need longer."


@pytest.mark.parametrize(
    ("draft", "shown"),
    [
        ("Each fetch moves 12 bytes.", True),  # words left out, none moved: the judge isn't heard
        ("A slow disk moves 12 bytes for each card.", False),
        ("A slow disk need longer.", False),  # "may" is gone, so it is
    ],
)
def test_the_judge_is_heard_where_more_was_done_than_leaving_words_out(draft: str, shown: bool) -> None:
    items = evidence(BYTES)
    assert check_sentence(draft, NEAR, items, "What is moved?", CONTRADICTED).supported is shown


def test_words_about_the_task_are_fine_where_the_material_has_them() -> None:
    source = "A long context hides the answer in the middle."
    assert check_sentence(source, NEAR, evidence(source), "Why do models overlook things?").supported
    assert not check_sentence("The answer is training.", NEAR, evidence(TRAINING), "What changes?").supported
