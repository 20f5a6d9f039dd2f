"""May this adapter be served? Rules over an evaluation, each answered by one sentence with its numbers. Pure.

One target has to improve, with its interval above zero; nothing else may fall past its limit. Why the limits are what
they are is told in `docs/decisions/0012-gate.md`. Measuring is `evaluate.py`'s, promoting is a person's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Json = dict[str, Any]
Bound = Literal["value", "low", "high"]
Kind = Literal["above", "at least", "at most"]
_ROUNDING = 1e-9  # sums of tenths are not exact


@dataclass(frozen=True, slots=True)
class Rule:
    """`number` of what the evaluation holds at `where` must be `kind` `limit`.

    What was not measured breaks the rule, unless it is `optional`: then there was no question to measure it on.
    """

    name: str
    title: str
    where: tuple[str, ...]
    kind: Kind
    limit: float
    number: Bound = "value"
    optional: bool = False


def _paired(measure: str, against: str = "served") -> tuple[str, ...]:
    return ("paired", measure, against)


RULES = (
    Rule("enough", "Held-out questions", ("questions",), "at least", 100),
    Rule(
        "target",
        "Right answers in the model's own checked words, candidate minus served",
        _paired("own_right"),
        "above",
        0.0,
        "low",
    ),
    Rule("right", "Right answers, candidate minus served", _paired("right"), "at least", -0.05, "low"),
    Rule(
        "right_quotes",
        "Right answers, candidate minus quoting alone",
        _paired("right", "quotes"),
        "at least",
        -0.05,
        "low",
    ),
    Rule(
        "supported",
        "Drafted sentences that pass the check, candidate minus served",
        _paired("supported"),
        "at least",
        -0.05,
        optional=True,
    ),
    Rule(
        "unsupported_shown",
        "Sentences of the candidate shown without a citation",
        ("unsupported_shown",),
        "at most",
        0,
    ),
    Rule(
        "cites_gold",
        "Answers that cite the labelled sentence, candidate minus served",
        _paired("cites_gold"),
        "at least",
        -0.05,
    ),
    Rule(
        "must_not_say",
        "Answers that say what they must not, candidate minus served",
        _paired("must_not_say"),
        "at most",
        0.0,
        optional=True,
    ),
    Rule(
        "declined_unanswerable",
        "Unanswerable questions declined, candidate minus served",
        _paired("declined_unanswerable"),
        "at least",
        -0.05,
    ),
    Rule(
        "declined_answerable",
        "Answerable questions declined, candidate minus served",
        _paired("declined_answerable"),
        "at most",
        0.05,
    ),
    Rule(
        "words", "Length of an answer, as a multiple of what is served", ("ratios", "words"), "at most", 1.1
    ),
    Rule(
        "latency", "Time of a turn, as a multiple of what is served", ("ratios", "total_ms"), "at most", 1.3
    ),
    Rule(
        "retention",
        "Surprise at general texts (nats a token), candidate minus base",
        ("retention", "interval"),
        "at most",
        0.15,
    ),
    Rule(
        "closed_book",
        "Facts of the training pages said without any material, candidate minus base",
        ("closed_book", "gain"),
        "at most",
        0.02,
    ),
)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What came of one rule. `text` is a sentence with the numbers it rests on."""

    name: str
    passed: bool
    text: str
    value: float | None
    low: float | None
    high: float | None
    limit: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the adapter may be served, and why: the broken rules, or all that were kept."""

    promote: bool
    rules: tuple[Ruling, ...]

    @property
    def broken(self) -> tuple[Ruling, ...]:
        return tuple(rule for rule in self.rules if not rule.passed)

    def as_json(self) -> Json:
        return {"promote": self.promote, "rules": [asdict(rule) for rule in self.rules]}


def judge(evaluation: Mapping[str, Any], rules: Sequence[Rule] = RULES) -> Verdict:
    """The verdict on an evaluation. Every rule counts; there is no trading one against another."""
    found = tuple(_ruling(rule, _number_at(evaluation, rule.where)) for rule in rules)
    return Verdict(bool(found) and all(ruling.passed for ruling in found), found)


def state(report: Mapping[str, Any]) -> str:
    """What the registry calls an adapter with this report."""
    return "registered" if report["verdict"]["promote"] else "refused"


def objections(
    report: Mapping[str, Any], served: Mapping[str, Any], base_sha256: str | None = None
) -> list[str]:
    """Why an adapter with this report may not be served now, one sentence each; empty if it may.

    `served` is what is served now, as the report names it ({"adapter", "weights_sha256"}): a comparison with
    something else says nothing about it. `base_sha256` is the base's fingerprint, where it is known.
    """
    verdict = report.get("verdict")
    if not isinstance(verdict, Mapping) or "promote" not in verdict:
        return ["It was never evaluated to the end."]
    found = [str(rule["text"]) for rule in verdict.get("rules", ()) if not rule["passed"]]
    if not verdict["promote"] and not found:
        found = ["The gate refused it."]
    compared = report.get("served") or {}
    if compared.get("adapter") != served.get("adapter"):
        found.append(
            f"It was compared with {_called(compared.get('adapter'))}, and now {_called(served.get('adapter'))} "
            "is served: evaluate it again."
        )
    known = (report.get("base") or {}).get("weights_sha256")
    if base_sha256 and known and base_sha256 != known:
        found.append("The base model has changed since it was evaluated: evaluate it again.")
    return found


def _called(adapter: str | None) -> str:
    return f"the adapter {adapter}" if adapter else "the base model"


def _number_at(evaluation: Mapping[str, Any], where: tuple[str, ...]) -> Mapping[str, Any] | None:
    if where[0] == "paired":
        _, measure, against = where
        for item in evaluation.get("paired") or ():
            if (item["measure"], item["against"]) == (measure, against):
                return {**item, "value": item["difference"]}
        return None
    found: Any = evaluation
    for key in where:
        found = found.get(key) if isinstance(found, Mapping) else None
    return {"value": found} if isinstance(found, int | float) else found or None


def _ruling(rule: Rule, number: Mapping[str, Any] | None) -> Ruling:
    limit = f"{rule.kind} {rule.limit:g}"
    needs = {
        "value": f"it must be {limit}",
        "low": f"the lower end must be {limit}",
        "high": f"the upper end must be {limit}",
    }
    taken = None if number is None else number.get(rule.number)
    if number is None or taken is None:
        why = (
            "no question measures it, so nothing speaks against it"
            if rule.optional
            else "it was not measured"
        )
        return Ruling(rule.name, rule.optional, f"{rule.title}: {why}.", None, None, None, rule.limit)
    passed = _keeps(float(taken), rule)
    text = f"{rule.title}: {_said(number, signed=rule.where[0] != 'ratios')}; {needs[rule.number]}."
    value, low, high = (None if number.get(k) is None else float(number[k]) for k in ("value", "low", "high"))
    return Ruling(rule.name, passed, text, value, low, high, rule.limit)


def _keeps(value: float, rule: Rule) -> bool:
    if value != value:  # NaN keeps no limit
        return False
    if rule.kind == "above":
        return value > rule.limit + _ROUNDING
    if rule.kind == "at least":
        return value >= rule.limit - _ROUNDING
    return value <= rule.limit + _ROUNDING


def _said(number: Mapping[str, Any], *, signed: bool) -> str:
    value = float(number["value"])
    if number.get("low") is None:
        return f"{value:.0f}" if value.is_integer() else f"{value:.2f}"
    sign = "+" if signed else ""
    interval = f"{number['low']:{sign}.3f} to {number['high']:{sign}.3f}"
    cases = f", {number['n']} cases" if number.get("n") is not None else ""
    return f"{value:{sign}.3f} ({interval}{cases})"
