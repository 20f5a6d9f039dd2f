"""Fits how evidence is chosen and whether it covers a question: `python -m tests.bench evidence --fit`.

How well that works is what `study-tutor eval answers` says. Fitted on questions that neither the reader was trained on
nor any evaluation uses: the development questions about the course, and those about passages that were kept back from
the reader (`reading.kept_back`). What stands there for tutors without a reader stays as it is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from db.session import Database
from retrieval import evidence as ev
from retrieval.embedder import load_embedder
from retrieval.evaluate import Gold, is_gold, letters
from retrieval.ingest import ingest_folder
from retrieval.reader import Reader
from retrieval.records import Passage, Vectors
from retrieval.retriever import PassageReading, Retriever
from tests.bench.fitting import read
from tutor.settings import SHIPPED_EMBEDDER

ROOT = Path(__file__).parents[2]
QUESTIONS = ROOT / "tests" / "data" / "course_questions.jsonl"
COURSE = ROOT / "tutor" / "course"
CALIBRATION = Path(ev.__file__).with_name("calibration.json")
PASSAGES = 8
KEEP_RATIO = 0.6
READING_WEIGHT = 0.2  # chosen on the development questions: 22 of 36 right, with 0.4 only 19


@dataclass(frozen=True)
class Case:
    """One labelled question with what retrieval found for it."""

    question: dict[str, Any]
    gold: tuple[Gold, ...]
    vector: Vectors
    passages: tuple[Passage, ...]

    def is_gold(self, passage: Passage, index: int) -> bool:
        return is_gold(passage.sentences[index], passage.document, self.gold)


def main(arguments: Sequence[str]) -> int:
    """Fit and write calibration.json. Returns the exit code."""
    if list(arguments) != ["--fit"]:
        print("usage: python -m tests.bench evidence --fit")
        return 2
    cases = course_cases("dev", Reader()) + kept_back_cases(Reader())
    unread = json.loads(CALIBRATION.read_text("utf-8"))["unread"]  # of before there was a reader
    stored = {
        "about": "Fitted by `python -m tests.bench evidence --fit`; see retrieval/evidence.py for the features.",
        "fitted": {
            "date": date.today().isoformat(),
            "embedder": SHIPPED_EMBEDDER,
            "reader": Reader().name,
            "questions": len(cases),
        },
        "read": fit(cases, unread["sentence"]),
        "unread": unread,
    }
    CALIBRATION.write_text(json.dumps(stored, indent=2) + "\n", "utf-8")
    return 0


def course_cases(split: str, reader: PassageReading | None) -> list[Case]:
    """The questions about the course of one split, with their passages from a fresh index of the course."""
    questions = [q for q in read(QUESTIONS) if q["split"] == split]
    return cases_in(COURSE, questions, reader)


def kept_back_cases(reader: PassageReading | None) -> list[Case]:
    """The questions about the passages that the reader was not trained on, searched among all of them."""
    from tests.bench.reading import kept_back

    with tempfile.TemporaryDirectory() as folder:
        questions = []
        for number, page in enumerate(kept_back()):
            name = f"{number:03}.md"
            text = f"# {page['title']}\n\n## {page['heading']}\n\n" + " ".join(page["sentences"]) + "\n"
            (Path(folder) / name).write_text(text, "utf-8")
            for asked in page["questions"]:
                gold = [{"document": name, "quote": page["sentences"][i]} for i in asked["a"]]
                questions.append({"question": asked["q"], "answerable": True, "gold": gold})
            questions += [{"question": q, "answerable": False, "gold": []} for q in page["unanswered"]]
        return cases_in(Path(folder), questions, reader)


def cases_in(folder: Path, questions: Sequence[dict[str, Any]], reader: PassageReading | None) -> list[Case]:
    """The questions with what is found for them in an index of this folder alone."""
    embedder = load_embedder(SHIPPED_EMBEDDER)
    with tempfile.TemporaryDirectory() as home:
        database = Database.open(Path(home) / "bench.sqlite3")
        ingest_folder(database, embedder, folder, source="bench")
        retriever = Retriever(database, embedder, reader=reader)
        cases = []
        for q in questions:
            asked = retriever.rewrite(q["question"])
            vector = embedder.encode([asked])[0]
            gold = tuple(Gold(g["document"], g["quote"]) for g in q["gold"])
            cases.append(Case(q, gold, vector, retriever.retrieve(asked, PASSAGES, vector=vector)))
        database.close()
    return cases


def fit(cases: Sequence[Case], unread: dict[str, Any]) -> dict[str, Any]:
    """Fit the coverage model on `cases` and choose its threshold.

    Sentences are chosen by the weights without a reader plus a little of its word: fitted anew on these cases, most of
    which are about other material, all weights together chose worse on the course's development questions.
    """
    weights = unread["weights"] | {"reading": READING_WEIGHT}
    sentence = ev.LinearModel(unread["bias"], weights)
    coverage_names = ev.COVERAGE_FEATURES
    draft = ev.Calibration(sentence, ev.LinearModel(0.0, {}), 0.0, KEEP_RATIO)
    rows, right, answerable = [], [], []
    for case in cases:
        evidence = ev.select_evidence(case.question["question"], case.vector, case.passages, draft)
        if not evidence.features:
            continue
        rows.append([evidence.features[name] for name in coverage_names])
        right.append(case.question["answerable"] and is_right(case, evidence))
        answerable.append(case.question["answerable"])
    # Coverage learns when the selected evidence answers, not when some evidence exists: a question whose answer was
    # not found is better declined than answered beside the point.
    coverage = logistic(coverage_names, rows, right)
    found = [coverage.probability(dict(zip(coverage_names, row, strict=True))) for row in rows]
    of_answerable = [p for p, y in zip(found, answerable, strict=True) if y]
    of_others = [p for p, y in zip(found, answerable, strict=True) if not y]

    def told_apart(threshold: float) -> float:
        """Youden's J: what is rightly answered, less what is wrongly answered."""
        answered, wrongly = (
            sum(p >= threshold for p in part) / len(part) for part in (of_answerable, of_others)
        )
        return answered - wrongly

    threshold = max(of_answerable, key=told_apart)
    wrongly = sum(p >= threshold for p in of_others) / len(of_others)
    print(
        f"{len(rows)} questions, {sum(right)} with the right evidence; "
        f"{wrongly:.0%} of the unanswerable pass {threshold:.2f}"
    )
    return {
        "threshold": round(threshold, 4),
        "keep_ratio": KEEP_RATIO,
        "sentence": {"bias": sentence.bias, "weights": weights},
        "coverage": {"bias": coverage.bias, "weights": dict(coverage.weights)},
    }


def is_right(case: Case, evidence: ev.Evidence) -> bool:
    """Does the selection hold a gold sentence, or say all that must be said in other sentences?"""
    if any(is_gold(e.sentence, e.passage.document, case.gold) for e in evidence.sentences):
        return True
    said = letters(" ".join(e.sentence.text for e in evidence.sentences))
    wanted = case.question.get("must_say") or []
    return bool(wanted) and all(letters(m) in said for m in wanted)


def logistic(names: Sequence[str], x: Sequence[Sequence[float]], y: Sequence[bool]) -> ev.LinearModel:
    """Logistic regression on standardised features, its weights turned back to the raw ones."""
    from sklearn.linear_model import LogisticRegression

    matrix = np.array(x)
    mean, scale = matrix.mean(0), matrix.std(0)
    scale[scale == 0] = 1.0
    model = LogisticRegression(C=0.3, max_iter=1000).fit((matrix - mean) / scale, np.array(y))
    weights = model.coef_[0] / scale
    bias = float(model.intercept_[0] - (weights * mean).sum())
    return ev.LinearModel(
        round(bias, 4), {n: round(float(w), 4) for n, w in zip(names, weights, strict=True)}
    )
