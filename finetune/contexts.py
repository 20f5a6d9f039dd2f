"""Exemplars + what retrieval found for them -> examples. Pure and deterministic.

One set of notes with several questions is a context: its examples have the same beginning, token by token, so training
reads the notes once. A question is answered where its gold sentences are among the notes, and left out where they are
not. Declined are only questions that nothing in the course answers, and few: taught to decline beside notes that nearly
answer, the shipped model declined a third of what it could answer (docs/decisions/0013).

Training never reads a sentence of a page that it is judged on: such notes give way to the nearest note from the
training pages.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from finetune.dataset import Example
from finetune.exemplars import TRAIN_PAGES, Exemplar
from finetune.notes import Note, write_prompt
from retrieval.words import content_stems
from tutor.prompt import ABSTAIN

ABSTAINING = 0.10  # most of the training examples whose answer is that the notes do not say
MAX_ANSWERS = 6  # of one context

Verdict = Literal["answer", "abstain"]


@dataclass(slots=True)
class _Context:
    """Notes, the page of the question they were found for, and which questions are put to them."""

    notes: tuple[str, ...]
    page: str
    asked: dict[str, tuple[Exemplar, Verdict]] = field(default_factory=dict)

    def ask(self, exemplar: Exemplar, verdict: Verdict) -> None:
        self.asked.setdefault(exemplar.id, (exemplar, verdict))

    def count(self, verdict: Verdict) -> int:
        return sum(v == verdict for _, v in self.asked.values())


def contexts(
    exemplars: Sequence[Exemplar], evidence: Mapping[str, Sequence[Note]], seed: int = 0
) -> list[Example]:
    """The examples of all exemplars, context by context; those of held-out pages with their own notes only.

    `evidence` holds the notes found for each exemplar, by its id.
    """
    training = [e for e in exemplars if not e.held_out]
    built = _contexts(training, evidence, seed)
    _answer_neighbours(built, training, seed)
    _decline_less(built, seed)
    held_out = _contexts([e for e in exemplars if e.held_out], evidence, seed, own_only=True)
    return [*_examples(built), *_examples(held_out)]


def verdict_on(exemplar: Exemplar, notes: Sequence[str]) -> Verdict | None:
    """Do these notes answer the question? None where that is open: they may, in other words than the gold's."""
    if not exemplar.answerable:
        return "abstain"
    if set(exemplar.gold) & {*notes}:
        # Of two gold sentences one may be enough: it is if the answer's own words are all there.
        found = _stems(" ".join(notes)) | _stems(exemplar.question)
        return "answer" if _stems(exemplar.answer) <= found else None
    return None


def _contexts(
    exemplars: Sequence[Exemplar],
    evidence: Mapping[str, Sequence[Note]],
    seed: int,
    own_only: bool = False,
) -> list[_Context]:
    """The notes found for each exemplar with its own question, and the notes with its gold where search missed it."""
    pool = sorted({n.text for e in exemplars for n in evidence[e.id] if n.document in TRAIN_PAGES})
    found: dict[tuple[str, ...], _Context] = {}

    def context(notes: tuple[str, ...], exemplar: Exemplar) -> _Context:
        return found.setdefault(notes, _Context(notes, exemplar.page))

    for exemplar in exemplars:
        notes = [n.text for n in evidence[exemplar.id]]
        if not own_only:
            notes = _in_training(exemplar, evidence[exemplar.id], pool)
        verdict = verdict_on(exemplar, notes)
        if notes and verdict is not None:
            context(tuple(notes), exemplar).ask(exemplar, verdict)
        if exemplar.answerable and verdict != "answer" and not own_only:
            context(_with_gold(exemplar, notes, seed), exemplar).ask(exemplar, "answer")
    return [*found.values()]


def _in_training(exemplar: Exemplar, notes: Sequence[Note], pool: Sequence[str]) -> list[str]:
    """The notes, those of unseen pages replaced by the nearest of the pool; fewer where it is empty."""
    kept = {n.text for n in notes if n.document in TRAIN_PAGES}
    result = []
    for note in notes:
        text: str | None = note.text
        if note.document not in TRAIN_PAGES:
            text = max(
                (t for t in pool if t not in kept),
                key=lambda t: (_nearness(exemplar.question, (t,)), _draw(0, exemplar.id, t)),
                default=None,
            )
        if text is not None and text not in result:
            kept.add(text)
            result.append(text)
    return result


def _with_gold(exemplar: Exemplar, notes: Sequence[str], seed: int) -> tuple[str, ...]:
    """The notes with the gold sentences in place of the last of them, anywhere among the rest."""
    others = [n for n in notes if n not in exemplar.gold]
    rest = others[: max(0, len(notes) - len(exemplar.gold))]
    at = int(_draw(seed, exemplar.id, "place") * (len(rest) + 1))
    return (*rest[:at], *exemplar.gold, *rest[at:])


def _answer_neighbours(built: Sequence[_Context], exemplars: Iterable[Exemplar], seed: int) -> None:
    """Put to each context the other questions that its notes answer, in an order that the seed draws."""
    by_gold: dict[str, list[Exemplar]] = defaultdict(list)
    for exemplar in exemplars:
        for sentence in exemplar.gold:
            by_gold[sentence].append(exemplar)
    for context in built:
        near = {e.id: e for note in context.notes for e in by_gold[note]}
        for exemplar in sorted(near.values(), key=lambda e: _draw(seed, context.notes, e.id)):
            if context.count("answer") < MAX_ANSWERS and verdict_on(exemplar, context.notes) == "answer":
                context.ask(exemplar, "answer")


def _decline_less(built: Sequence[_Context], seed: int) -> None:
    """Take declined questions out again, as the seed draws them, until no more than a tenth of all is left."""
    answers = sum(c.count("answer") for c in built)
    declined = [(c, key) for c in built for key, (_, verdict) in c.asked.items() if verdict == "abstain"]
    declined.sort(key=lambda pair: _draw(seed, pair[0].notes, pair[1]))
    for context, key in declined[round(answers * ABSTAINING / (1 - ABSTAINING)) :]:
        del context.asked[key]


def _examples(built: Iterable[_Context]) -> Iterator[Example]:
    """One example a question and context; the second context of an exemplar is "@2"."""
    times: Counter[str] = Counter()
    for context in built:
        for exemplar, verdict in context.asked.values():
            times[exemplar.id] += 1
            number = times[exemplar.id]
            yield Example(
                id=exemplar.id if number == 1 else f"{exemplar.id}@{number}",
                prompt=write_prompt(exemplar.question, context.notes),
                completion=exemplar.answer if verdict == "answer" else ABSTAIN,
                group=exemplar.group,
                kind=verdict,
            )


def _nearness(question: str, notes: tuple[str, ...]) -> float:
    """The share of the question's content words that the notes hold."""
    asked = _stems(question)
    return len(asked & _stems_of(notes)) / len(asked) if asked else 0.0


@cache
def _stems(text: str) -> frozenset[str]:
    return frozenset(content_stems(text))


@cache
def _stems_of(notes: tuple[str, ...]) -> frozenset[str]:
    return frozenset().union(*map(_stems, notes))


@cache
def _draw(seed: int, *what: object) -> float:
    """A number from 0 to 1 that depends on these values alone."""
    digest = hashlib.sha256(repr((seed, *what)).encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8]) / 2**64
