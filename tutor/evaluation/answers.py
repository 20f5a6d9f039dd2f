"""How good are answers? Whole turns on labelled questions: by the configured model, and by quoting alone.

An answer is right if it says all that `must_say` names and nothing that `must_not_say` does. Turns run through
`tutor.turn` itself, on an index of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrieval.evaluate import estimate, paired, quotes_gold, reliability
from retrieval.words import words
from tutor.agreement import quantile
from tutor.evaluation.questions import Question
from tutor.evaluation.retrieval import estimate_json, shown
from tutor.generators.protocol import FinishReason, Message, ModelIdentity, Usage
from tutor.wire import Json

if TYPE_CHECKING:
    from tutor.events import TurnResult
    from tutor.turn import Tutor

QUOTES = "quotes only"
ANSWERED = ("answered", "quoted")


class QuoteOnly:
    """A generator that writes nothing: every answer is then the selected sentences themselves."""

    identity = ModelIdentity(QUOTES, None, "")

    def stream(self, messages: Sequence[Message], *, max_new_tokens: int) -> _Nothing:
        """An empty draft."""
        return _Nothing()


class _Nothing:
    usage = Usage(0, 0)
    finish_reason: FinishReason = "stop"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def cancel(self) -> None:
        """Nothing is being written."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One question with the turn that answered it, and how sure the tutor was that the material covers it."""

    question: Question
    turn: TurnResult
    confidence: float

    @property
    def shown(self) -> str:
        return " ".join(s.text for s in self.turn.sentences if s.supported)

    @property
    def declined(self) -> bool:
        return self.turn.status not in ANSWERED

    @property
    def must_say(self) -> float:
        """The share of what must be said that is said; 1.0 where nothing must be."""
        if self.declined:
            return 0.0
        wanted = self.question.must_say
        return sum(says(self.shown, w) for w in wanted) / len(wanted) if wanted else 1.0

    @property
    def violates(self) -> bool:
        return not self.declined and any(says(self.shown, w) for w in self.question.must_not_say)

    @property
    def right(self) -> bool:
        return self.must_say == 1.0 and not self.violates


def says(text: str, wanted: str) -> bool:
    """Whether a text holds these words, whatever the case and the spacing."""
    return " ".join(wanted.lower().split()) in " ".join(text.lower().split())


def token_f1(text: str, reference: str) -> float:
    """How far two texts use the same words (as bags, whatever their case): 1.0 the same, 0.0 none in common."""
    said, wanted = Counter(words(text)), Counter(words(reference))
    common = (said & wanted).total()
    return 2 * common / (said.total() + wanted.total()) if common else 0.0


