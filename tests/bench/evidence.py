"""How good are the sentences that are selected, and does the tutor know when the material is silent?

    python -m tests.bench evidence          measure the shipped calibration against plain cosine
    python -m tests.bench evidence --fit    fit it anew on the "dev" questions, then measure

Questions: tests/data/course_questions.jsonl. They were written for the course's first six pages and are split by page,
so that the "test" part asks about pages that the fit has not seen; their gold includes every sentence of the other
pages that answers as well. Runs the real embedder over the real course in a temporary database.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from db.session import Database
from retrieval import evidence as ev
from retrieval.embedder import load_embedder
from retrieval.ingest import ingest_folder
from retrieval.records import Passage, Vectors
from retrieval.retriever import Retriever
from tutor.settings import SHIPPED_EMBEDDER

ROOT = Path(__file__).resolve().parents[2]
COURSE = ROOT / "tutor" / "course"
QUESTIONS = ROOT / "tests" / "data" / "course_questions.jsonl"
CALIBRATION = ROOT / "retrieval" / "calibration.json"

BASELINE_GATE = 0.56  # cosine; the threshold of an earlier measurement on other pages
PASSAGES = 8  # as many as a turn looks at by default
KEEP_RATIO = 0.6
FALSE_DECLINES = 0.25  # share of the dev questions with the right evidence that the threshold may give up


@dataclass(frozen=True)
class Case:
    """One labelled question with what retrieval found for it."""

    question: dict
    gold: tuple[tuple[str, int, int], ...]
    vector: Vectors
    passages: tuple[Passage, ...]

    def is_gold(self, passage: Passage, start: int, end: int) -> bool:
        return any(passage.document == d and start < e and s < end for d, s, e in self.gold)


def main(arguments: Sequence[str]) -> int:
    """Measure, or fit and measure; prints tables. Returns the exit code."""
    cases = load_cases()
    if "--fit" in arguments:
        fit([c for c in cases if c.question["split"] == "dev"])
    calibration = ev.Calibration.from_json(json.loads(CALIBRATION.read_text("utf-8")))
    print("| questions | selector | passages hold gold | evidence holds gold | all must-say | sentences |")
    print("|---|---|---|---|---|---|")
    for split in ("dev", "test"):
        part = [c for c in cases if c.question["split"] == split and c.question["answerable"]]
        report_selection(split, "plain cosine, best 2", part, [plain_cosine(c) for c in part])
        report_selection(split, "calibrated", part, [chosen(c, calibration) for c in part])
    print(
        "\n| questions | gate | right evidence: answered | wrong evidence: answered | direct: answered "
        "| near miss: declined | false premise | cross topic | off topic |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for split in ("dev", "test"):
        part = [c for c in cases if c.question["split"] == split]
        report_gate(
            split,
            f"cosine {BASELINE_GATE}",
            part,
            [(best_cosine(c) >= BASELINE_GATE, plain_cosine(c)) for c in part],
        )
        report_gate(
            split,
            "calibrated",
            part,
            [(select(c, calibration).covered, chosen(c, calibration)) for c in part],
        )
    return 0


def load_cases() -> list[Case]:
    """Every labelled question with its passages, from a fresh index of the course."""
    questions = [json.loads(line) for line in QUESTIONS.read_text("utf-8").splitlines() if line.strip()]
    texts = {p.name: p.read_text("utf-8") for p in COURSE.glob("*.md")}
    with tempfile.TemporaryDirectory() as home:
        database = Database.open(Path(home) / "bench.sqlite3")
        embedder = load_embedder(SHIPPED_EMBEDDER)
        ingest_folder(database, embedder, COURSE, source="course")
        retriever = Retriever(database, embedder)
        cases = [
            Case(
                q,
                gold_spans(q, texts),
                embedder.encode([q["question"]])[0],
                retriever.retrieve(q["question"], PASSAGES),
            )
            for q in questions
        ]
        database.close()
    return cases


def gold_spans(question: dict, texts: dict[str, str]) -> tuple[tuple[str, int, int], ...]:
    """Every place where a gold quote stands: a sentence of the page may stand in its front matter too."""
    spans = []
    for gold in question["gold"]:
        places = [m.span() for m in re.finditer(re.escape(gold["quote"]), texts[gold["document"]])]
        if not places:
            raise ValueError(f"{question['id']}: {gold['document']} doesn't say {gold['quote']!r}")
        spans += [(gold["document"], start, end) for start, end in places]
    return tuple(spans)


def fit(cases: Sequence[Case]) -> None:
    """Fit both models on `cases`, choose the threshold, write calibration.json."""
    sentence_x, sentence_y = [], []
    for case in cases:
        if case.question["answerable"]:
            for candidate in ev.candidates(case.question["question"], case.vector, case.passages):
                sentence_x.append([candidate.features[name] for name in ev.SENTENCE_FEATURES])
                s = candidate.sentence
                sentence_y.append(case.is_gold(candidate.passage, s.start, s.end))
    sentence = logistic(ev.SENTENCE_FEATURES, sentence_x, sentence_y)

    rows, right = [], []
    for case in cases:
        found = ev.candidates(case.question["question"], case.vector, case.passages)
        rows.append(ev.coverage_features(case.question["question"], found, case.passages))
        draft = ev.Calibration(sentence, ev.LinearModel(0.0, {}), 0.0, KEEP_RATIO)
        right.append(case.question["answerable"] and is_right(case, chosen(case, draft)))
    # The gate learns when the selected evidence answers, not when some evidence exists: a question whose answer was
    # not found is better declined than answered beside the point.
    coverage = logistic(
        ev.COVERAGE_FEATURES, [[r[n] for n in ev.COVERAGE_FEATURES] for r in rows], right, "balanced"
    )
    of_right = sorted(coverage.probability(r) for r, y in zip(rows, right, strict=True) if y)
    threshold = min(0.5, of_right[int(FALSE_DECLINES * len(of_right))])
    data = {
        "about": "Fitted by `python -m tests.bench evidence --fit`; see retrieval/evidence.py for the features.",
        "fitted": {"date": date.today().isoformat(), "embedder": SHIPPED_EMBEDDER, "questions": len(cases)},
        "threshold": round(threshold, 4),
        "keep_ratio": KEEP_RATIO,
        "sentence": {"bias": sentence.bias, "weights": dict(sentence.weights)},
        "coverage": {"bias": coverage.bias, "weights": dict(coverage.weights)},
    }
    CALIBRATION.write_text(json.dumps(data, indent=2) + "\n", "utf-8")


def logistic(
    names: Sequence[str], x: Sequence[Sequence[float]], y: Sequence[bool], weighting: str | None = None
) -> ev.LinearModel:
    """Logistic regression on standardised features, its weights turned back to the raw ones."""
    from sklearn.linear_model import LogisticRegression

    matrix = np.array(x)
    mean, scale = matrix.mean(0), matrix.std(0)
    scale[scale == 0] = 1.0
    model = LogisticRegression(C=0.3, class_weight=weighting, max_iter=1000).fit(
        (matrix - mean) / scale, np.array(y)
    )
    weights = model.coef_[0] / scale
    bias = float(model.intercept_[0] - (weights * mean).sum())
    return ev.LinearModel(
        round(bias, 4), {n: round(float(w), 4) for n, w in zip(names, weights, strict=True)}
    )


def select(case: Case, calibration: ev.Calibration) -> ev.Evidence:
    return ev.select_evidence(case.question["question"], case.vector, case.passages, calibration)


Chosen = list[tuple[Passage, int, int, str]]


def chosen(case: Case, calibration: ev.Calibration) -> Chosen:
    return [
        (e.passage, e.sentence.start, e.sentence.end, e.sentence.text)
        for e in select(case, calibration).sentences
    ]


def plain_cosine(case: Case) -> Chosen:
    found = ev.candidates(case.question["question"], case.vector, case.passages)
    found.sort(key=lambda c: -c.features["cosine"])
    return [(c.passage, c.sentence.start, c.sentence.end, c.sentence.text) for c in found[:2]]


def best_cosine(case: Case) -> float:
    return max(
        c.features["cosine"] for c in ev.candidates(case.question["question"], case.vector, case.passages)
    )


def report_selection(split: str, name: str, cases: Sequence[Case], selected: Sequence[Chosen]) -> None:
    retrieved = sum(
        any(p.document == d and p.start <= s and e <= p.end for p in c.passages for d, s, e in c.gold)
        for c in cases
    )
    hit = sum(
        any(c.is_gold(p, s, e) for p, s, e, _ in found) for c, found in zip(cases, selected, strict=True)
    )
    said = sum(says_all(c, found) for c, found in zip(cases, selected, strict=True))
    length = float(np.mean([len(found) for found in selected]))
    n = len(cases)
    print(
        f"| {split} ({n}) | {name} | {share(retrieved, n)} | {share(hit, n)} | {share(said, n)} | {length:.1f} |"
    )


def report_gate(split: str, name: str, cases: Sequence[Case], found: Sequence[tuple[bool, Chosen]]) -> None:
    """Of the answerable: how many with the right evidence are answered, how many without it. Of the rest: declined."""
    answerable = [(c, f) for c, f in zip(cases, found, strict=True) if c.question["answerable"]]
    right = [covered for case, (covered, sentences) in answerable if is_right(case, sentences)]
    wrong = [covered for case, (covered, sentences) in answerable if not is_right(case, sentences)]
    direct = [covered for case, (covered, _) in answerable if case.question["kind"] == "direct"]
    cells = [share(sum(part), len(part)) for part in (right, wrong, direct)]
    for kind in ("near_miss", "false_premise", "cross_topic", "off_topic"):
        declined = [
            not covered
            for case, (covered, _) in zip(cases, found, strict=True)
            if case.question["kind"] == kind
        ]
        cells.append(share(sum(declined), len(declined)))
    print(f"| {split} ({len(cases)}) | {name} | " + " | ".join(cells) + " |")


def is_right(case: Case, sentences: Chosen) -> bool:
    """Does the selection hold a gold sentence, or say all that must be said in other sentences?"""
    if any(case.is_gold(p, s, e) for p, s, e, _ in sentences):
        return True
    return says_all(case, sentences)


def says_all(case: Case, sentences: Chosen) -> bool:
    said = " ".join(t for *_, t in sentences).lower()
    return all(m.lower() in said for m in case.question["must_say"])


def share(part: int, whole: int) -> str:
    return f"{part}/{whole} ({100 * part / whole:.0f} %)" if whole else "–"
