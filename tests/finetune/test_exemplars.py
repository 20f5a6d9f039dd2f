"""The seed set as it ships, and the examples that it makes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from db.session import Database
from finetune.contexts import ABSTAINING, contexts, verdict_on
from finetune.dataset import Example
from finetune.exemplars import (
    HELD_OUT_GROUPS,
    HELD_OUT_PAGES,
    TRAIN_PAGES,
    UNANSWERABLE,
    Exemplar,
    ExemplarError,
    find_evidence,
    load_exemplars,
    sentences_of,
)
from finetune.notes import Note, read_prompt
from retrieval.words import content_stems
from tutor.prompt import ABSTAIN

PAGE = "how-training-works.md"


@pytest.fixture(scope="module")
def exemplars() -> tuple[Exemplar, ...]:
    return load_exemplars()


@pytest.fixture(scope="module")
def examples(exemplars: Sequence[Exemplar], evidence: dict[str, tuple[Note, ...]]) -> list[Example]:
    return contexts(exemplars, evidence)


@pytest.fixture(scope="module")
def evidence(exemplars: Sequence[Exemplar]) -> dict[str, tuple[Note, ...]]:
    """Stands in for retrieval: the three sentences of all exemplars' pages that share most words with the question."""
    sentences = [
        (Note(text, "course", page), set(content_stems(text)))
        for page in sorted(TRAIN_PAGES | HELD_OUT_PAGES)
        for text in sorted(sentences_of(page))
    ]
    found = {}
    for exemplar in exemplars:
        asked = set(content_stems(exemplar.question))
        ranked = sorted(
            sentences, key=lambda pair: (-len(asked & pair[1]) / (3 + len(pair[1])), pair[0].text)
        )
        found[exemplar.id] = tuple(note for note, _ in ranked[:3])
    return found


def test_the_seed_set_is_whole(exemplars: tuple[Exemplar, ...]) -> None:
    assert len(exemplars) >= 600
    kinds = Counter(e.kind for e in exemplars)
    assert set(kinds) == {"answerable", *UNANSWERABLE}
    assert {e.page for e in exemplars if e.page} == TRAIN_PAGES | HELD_OUT_PAGES
    assert 0.2 <= 1 - kinds["answerable"] / len(exemplars) <= 0.5
    held_out = [e for e in exemplars if e.held_out]
    assert len(held_out) >= 100
    assert {e.kind for e in held_out} == {"answerable", *UNANSWERABLE}