def answer_all(
    questions: Sequence[Question],
    tutor: Tutor,
    learner_id: int,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[Answered]:
    """Ask every question, each in a conversation of its own."""
    found = []
    for number, question in enumerate(questions):
        if on_progress:
            on_progress(question.id, number, len(questions))
        turn = tutor.ask(question.question, learner_id=learner_id)
        found.append(Answered(question, turn, turn.confidence or 0.0))
    return found


def answers_report(runs: dict[str, list[Answered]]) -> Json:
    """Everything `eval answers` prints: for each split, each way of answering, its measures."""
    first = next(iter(runs.values()))
    splits = dict.fromkeys(answered.question.split for answered in first)
    return {
        "n": len(first),
        "models": {name: run[0].turn.model.base for name, run in runs.items()},
        "splits": {
            split: {
                name: measures([a for a in run if a.question.split == split]) for name, run in runs.items()
            }
            for split in splits
        },
        "differences": {split: _differences(runs, split) for split in splits} if len(runs) > 1 else {},
        "reliability": {
            split: [
                {"confidence": round(sure, 3), "right": round(share, 3), "n": n}
                for sure, share, n in reliability(
                    [a.confidence for a in first if a.question.split == split],
                    [a.question.answerable for a in first if a.question.split == split],
                )
            ]
            for split in splits
        },
    }


def measures(answered: Sequence[Answered]) -> Json:
    """Of one way of answering. A measure without a case is null."""
    can = [a for a in answered if a.question.answerable]
    silent = [a for a in answered if not a.question.answerable]
    given = [a for a in can if not a.declined]
    drafted = [s for a in answered for s in a.turn.sentences if s.origin == "model"]
    citations = [(a, c) for a in given if a.question.gold for c in a.turn.citations]
    kinds = dict.fromkeys(a.question.kind for a in silent if a.question.kind)
    return {
        "n": len(answered),
        "status": dict(Counter(a.turn.status for a in answered)),
        "right": _share([a.right for a in can]),
        "right_when_answered": _share([a.right for a in given]),
        "must_say": _mean([a.must_say for a in can]),
        "must_not_say": _share([a.violates for a in answered if a.question.must_not_say]),
        "own_words": _share([a.turn.status == "answered" for a in given]),
        "drafted_supported": _share([s.passed for s in drafted]),
        "cites_gold": _share([_cites_gold(a) for a in given if a.question.gold]),
        "citation_is_gold": _share([quotes_gold(c.quote, c.document, a.question.gold) for a, c in citations]),
        "every_sentence_cited": _share(
            [
                bool(s.citations)
                for a in given
                for s in a.turn.sentences
                if s.supported and s.origin != "tutor"
            ]
        ),
        "declined_unanswerable": _share([a.declined for a in silent]),
        "declined_by_kind": {
            kind: _share([a.declined for a in silent if a.question.kind == kind]) for kind in kinds
        },
        "declined_answerable": _share([a.declined for a in can]),
        "words": _median([len(a.shown.split()) for a in given]),
        "first_text_ms": _median([a.turn.timings_ms.get("first_text") for a in given]),
        "total_ms": _median([a.turn.timings_ms.get("total") for a in answered]),
    }


def _differences(runs: dict[str, list[Answered]], split: str) -> Json:
    names = list(runs)
    rights = {
        name: [float(a.right) for a in run if a.question.split == split and a.question.answerable]
        for name, run in runs.items()
    }
    return {
        f"{name} − {names[-1]}": {"right": estimate_json(paired(rights[name], rights[names[-1]]))}
        for name in names[:-1]
        if rights[name]
    }


def _cites_gold(answered: Answered) -> bool:
    return any(quotes_gold(c.quote, c.document, answered.question.gold) for c in answered.turn.citations)


def _share(found: Sequence[bool]) -> Json | None:
    return _mean([float(value) for value in found])


def _mean(found: Sequence[float]) -> Json | None:
    return estimate_json(estimate(found)) if found else None


def _median(found: Sequence[float | None]) -> float | None:
    known = sorted(value for value in found if value is not None)
    return round(quantile(known, 0.5), 1) if known else None


ROWS = {
    "right": "right, of the answerable",
    "right_when_answered": "right, of those answered",
    "must_say": "must-say points said",
    "must_not_say": "says what it must not",
    "own_words": "answered in the model's own checked words",
    "drafted_supported": "drafted sentences supported",
    "cites_gold": "cites the labelled sentence (recall)",
    "citation_is_gold": "citations that are a labelled sentence",
    "every_sentence_cited": "shown sentences with a citation",
    "declined_unanswerable": "declined, of the unanswerable",
    "declined_answerable": "declined, of the answerable",
}


def answers_tables(report: Json) -> list[tuple[str, list[str], list[list[str]]]]:
    """The report as (title, headings, rows), for the terminal and for Markdown."""
    tables = []
    for split, ways in report["splits"].items():
        names = list(ways)
        first = ways[names[0]]
        rows = [[title, *(shown(ways[name][key]) for name in names)] for key, title in ROWS.items()]
        rows += [
            [
                f"declined: {kind or 'other'}",
                *(shown(ways[name]["declined_by_kind"].get(kind)) for name in names),
            ]
            for kind in first["declined_by_kind"]
        ]
        rows += [
            [
                "status",
                *(", ".join(f"{n} {s}" for s, n in sorted(ways[name]["status"].items())) for name in names),
            ],
            ["words, median", *(f"{ways[name]['words']}" for name in names)],
            ["first text, median ms", *(f"{ways[name]['first_text_ms']}" for name in names)],
            ["whole turn, median ms", *(f"{ways[name]['total_ms']}" for name in names)],
        ]
        tables.append((f"{split}: {first['n']} questions", ["", *names], rows))
        for name, found in report["differences"].get(split, {}).items():
            tables.append(
                (
                    f"{split}: {name}, question by question",
                    ["", ""],
                    [["right", shown(found["right"], sign=True)]],
                )
            )
        bins = report["reliability"][split]
        tables.append(
            (
                f"{split}: is the material said to cover what it covers?",
                ["confidence", "answerable", "n"],
                [[f"{b['confidence']:.2f}", f"{b['right']:.2f}", str(b["n"])] for b in bins],
            )
        )
    return tables
