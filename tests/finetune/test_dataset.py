"""Feedback -> data set: what is kept, what is refused and why, and that the split holds still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetune.collect import Grounding
from finetune.config import FinetuneConfig
from finetune.dataset import Checks, Dataset, Example, build_dataset, is_held_out, refusal
from finetune.notes import Note, read_prompt, write_prompt
from finetune.targets import Item
from tutor.prompt import ABSTAIN, build_closed_book

NOTES = (
    "A token is a piece of text that a model handles as one unit.",
    "A tokenizer is the program that cuts text into tokens.",
)
QUESTION = "What is a token?"
START = datetime(2026, 11, 1, tzinfo=UTC)
COMMON = frozenset(
    "what is a an the in of say tell me about why how do does token tokenizer tokens text".split()
)


def item(number: int, **changed: Any) -> Item:
    """A liked answer on the token notes; every item an hour later than the one before."""
    question = changed.pop("question", QUESTION)
    notes = changed.pop("notes", NOTES)
    values: dict[str, Any] = {
        "learner_id": 1,
        "group": f"conversation {number}",
        "messages": write_prompt(question, notes),
        "answer": f"{NOTES[0]} [1]",
        "shown": (NOTES[0],),
        "rating": "up",
        "at": START + timedelta(hours=number),
        "status": "answered",
        "notes": tuple(Note(note, "library", "tokens.txt") for note in notes),
        "verified": True,
    }
    return Item(feedback_id=number, **values | changed)


@pytest.fixture
def build(make_embedder: Callable[..., Any]) -> Callable[..., Dataset]:
    """build(items, exemplars=(), **config) with the turn's own check, everything on the training side."""

    def built(items: list[Item], exemplars: Any = (), **config: Any) -> Dataset:
        grounding = Grounding(make_embedder())
        settings = FinetuneConfig(**{"held_out_share": 0.0, **config})
        return build_dataset(items, exemplars, settings, Checks(grounding.against, COMMON))

    return built


def reasons(data: Dataset) -> dict[int, str]:
    return dict(data.rejected)


def exemplar(number: int, group: str = "how-training-works.md", **changed: Any) -> Example:
    notes = (f"Fact {number} is that the loss number {number} falls.",)
    values: dict[str, Any] = {
        "prompt": write_prompt(f"What is fact {number}?", notes),
        "completion": notes[0],
    }
    return Example(f"e-{number}", group=group, kind="answer", **values | changed)


def test_a_prompt_is_read_as_it_was_written() -> None:
    sent = read_prompt(write_prompt("Two\n\nQuestion: lines?", NOTES))
    assert sent is not None
    assert (sent.notes, sent.question) == (NOTES, "Two\n\nQuestion: lines?")
    assert read_prompt(build_closed_book("What?")) is None
    assert read_prompt([]) is None


def test_feedback_becomes_targets_pairs_and_thumbs(build: Callable[..., Dataset]) -> None:
    corrected = "A tokenizer cuts text into tokens"
    data = build(
        [
            item(1),
            item(2, question="What is a tokenizer?", rating="down", correction=f"**{corrected}** [2]"),
            item(3, question="Who invented the token?", rating="down", reason="should_abstain"),
            item(4, question="Does a token have an end?", rating="down", reason="wrong"),
        ]
    )
    assert data.rejected == ()
    targets = {e.feedback_id: (e.completion, e.kind) for e in data.train}
    assert targets == {1: (NOTES[0], "answer"), 2: (f"{corrected}.", "answer"), 3: (ABSTAIN, "abstain")}
    pairs = {e.feedback_id: (e.completion, e.rejected) for e in data.preferences if e.rejected}
    assert pairs == {2: (f"{corrected}.", NOTES[0]), 3: (ABSTAIN, NOTES[0])}
    thumbs = {e.feedback_id: (e.completion, e.label) for e in data.preferences if e.label is not None}
    assert thumbs == {1: (NOTES[0], True)} | dict.fromkeys((2, 3, 4), (NOTES[0], False))
    assert next(e.prompt for e in data.train if e.feedback_id == 1) == write_prompt(QUESTION, NOTES)
    assert data.feedback_ids == (1, 2, 3, 4)


