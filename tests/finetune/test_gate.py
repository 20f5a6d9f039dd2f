"""The gate, by hand: each rule kept and broken at its limit; and why what passed once may not be served now."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from finetune.gate import RULES, judge, objections


def compared(
    measure: str, difference: float, low: float, high: float, against: str = "served"
) -> dict[str, Any]:
    return {
        "measure": measure,
        "against": against,
        "difference": difference,
        "low": low,
        "high": high,
        "n": 120,
    }


def good() -> dict[str, Any]:
    """An evaluation that keeps every rule, most of them at the very limit."""
    return {
        "questions": 100,
        "paired": [
            compared("own_right", 0.2, 0.001, 0.4),
            compared("right", -0.01, -0.05, 0.03),
            compared("right", -0.02, -0.05, 0.01, "quotes"),
            compared("supported", -0.05, -0.1, 0.0),
            compared("cites_gold", -0.05, -0.1, 0.0),
            compared("must_not_say", 0.0, 0.0, 0.0),
            compared("declined_unanswerable", -0.05, -0.1, 0.0),
            compared("declined_answerable", 0.05, 0.0, 0.1),
        ],
        "ratios": {"words": {"value": 1.1, "n": 80}, "total_ms": {"value": 1.3, "n": 120}},
        "unsupported_shown": 0,
        "retention": {"interval": {"value": 0.15, "low": 0.1, "high": 0.2, "n": 48}},
        "closed_book": {"gain": {"value": 0.02, "low": -0.05, "high": 0.09, "n": 60}},
    }


BROKEN = {
    "enough": {"questions": 99},
    "target": {"paired": compared("own_right", 0.2, 0.0, 0.4)},  # touches zero
    "right": {"paired": compared("right", 0.0, -0.06, 0.06)},
    "right_quotes": {"paired": compared("right", 0.0, -0.06, 0.06, "quotes")},
    "supported": {"paired": compared("supported", -0.06, -0.1, 0.0)},
    "unsupported_shown": {"unsupported_shown": 1},
    "cites_gold": {"paired": compared("cites_gold", -0.06, -0.2, 0.1)},
    "must_not_say": {"paired": compared("must_not_say", 0.01, 0.0, 0.02)},
    "declined_unanswerable": {"paired": compared("declined_unanswerable", -0.06, -0.2, 0.1)},
    "declined_answerable": {"paired": compared("declined_answerable", 0.06, 0.0, 0.1)},
    "words": {"ratios": {"words": {"value": 1.11, "n": 80}}},
    "latency": {"ratios": {"total_ms": {"value": 1.31, "n": 120}}},
    "retention": {"retention": {"interval": {"value": 0.16, "low": 0.1, "high": 0.2, "n": 48}}},
    "closed_book": {"closed_book": {"gain": {"value": 0.03, "low": -0.1, "high": 0.1, "n": 60}}},
}


def with_change(change: dict[str, Any]) -> dict[str, Any]:
    found = copy.deepcopy(good())
    for key, value in change.items():
        if key == "paired":
            same = [
                p for p in found[key] if (p["measure"], p["against"]) != (value["measure"], value["against"])
            ]
            found[key] = [*same, value]
        elif isinstance(value, dict):
            found[key] |= value
        else:
            found[key] = value
    return found


def test_all_rules_kept_at_their_limits_let_it_pass() -> None:
    verdict = judge(good())
    assert [r.text for r in verdict.broken] == []
    assert verdict.promote
    assert {r.name for r in verdict.rules} == set(BROKEN) == {rule.name for rule in RULES}


@pytest.mark.parametrize("name", BROKEN)
def test_one_broken_rule_is_enough_and_says_so_with_its_numbers(name: str) -> None:
    verdict = judge(with_change(BROKEN[name]))
    assert not verdict.promote
    assert [r.name for r in verdict.broken] == [name]
    broken = verdict.broken[0]
    assert f"{broken.limit:g}" in broken.text
    assert broken.value is not None
    assert f"{abs(broken.value):g}"[:4] in broken.text


def test_what_was_not_measured_is_broken_unless_no_question_could_measure_it() -> None:
    assert {r.name for r in judge({}).broken} == set(BROKEN) - {"supported", "must_not_say"}
    found = good()
    found["paired"] = [p for p in found["paired"] if p["measure"] not in ("supported", "must_not_say")]
    verdict = judge(found)
    assert verdict.promote
    assert "nothing speaks against it" in next(r.text for r in verdict.rules if r.name == "must_not_say")


def test_not_a_number_keeps_no_limit() -> None:
    nan = float("nan")
    found = with_change({"retention": {"interval": {"value": nan, "low": nan, "high": nan, "n": 48}}})
    found["ratios"]["words"]["value"] = nan
    assert {r.name for r in judge(found).broken} == {"retention", "words"}


def test_no_rules_promote_nothing() -> None:
    assert not judge(good(), rules=()).promote


def test_an_adapter_is_served_only_on_a_verdict_about_what_is_served_now() -> None:
    report: dict[str, Any] = {
        "verdict": judge(good()).as_json(),
        "served": {"adapter": "v1", "weights_sha256": "s"},
        "base": {"name": "tiny", "weights_sha256": "b"},
    }
    assert objections(report, {"adapter": "v1"}, "b") == []
    assert "compared with the adapter v1, and now the base model" in objections(report, {"adapter": None})[0]
    assert "base model has changed" in objections(report, {"adapter": "v1"}, "other")[0]
    assert objections({}, {"adapter": None}) == ["It was never evaluated to the end."]
    refused = judge(with_change(BROKEN["words"]))
    report["verdict"] = refused.as_json()
    assert objections(report, {"adapter": "v1"}) == [refused.broken[0].text]