def line(**changed: object) -> dict[str, object]:
    gold = sorted(sentences_of(PAGE))[0]
    good = {
        "id": "x-1",
        "page": PAGE,
        "kind": "answerable",
        "question": "What is it?",
        "gold": [gold],
        "answer": "It falls.",
        "must_say": ["falls"],
    }
    return good | changed


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gold": ["No sentence of this page."]}, "no sentence of the page"),
        ({"gold": []}, "1 to 2"),
        ({"must_say": ["rises"]}, "'rises'"),
        ({"must_say": []}, "must_say is empty"),
        ({"answer": "It falls"}, "whole sentence"),
        ({"page": "tokens.md"}, "another file"),
        ({"kind": "easy"}, "none of"),
        ({"kind": "near_miss"}, "has no gold"),
        ({"question": " ?"}, "no words"),
        ({"question": 3}, "must be a text"),
        ({"extra": 1}, "extra"),
        ({"split": "held_out"}, "page decides"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    file = tmp_path / f"{PAGE.removesuffix('.md')}.jsonl"
    first = line(id="x-0", question="Another one?")
    file.write_text(json.dumps(first) + "\n" + json.dumps(line(**changed)) + "\n", "utf-8")
    with pytest.raises(ExemplarError, match=rf"^{file.name}:2: .*{said}"):
        load_exemplars(tmp_path)
    file.write_text(json.dumps(first) + "\n" + json.dumps(line()) + "\n", "utf-8")
    assert [e.id for e in load_exemplars(tmp_path)] == ["x-0", "x-1"]


def test_repeats_broken_lines_and_pages_kept_free_are_refused(tmp_path: Path) -> None:
    file = tmp_path / f"{PAGE.removesuffix('.md')}.jsonl"
    for second, said in (
        (json.dumps(line()), "stands in"),
        (json.dumps(line(id="x-2", question="what is IT")), "stands in"),
        ("{", "Expecting"),
        ("", "empty"),
        ("[]", "object"),
    ):
        file.write_text(f"{json.dumps(line())}\n{second}\n", "utf-8")
        with pytest.raises(ExemplarError, match=rf":2: .*{said}"):
            load_exemplars(tmp_path)
    file.unlink()
    (tmp_path / "privacy.jsonl").write_text(json.dumps(line(page="privacy.md")), "utf-8")
    with pytest.raises(ExemplarError, match="kept free"):
        load_exemplars(tmp_path)


def test_every_exemplar_is_taught_and_the_right_share_declines(
    exemplars: tuple[Exemplar, ...], examples: list[Example]
) -> None:
    train = [e for e in examples if e.group not in HELD_OUT_GROUPS]
    by_id = {e.id: e for e in exemplars}
    taught = {e.id.split("@")[0] for e in train if e.kind == "answer"}
    assert taught == {e.id for e in exemplars if e.answerable and not e.held_out}
    declined = [e for e in train if e.kind == "abstain"]
    assert not any(by_id[e.id.split("@")[0]].answerable for e in declined)
    assert len(declined) / len(train) == pytest.approx(ABSTAINING, abs=0.005)
    for example in examples:
        sent = read_prompt(example.prompt)
        exemplar = by_id[example.id.split("@")[0]]
        assert sent is not None
        assert sent.question == exemplar.question
        if example.kind == "answer":
            assert example.completion == exemplar.answer
            assert set(exemplar.gold) & set(sent.notes)
        else:
            assert example.completion == ABSTAIN
            assert not set(exemplar.gold) & set(sent.notes)
    assert len({e.id for e in examples}) == len(examples)


def test_several_questions_share_one_context(examples: list[Example]) -> None:
    train = [e for e in examples if e.group not in HELD_OUT_GROUPS]
    beginnings = Counter(e.prompt[1]["content"].partition("\n\nQuestion: ")[0] for e in train)
    assert len(train) / len(beginnings) > 1.5
    runs = 1 + sum(
        a.prompt[1]["content"].partition("\n\n")[0] != b.prompt[1]["content"].partition("\n\n")[0]
        for a, b in pairwise(train)
    )
    assert runs == len(beginnings)  # side by side


def test_training_reads_no_sentence_of_a_page_it_is_judged_on(
    exemplars: tuple[Exemplar, ...], evidence: dict[str, tuple[Note, ...]], examples: list[Example]
) -> None:
    assert any(n.document in HELD_OUT_PAGES for e in exemplars if not e.held_out for n in evidence[e.id])
    unseen = set().union(*map(sentences_of, HELD_OUT_PAGES)) - set().union(*map(sentences_of, TRAIN_PAGES))
    train = [e for e in examples if e.group not in HELD_OUT_GROUPS]
    for example in train:
        sent = read_prompt(example.prompt)
        assert sent is not None
        assert not unseen & set(sent.notes)
    held_out = [e for e in examples if e.group in HELD_OUT_GROUPS]
    tested = {e.completion for e in held_out} - {ABSTAIN}
    assert tested
    assert tested.isdisjoint(e.completion for e in train)


def test_held_out_exemplars_keep_the_notes_that_were_found(
    evidence: dict[str, tuple[Note, ...]], examples: list[Example]
) -> None:
    held_out = [e for e in examples if e.group in HELD_OUT_GROUPS]
    assert len(held_out) > 50
    for example in held_out:
        sent = read_prompt(example.prompt)
        assert sent is not None
        assert sent.notes == tuple(n.text for n in evidence[example.id])


def test_the_same_seed_gives_the_same_examples_and_another_seed_others(
    exemplars: tuple[Exemplar, ...], evidence: dict[str, tuple[Note, ...]], examples: list[Example]
) -> None:
    assert contexts(exemplars, evidence) == examples
    assert contexts(exemplars, evidence, 2) != examples


def test_where_the_gold_was_not_found_it_is_taught_with_it() -> None:
    gold, *others = sorted(sentences_of(PAGE), key=len, reverse=True)[:4]
    exemplar = Exemplar("x", PAGE, "answerable", "What of zebras?", (gold,), gold, (gold[:40],))
    notes = tuple(Note(text, "course", PAGE) for text in others)
    (taught,) = contexts([exemplar], {"x": notes})
    assert (taught.kind, taught.id) == ("answer", "x")
    sent = read_prompt(taught.prompt)
    assert sent is not None
    assert len(sent.notes) == 3
    assert gold in sent.notes
    assert [n for n in sent.notes if n != gold] == others[:2]


def test_a_question_is_answered_with_its_gold_and_left_open_without() -> None:
    gold = "A vocabulary is the fixed list of all tokens that a tokenizer knows."
    exemplar = Exemplar("x", PAGE, "answerable", "Define vocabulary.", (gold,), gold, ("fixed list",))
    assert verdict_on(exemplar, (gold,)) == "answer"
    assert verdict_on(exemplar, ("The loss falls while the weights change.",)) is None
    both = Exemplar("y", PAGE, "answerable", "What?", (gold, "Loss falls."), f"{gold} Loss falls.", ("Loss",))
    assert verdict_on(both, (gold,)) is None  # half of the answer is missing
    unanswerable = Exemplar("z", PAGE, "near_miss", "Who invented it?", (), "", ())
    assert verdict_on(unanswerable, (gold,)) == "abstain"


class CountingTutor:
    """A tutor over one database that counts its searches."""

    def __init__(self, database: Database, embedder: Any) -> None:
        self.database = database
        self.retriever = SimpleNamespace(embedder=embedder, reader=None)
        self.settings = SimpleNamespace(reranker=None, passages=8)
        self.searched: list[str] = []

    def search(self, question: str) -> tuple[tuple, Any]:
        self.searched.append(question)
        passage = SimpleNamespace(source="course", document=PAGE)
        sentence = SimpleNamespace(text=f"About {question}")
        return (), SimpleNamespace(sentences=(SimpleNamespace(sentence=sentence, passage=passage),))


def test_evidence_is_searched_once_and_again_for_what_changed(
    tmp_path: Path, database: Database, make_embedder: Callable[..., Any]
) -> None:
    asked = [Exemplar(str(n), PAGE, "near_miss", f"Question {n}?") for n in range(3)]
    tutor: Any = CountingTutor(database, make_embedder())
    told: list[tuple[int, int]] = []
    found = find_evidence(tutor, asked, lambda *done: told.append(done), cache=tmp_path)
    assert found["1"] == (Note("About Question 1?", "course", PAGE),)
    assert told[0] == (0, 3)
    assert told[-1] == (3, 3)
    more = [*asked, Exemplar("9", PAGE, "near_miss", "Another?")]
    assert find_evidence(tutor, more, cache=tmp_path) == found | {
        "9": (Note("About Another?", "course", PAGE),)
    }
    assert tutor.searched == [*(e.question for e in asked), "Another?"]
    other: Any = CountingTutor(database, make_embedder("other@2"))  # other vectors find other notes
    find_evidence(other, asked, cache=tmp_path)
    assert len(other.searched) == 3
    for file in tmp_path.glob("evidence-*.json"):
        file.write_text("{", "utf-8")
    assert find_evidence(tutor, asked, cache=tmp_path) == found


@pytest.mark.models
def test_the_answers_of_the_seed_set_are_what_the_turn_would_show(exemplars: tuple[Exemplar, ...]) -> None:
    """Beside their gold sentences, the answers pass the same check as drafts: what it refuses must not be taught."""
    from finetune.collect import Grounding
    from finetune.targets import sentences_in
    from retrieval.embedder import load_embedder

    grounding = Grounding(load_embedder("all-minilm-l6-v2"))
    refused = [
        (e.id, sentence, reasons)
        for e in exemplars
        if e.answerable
        for sentence in sentences_in(e.answer)
        if sentence not in e.gold and (reasons := grounding.against(sentence, e.gold, e.question))
    ]
    answerable = sum(e.answerable for e in exemplars)
    assert len(refused) <= 0.02 * answerable, refused