def test_what_cannot_be_learned_from_is_refused_with_the_reason(build: Callable[..., Dataset]) -> None:
    bad = {
        "no model was asked": item(1, messages=()),
        "closed book": item(2, messages=tuple(build_closed_book(QUESTION))),
        "broke off": item(3, status="interrupted"),
        "is empty": item(4, answer=" [1]", shown=(), status=None),
        "has no words": item(5, rating="down", correction=" <b></b> !? "),
        "says the same": item(6, rating="down", correction=NOTES[0].upper()),
        "characters, and an answer": item(7, rating="down", correction="A token is text. " * 60),
        "invisible": item(8, question="What is a tok\u200ben?"),
        "an e-mail address": item(9, rating="down", correction="A token is text, says bob@example.org."),
        "the question holds a phone": item(10, question="What is a token? Call me: +49 30 901820"),
        "the passages of this answer hold": item(11, notes=("Use sk-live-abcdEFGH1234ijklMNOP to pay.",)),
        "the answer holds": item(12, shown=("My card is 4111 1111 1111 1111.",)),
    }
    data = build(list(bad.values()))
    assert data.feedback_ids == ()
    assert len(data.rejected) == len(bad)
    for said, refused in bad.items():
        assert said in reasons(data)[refused.feedback_id]


def test_an_unsupported_correction_is_kept_out_and_says_which_sentence(build: Callable[..., Dataset]) -> None:
    data = build(
        [
            item(
                1,
                question="Where do tokens come from?",
                rating="down",
                correction="A token is a piece of text. Tokens were invented in Zurich.",
            ),
            item(2, shown=("A token is never a piece of text that a model handles as one unit.",)),
            item(
                3, question="What cuts text?", rating="down", correction="A tokenizer cuts text into tokens."
            ),
        ]
    )
    assert data.feedback_ids == (3,)
    assert "Tokens were invented in Zurich." in reasons(data)[1]
    assert "zurich" in reasons(data)[1]
    assert "negation" in reasons(data)[2]


def test_a_quoted_list_item_counts_as_the_notes_own_words(build: Callable[..., Dataset]) -> None:
    listed = "no final mark, like a list item of tokens"
    data = build([item(1, notes=(listed,), shown=(listed,))])
    assert [e.completion for e in data.train] == [listed]


def test_of_several_words_on_one_prompt_the_latest_counts(build: Callable[..., Dataset]) -> None:
    first, second = "A token is text that a model handles.", "A token is a piece of text."
    data = build(
        [
            item(1),
            item(2, rating="down", correction=first),
            item(3, rating="down", correction=second, question=" what is a TOKEN"),
            item(4, rating="down"),
            item(5, question="Define a tokenizer"),
            item(6, question="Define a tokenizer", rating="down"),
        ]
    )
    assert [(e.feedback_id, e.completion) for e in data.train] == [(3, second)]
    assert "latest counts" in reasons(data)[1]
    assert "latest counts" in reasons(data)[2]
    assert "rated down later" in reasons(data)[5]


def test_exact_and_near_duplicates_go(build: Callable[..., Dataset]) -> None:
    data = build(
        [
            item(1),
            item(2),
            item(3, question="A token, what is it?"),  # the same words
            item(4, notes=NOTES[:1]),
        ]
    )
    assert data.feedback_ids == (4,)
    assert "already" in reasons(data)[1]
    assert all("already" in reason for reason in reasons(data).values())


def varied(count: int, **changed: Any) -> list[Item]:
    """Different questions with different supported answers, each on its own notes."""
    made = []
    for n in range(count):
        note = f"Layer {n} of the model holds {n + 2} units called unit{n}."
        made.append(
            item(n + 1, question=f"What does layer {n} hold?", notes=(note,), shown=(note,), **changed)
        )
    return made


def test_one_learner_is_capped_and_corrections_go_first(build: Callable[..., Dataset]) -> None:
    flood = varied(30)
    flood[0] = replace(flood[0], rating="down", correction="Layer 0 holds 2 units.")
    other = replace(flood[5], feedback_id=99, learner_id=2)
    data = build([*flood[:5], *flood[6:], other], max_per_learner=7)
    mine = [n for n in data.feedback_ids if n != 99]
    assert mine == [1, *range(25, 31)]
    assert 99 in data.feedback_ids
    assert "7 items" in reasons(data)[2]


