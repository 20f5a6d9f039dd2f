"""What is counted on one question, and what the counts of many questions say. Pure.

Every measure is a number a question, or None where it does not apply, so that two systems can be compared question by
question. A bootstrap over questions gives each mean its interval.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from retrieval.evaluate import Estimate, estimate, paired, quotes_gold
from tutor.agreement import quantile
from tutor.evaluation.answers import Answered, token_f1
from tutor.prompt import ABSTAIN

if TYPE_CHECKING:
    from tutor.evaluation.questions import Question

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """One held-out question with the answer that a person would have given; "" where the material has none."""

    question: Question
    reference: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A case with the turn that answered it and what the model wrote before it was checked.

    `total_ms` is the whole turn, its search included.
    """

    case: Case
    answered: Answered
    draft: str
    total_ms: float

    @property
    def drafted(self) -> list[bool]:
        """Of each sentence the model wrote in the turn, whether the check let it pass; abstaining is no sentence."""
        found = self.answered.turn.sentences
        return [s.passed for s in found if s.origin == "model" and not abstains(s.text)]


def abstains(draft: str) -> bool:
    """Whether a draft opens with the sentence that says the notes are silent."""
    return _letters(draft).startswith(_letters(ABSTAIN))


def _letters(text: str) -> str:
    return re.sub(r"\W+", "", text.casefold())


# -- a number a question ---------------------------------------------------------------------------------------------


def _can(asked: Asked) -> bool:
    return asked.case.question.answerable


def _given(asked: Asked) -> bool:
    return _can(asked) and not asked.answered.declined


def _right(asked: Asked) -> float | None:
    return float(asked.answered.right) if _can(asked) and asked.case.question.must_say else None


def _own_right(asked: Asked) -> float | None:
    right = _right(asked)
    return None if right is None else right * (asked.answered.turn.status == "answered")


def _must_say(asked: Asked) -> float | None:
    return asked.answered.must_say if _can(asked) and asked.case.question.must_say else None


def _must_not_say(asked: Asked) -> float | None:
    return float(asked.answered.violates) if asked.case.question.must_not_say else None


def _own_words(asked: Asked) -> float | None:
    return float(asked.answered.turn.status == "answered") if _given(asked) else None


def _supported(asked: Asked) -> float | None:
    passed = asked.drafted
    return sum(passed) / len(passed) if passed else None


def _cites_gold(asked: Asked) -> float | None:
    gold = asked.case.question.gold
    if not gold or not _given(asked):
        return None
    return float(any(quotes_gold(c.quote, c.document, gold) for c in asked.answered.turn.citations))


def _declined_unanswerable(asked: Asked) -> float | None:
    return None if _can(asked) else float(asked.answered.declined)


def _declined_answerable(asked: Asked) -> float | None:
    return float(asked.answered.declined) if _can(asked) else None


def _words(asked: Asked) -> float | None:
    return float(len(asked.answered.shown.split())) if _given(asked) else None


def _token_f1(asked: Asked) -> float | None:
    if not _can(asked):
        return None
    return 0.0 if asked.answered.declined else token_f1(asked.answered.shown, asked.case.reference)


def _total_ms(asked: Asked) -> float | None:
    return asked.total_ms


Measure = Callable[[Asked], float | None]
MEASURES: Mapping[str, Measure] = {
    "own_right": _own_right,
    "right": _right,
    "must_say": _must_say,
    "must_not_say": _must_not_say,
    "own_words": _own_words,
    "supported": _supported,
    "cites_gold": _cites_gold,
    "declined_unanswerable": _declined_unanswerable,
    "declined_answerable": _declined_answerable,
    "words": _words,
    "token_f1": _token_f1,
    "total_ms": _total_ms,
}
"""Of what is shown. `own_right` is the gate's target: right, and in sentences of the model that passed the check."""


def _draft_f1(asked: Asked) -> float | None:
    if not _can(asked):
        return None
    return 0.0 if abstains(asked.draft) else token_f1(asked.draft, asked.case.reference)


