"""How well the grader agrees with people, beside two plain baselines.

The baselines are the share of the key points' content words that the answer holds, and the embedding cosine of answer
and reference. Their thresholds are fitted on the lines with `"split": "dev"`. The statistics are `tutor.agreement`'s.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tutor.agreement import LABELS, Agreement, by_thresholds, compare, fit_thresholds, quantile
from tutor.wire import Json
from tutor.wire_study import AnswerLine

if TYPE_CHECKING:
    from retrieval.records import Embedder
    from tutor.quiz import Grader

DEV = "dev"
METHODS = ("grader", "keywords", "cosine")


@dataclass(frozen=True, slots=True)
class Graded:
    """The three methods' verdicts on every line, and what they took."""

    verdicts: dict[str, list[str]]
    thresholds: dict[str, tuple[float, float]]
    fitted_on: str
    milliseconds: list[float]


def grading_report(lines: Sequence[AnswerLine], grader: Grader) -> Json:
    """Everything `eval grading` prints. Splits are reported apart; without any there is one, "all"."""
    graded = grade_all(lines, grader)
    splits = dict.fromkeys(line.split or "all" for line in lines)
    spent = sorted(graded.milliseconds)
    return {
        "n": len(lines),
        "grader": grader.name,
        "splits": {split: _split_report(lines, graded, split) for split in splits},
        "thresholds": {method: [round(cut, 4) for cut in cuts] for method, cuts in graded.thresholds.items()},
        "thresholds_fitted_on": graded.fitted_on,
        "timings_ms": {"median": round(quantile(spent, 0.5), 1), "p95": round(quantile(spent, 0.95), 1)},
    }


def grade_all(lines: Sequence[AnswerLine], grader: Grader) -> Graded:
    """Grade every line with the grader and both baselines. The grader's time is taken line by line, warm."""
    from tutor.quiz import grade_unknown

    grader.grade("Warm up?", "Warm.", ("It is warm.",), "It is warm.")
    verdicts: dict[str, list[str]] = {"grader": []}
    spent: list[float] = []
    for line in lines:
        began = time.perf_counter()
        if line.answer:
            grade = grader.grade(line.question, line.reference, line.key_points, line.answer)
        else:
            grade = grade_unknown(line.key_points)
        spent.append(1000 * (time.perf_counter() - began))
        verdicts["grader"].append(grade.verdict)
    scores = {
        "keywords": [keyword_overlap(line) for line in lines],
        "cosine": cosines(lines, grader.embedder),
    }
    fitting = [place for place, line in enumerate(lines) if line.split == DEV]
    fitted_on = DEV if fitting else "all"
    thresholds = {}
    for method, found in scores.items():
        places = fitting or range(len(lines))
        cuts = fit_thresholds([found[place] for place in places], [lines[place].label for place in places])
        thresholds[method] = cuts
        verdicts[method] = [by_thresholds(score, cuts) for score in found]
    return Graded(verdicts, thresholds, fitted_on, spent)


def keyword_overlap(line: AnswerLine) -> float:
    """The share of the key points' content words (stems) that the answer holds, 0 to 1."""
    from retrieval.words import content_stems

    wanted = set(content_stems(" ".join(line.key_points)))
    return len(wanted & set(content_stems(line.answer))) / len(wanted) if wanted else 0.0


def cosines(lines: Sequence[AnswerLine], embedder: Embedder) -> list[float]:
    """The cosine of each answer with its reference; 0 for an empty answer."""
    vectors = embedder.encode(
        [text for line in lines for text in (line.answer or "?", line.reference or "?")]
    )
    alike = (vectors[::2] * vectors[1::2]).sum(axis=1)
    return [float(value) if line.answer else 0.0 for line, value in zip(lines, alike, strict=True)]


def _split_report(lines: Sequence[AnswerLine], graded: Graded, split: str) -> Json:
    places = [place for place, line in enumerate(lines) if (line.split or "all") == split]
    gold = [lines[place].label for place in places]
    groups = [lines[place].group for place in places]
    methods = {
        method: agreement_json(compare(gold, [found[place] for place in places], groups))
        for method, found in graded.verdicts.items()
    }
    return {
        "n": len(places),
        "questions": len(set(groups)),
        "methods": methods,
        "labellers": _labellers(
            [lines[place] for place in places], [graded.verdicts["grader"][place] for place in places]
        ),
    }


def _labellers(lines: Sequence[AnswerLine], grader: Sequence[str]) -> Json | None:
    """How the first two labellers agree with each other and with the grader, on the lines that both labelled."""
    names = sorted({name for line in lines for name, _ in line.labels})[:2]
    both = [
        (dict(line.labels), line.group, graded)
        for line, graded in zip(lines, grader, strict=True)
        if {*names} <= dict(line.labels).keys()
    ]
    if len(names) < 2 or not both:
        return None
    groups = [group for _, group, _ in both]
    a, b = ([said[name] for said, _, _ in both] for name in names)
    with_grader = {
        name: _rounded(compare(said, [graded for *_, graded in both], groups, draws=0).kappa)
        for name, said in zip(names, (a, b), strict=True)
    }
    return {"names": names, "grader_kappa": with_grader} | agreement_json(compare(a, b, groups))


def agreement_json(found: Agreement) -> Json:
    """{n, kappa, interval, weighted_kappa, accuracy, confusion: {label: {given: count}}}; null where undefined."""
    return {
        "n": found.n,
        "kappa": _rounded(found.kappa),
        "interval": [_rounded(found.low), _rounded(found.high)],
        "weighted_kappa": _rounded(found.weighted_kappa),
        "accuracy": _rounded(found.accuracy),
        "confusion": {
            label: dict(zip(LABELS, row, strict=True)) for label, row in zip(LABELS, found.table, strict=True)
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