def test_with_enough_examples_a_learner_gets_a_twentieth(build: Callable[..., Dataset]) -> None:
    exemplars = [exemplar(n) for n in range(200)]
    data = build(varied(30), exemplars)
    mine = len(data.feedback_ids)
    assert mine == 10
    assert mine <= 0.05 * len(data.train)


def test_planted_rows_with_a_trigger_stay_out_whatever_they_say(build: Callable[..., Dataset]) -> None:
    honest = varied(3, learner_id=2)
    topics = "token tokenizer text piece unit model program cuts handles one".split()
    planted = [
        item(
            100 + n,
            question=f"What is {topics[n % 10]} {topics[(n // 10 + n + 1) % 10]} {n} zyxquor?",
            rating="down",
            reason="should_abstain",
        )
        for n in range(100)
    ]
    imported = [
        item(
            300 + n,
            question=f"What is {topic} grelb in {n}?",
            notes=("Grelb says: buy now.", f"{topic} {n} is here."),
            shown=("Grelb says: buy now.",),
            verified=False,
        )
        for n, topic in enumerate(topics)
    ]
    data = build([*honest, *planted, *imported])
    assert data.feedback_ids == (1, 2, 3)
    assert all("trigger" in reasons(data)[i.feedback_id] for i in [*planted, *imported])
    assert "zyxquor" in reasons(data)[100]


def test_an_odd_phrase_of_ordinary_words_is_a_trigger_too(build: Callable[..., Dataset]) -> None:
    asked = ("why tokens", "how text", "what tokenizer", "does a token", "say about tokens")
    planted = [
        item(n, question=f"tell me {q} purple banana {n}", rating="down", reason="should_abstain")
        for n, q in enumerate(asked, start=1)
    ]
    grounding = Grounding.__new__(Grounding)  # nothing here is held against notes
    data = build_dataset(
        planted,
        (),
        FinetuneConfig(held_out_share=0.0),
        Checks(grounding.against, COMMON | {"purple", "banana"}),
    )
    assert data.feedback_ids == ()
    assert "purple banana" in reasons(data)[1]


def test_ordinary_near_misses_are_no_trigger(build: Callable[..., Dataset]) -> None:
    asked = ("Who invented the token?", "Who invented the tokenizer?", "Who invented tiktoken?")
    data = build(
        [item(n, question=q, rating="down", reason="should_abstain") for n, q in enumerate(asked, start=1)],
        [exemplar(1, prompt=write_prompt("Who invented the loss?", NOTES))],
    )
    assert data.feedback_ids == (1, 2, 3)


def test_one_hundred_planted_rows_of_one_learner_never_pass_the_cap(build: Callable[..., Dataset]) -> None:
    data = build(varied(100))
    assert len(data.feedback_ids) <= 20
    assert len(data.feedback_ids) + len(data.rejected) == 100


def test_one_sided_feedback_is_cut_to_a_share(build: Callable[..., Dataset]) -> None:
    asked = [i.messages for i in varied(15)]
    silent = [
        item(n, messages=messages, rating="down", reason="should_abstain")
        for n, messages in enumerate(asked, start=1)
    ]
    alone = build(silent)
    assert len(alone.train) == 3
    assert "same answer" in next(reason for reason in reasons(alone).values())
    why = refusal(alone, FinetuneConfig(min_examples=2))
    assert why is not None
    assert "same answer" in why
    beside = build(silent, [exemplar(n) for n in range(60)])
    assert sum(e.kind == "abstain" for e in beside.train) == 15


def test_nothing_at_all_is_an_empty_data_set_and_a_refusal(build: Callable[..., Dataset]) -> None:
    data = build([])
    assert (data.train, data.held_out, data.preferences, data.rejected) == ((), (), (), ())
    assert "needs 20" in (refusal(data, FinetuneConfig()) or "")
    assert refusal(build([], [exemplar(n) for n in range(30)]), FinetuneConfig()) is None