def _abstained(asked: Asked, *, answerable: bool) -> float | None:
    return float(abstains(asked.draft)) if _can(asked) is answerable else None


DRAFTS: Mapping[str, Measure] = {
    "token_f1": _draft_f1,
    "abstained_unanswerable": lambda asked: _abstained(asked, answerable=False),
    "abstained_answerable": lambda asked: _abstained(asked, answerable=True),
    "words": lambda asked: float(len(asked.draft.split())) if _can(asked) else None,
}
"""Of what the model wrote, before the check."""


# -- what many questions say ------------------------------------------------------------------------------------------


def spread(items: Sequence[T], count: int) -> tuple[T, ...]:
    """So many of them, evenly spaced, so that no one chose."""
    count = min(count, len(items))
    return tuple(items[number * len(items) // count] for number in range(count))


def number(found: Estimate) -> Json:
    """An estimate as the report has it."""
    return {
        "value": round(found.mean, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "n": found.n,
    }


def mean(values: Sequence[float]) -> Json | None:
    """The mean with its interval, None without a value."""
    return number(estimate(values)) if values else None


def difference(one: Sequence[float | None], other: Sequence[float | None]) -> Json | None:
    """The mean of one - other over the questions where both have a number."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return number(paired([a for a, _ in pairs], [b for _, b in pairs])) if pairs else None


def system_measures(run: Sequence[Asked]) -> Json:
    """Every measure of one system; null where no question measures it. The time is a median: one stall is no trend."""
    found = {name: mean(values) for name, values in _values(run).items()}
    times = sorted(asked.total_ms for asked in run)
    if times:
        found["total_ms"] = {
            "value": round(quantile(times, 0.5), 1),
            "low": None,
            "high": None,
            "n": len(times),
        }
    return found


def differences(
    runs: Mapping[str, Sequence[Asked]], against: Sequence[str], of: str = "candidate"
) -> list[Json]:
    """`of` minus each of the others, measure by measure, over the same questions."""
    values = {name: _values(run, every=True) for name, run in runs.items()}
    found = []
    for other in against:
        for measure in MEASURES:
            if result := difference(values[of][measure], values[other][measure]):
                found.append(
                    {"measure": measure, "against": other, "difference": result.pop("value"), **result}
                )
    return found


def ratios(one: Sequence[Asked], other: Sequence[Asked]) -> Json:
    """How many times longer the answers are (where both answer), and how many times slower the turns."""
    lengths = [(_words(a), _words(b)) for a, b in zip(one, other, strict=True)]
    both = [(a, b) for a, b in lengths if a is not None and b is not None]
    words = sum(b for _, b in both)
    times = [quantile(sorted(asked.total_ms for asked in run), 0.5) for run in (one, other) if run]
    return {
        "words": {"value": round(sum(a for a, _ in both) / words, 3), "n": len(both)} if words else None,
        "total_ms": {"value": round(times[0] / times[1], 3), "n": len(one)} if times and times[1] else None,
    }


def draft_measures(run: Sequence[Asked]) -> Json:
    """Every measure of one system's drafts; `supported` counts sentences."""
    found = {
        name: mean([v for asked in run if (v := measure(asked)) is not None])
        for name, measure in DRAFTS.items()
    }
    return found | {"supported": mean([float(passed) for asked in run for passed in asked.drafted])}


def unsupported_shown(run: Sequence[Asked]) -> int:
    """Sentences of the model that were shown without a citation: the turn promises that there is none."""
    shown = [s for asked in run for s in asked.answered.turn.sentences if s.supported and s.origin == "model"]
    return sum(not s.citations for s in shown)


def _values(run: Sequence[Asked], *, every: bool = False) -> dict[str, Any]:
    """Each measure's numbers in the order of the questions; without `every`, only where it applies."""
    found = {name: [measure(asked) for asked in run] for name, measure in MEASURES.items()}
    return found if every else {n: [v for v in values if v is not None] for n, values in found.items()}