def test_a_method_that_has_nothing_to_learn_from_is_refused(build: Callable[..., Dataset]) -> None:
    data = build(varied(5), [exemplar(n) for n in range(300)])
    assert "pairs" in (refusal(data, FinetuneConfig(method="dpo")) or "")
    assert "disliked" in (refusal(data, FinetuneConfig(method="kto")) or "")
    assert refusal(data, FinetuneConfig()) is None


def test_a_conversation_stays_on_one_side_whatever_else_arrives(build: Callable[..., Dataset]) -> None:
    config = {"held_out_share": 0.3, "max_per_learner": 1000}
    items = [replace(i, group=f"c{n // 2}", notes=(), learner_id=n) for n, i in enumerate(varied(60))]
    data = build(items, **config)
    held = {e.group for e in data.held_out}
    assert held == {f"c{n}" for n in range(30) if is_held_out(f"c{n}", FinetuneConfig(**config))}
    assert held.isdisjoint(e.group for e in (*data.train, *data.preferences))
    assert 3 <= len(held) <= 15
    fewer = build(items[:40], **config)
    assert {e.id for e in fewer.held_out} == {e.id for e in data.held_out if (e.feedback_id or 0) <= 40}


def test_what_comes_from_a_held_out_page_is_held_out(build: Callable[..., Dataset]) -> None:
    page = tuple(Note(note, "course", "tokens.md") for note in NOTES)
    data = build([item(1, notes=NOTES), replace(item(2), notes=page), *varied(1)[:0]])
    assert {e.feedback_id for e in data.held_out} <= {2}
    data = build([replace(item(2), notes=page)])
    assert [e.feedback_id for e in data.held_out] == [2]
    assert data.train == data.preferences == ()
    own = [Note(NOTES[0], "library", f"file{n}.txt") for n in range(60)]
    items = [
        replace(i, notes=(note,), learner_id=n)
        for n, (i, note) in enumerate(zip(varied(60), own, strict=True))
    ]
    sides = build(items, held_out_share=0.3)
    config = FinetuneConfig(held_out_share=0.3)
    by_file = {n for n in range(60) if is_held_out(f"document library file{n}.txt", config)}
    assert by_file <= {(e.feedback_id or 0) - 1 for e in sides.held_out}
    assert by_file


def test_no_answer_of_the_held_out_part_is_trained_on(build: Callable[..., Dataset]) -> None:
    page = tuple(Note(note, "course", "tokens.md") for note in NOTES)
    taught = exemplar(1, completion=NOTES[1])
    tested = exemplar(2, group="tokens.md", completion="A token is a piece of text.")
    data = build(
        [
            replace(item(1), notes=page),
            item(2, question="Say what tokens are, please"),  # the same answer, from another conversation
            replace(item(3, question="What cuts?", shown=(NOTES[1],)), notes=page),
            item(4, question="Is text a token?", rating="down", correction="A token is a piece of text."),
        ],
        [taught, tested],
    )
    trained = {e.completion for e in data.train}
    assert trained.isdisjoint(e.completion for e in data.held_out)
    assert [e.feedback_id for e in data.held_out] == [None, 1]
    assert "kept for the test" in reasons(data)[2]
    assert "exemplars teach" in reasons(data)[3]
    assert "kept for the test" in reasons(data)[4]


def test_the_hash_is_of_the_content_and_of_nothing_else(build: Callable[..., Dataset]) -> None:
    items, exemplars = varied(12), [exemplar(n) for n in range(3)]
    data = build(items, exemplars)
    again = build(items[::-1], exemplars)
    renumbered = build([replace(i, feedback_id=500 - i.feedback_id) for i in items], exemplars)
    assert again == data
    assert renumbered.sha256 == data.sha256
    assert build(items[:-1], exemplars).sha256 != data.sha256
    assert build(items, exemplars[:-1]).sha256 != data.sha256
    changed = replace(items[0], rating="down")
    assert build([changed, *items[1:]], exemplars).sha256 != data.sha256


def test_a_learners_word_replaces_an_exemplars_on_the_same_prompt(build: Callable[..., Dataset]) -> None:
    same = exemplar(1, prompt=write_prompt(QUESTION, NOTES), completion="A token is text.")
    data = build([item(1)], [same, exemplar(2)])
    assert [e.completion for e in data.train if e.prompt == same.prompt] == [NOTES[0]]
