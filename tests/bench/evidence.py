"""How well evidence is found and coverage decided: `python -m tests.bench evidence`; `--fit` fits both.

Measured on documents that nothing was fitted on (`reading_unseen.jsonl`), everything together: searching among them,
reading, selecting, deciding. For the course `study-tutor eval answers` says the same and more. Fitted on questions that
neither the reader was trained on nor any evaluation uses: the development questions about the course, and those about
passages that were kept back from the reader (`reading.kept_back`). What stands there for tutors without a reader stays
as it is.
"""

from __future__ import annotations

import json
import random
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
from retrieval.evaluate import Gold, is_gold
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
EVERY = 8  # of the unseen documents every eighth is asked about: 1,300 questions, seven minutes
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
    """Measure, or fit and write calibration.json. Returns the exit code."""
    if list(arguments) not in ([], ["--fit"]):
        print("usage: python -m tests.bench evidence [--fit]")
        return 2
    if not arguments:
        measure()
        return 0
    materials = course_cases("dev", Reader()), kept_back_cases(Reader())
    unread = json.loads(CALIBRATION.read_text("utf-8"))["unread"]  # of before there was a reader
    stored = {
        "about": "Fitted by `python -m tests.bench evidence --fit`; see retrieval/evidence.py for the features.",
        "fitted": {
            "date": date.today().isoformat(),
            "embedder": SHIPPED_EMBEDDER,
            "reader": Reader().name,
            "questions": sum(map(len, materials)),
        },
        "read": fit(materials, unread["sentence"]),
        "unread": unread,
    }
    CALIBRATION.write_text(json.dumps(stored, indent=2) + "\n", "utf-8")
    return 0


def course_cases(split: str, reader: PassageReading | None) -> list[Case]:
    """The questions about the course of one split, with their passages from a fresh index of the course."""
    questions = [q for q in read(QUESTIONS) if q["split"] == split]
    return cases_in(COURSE, questions, reader)


def measure() -> None:
    """Print what a learner gets who asks about some of the unseen documents: how often the evidence holds a sentence
    that answers, and how well answered questions are told from near misses and from what other documents answer."""
    from sklearn.metrics import roc_auc_score

    from tests.bench.reading import UNSEEN

    unseen = read(UNSEEN)
    titles = [*dict.fromkeys(page["title"] for page in unseen)][::EVERY]
    pages = [page for page in unseen if page["title"] in titles]
    elsewhere = [q["q"] for page in unseen if page["title"] not in titles for q in page["questions"]]
    strangers = random.Random(0).sample(elsewhere, len(pages))
    cases = cases_about(pages, Reader(), strangers)
    found = [ev.select_evidence(case.question["question"], case.vector, case.passages) for case in cases]
    sure = np.array([evidence.confidence for evidence in found])
    kinds = np.array([case.question["kind"] for case in cases])
    shown = np.array([evidence.covered for evidence in found])
    holds = np.array(
        [
            any(is_gold(e.sentence, e.passage.document, case.gold) for e in evidence.sentences)
            for case, evidence in zip(cases, found, strict=True)
        ]
    )
    asked = kinds == "answered"
    print(f"{len(pages)} passages of {len(titles)} documents, {asked.sum()} questions that they answer")
    right = holds[asked].mean(), (holds & shown)[asked].mean()
    print(f"evidence holds an answering sentence: {right[0]:.3f}, and is shown: {right[1]:.3f}")
    print(f"declined, of the answered: {1 - shown[asked].mean():.3f}")
    for kind in ("near miss", "other document"):
        these = kinds == kind
        auc = roc_auc_score(asked[asked | these], sure[asked | these])
        declined = 1 - shown[these].mean()
        print(f"declined, of {these.sum()} ({kind}): {declined:.3f}; area under the curve {auc:.3f}")


def kept_back_cases(reader: PassageReading | None) -> list[Case]:
    """The questions about the passages that the reader was not trained on, searched among all of them."""
    from tests.bench.reading import kept_back

    return cases_about(kept_back(), reader)


def cases_about(
    pages: Sequence[dict[str, Any]], reader: PassageReading | None, strangers: Sequence[str] = ()
) -> list[Case]:
    """The questions written about these passages, and `strangers`, which they don't answer, searched among all of the
    passages."""
    with tempfile.TemporaryDirectory() as folder:
        questions: list[dict[str, Any]] = []
        for number, page in enumerate(pages):
            name = f"{number:03}.md"
            text = f"# {page['title']}\n\n## {page['heading']}\n\n" + " ".join(page["sentences"]) + "\n"
            (Path(folder) / name).write_text(text, "utf-8")
            for asked in page["questions"]:
                gold = [{"document": name, "quote": page["sentences"][i]} for i in asked["a"]]
                questions.append({"question": asked["q"], "kind": "answered", "gold": gold})
            questions += [{"question": q, "kind": "near miss", "gold": []} for q in page["unanswered"]]
        questions += [{"question": q, "kind": "other document", "gold": []} for q in strangers]
        for question in questions:
            question["answerable"] = question["kind"] == "answered"
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


def fit(materials: Sequence[Sequence[Case]], unread: dict[str, Any]) -> dict[str, Any]:
    """Fit the coverage model and choose its threshold; each material counts the same, however many its questions.

    Sentences are chosen by the weights without a reader plus a little of its word: fitted anew on these cases, most of
    which are about other material, all weights together chose worse on the course's development questions.
    """
    weights = unread["weights"] | {"reading": READING_WEIGHT}
    sentence = ev.LinearModel(unread["bias"], weights)
    draft = ev.Calibration(sentence, ev.LinearModel(0.0, {}), 0.0, KEEP_RATIO)
    rows: list[list[float]] = []
    answerable: list[bool] = []
    shares: list[float] = []
    lacking: list[bool] = []
    for cases in materials:
        for case in cases:
            evidence = ev.select_evidence(case.question["question"], case.vector, case.passages, draft)
            if evidence.features:
                rows.append([evidence.features[name] for name in ev.COVERAGE_FEATURES])
                answerable.append(case.question["answerable"])
                shares.append(1 / len(cases))
                lacking.append(
                    ev.lacks_the_fact(case.question["question"], evidence.sentences, case.passages)
                )
    share = np.array(shares) * len(rows) / sum(shares)
    coverage = logistic(ev.COVERAGE_FEATURES, rows, answerable, share)
    found = np.array(
        [coverage.probability(dict(zip(ev.COVERAGE_FEATURES, row, strict=True))) for row in rows]
    )
    found[np.array(lacking)] = 0.0  # as in `select_evidence`
    asked = np.array(answerable)

    def answered(threshold: float, which: np.ndarray) -> float:
        return float(np.average(found[which] >= threshold, weights=share[which]))

    # Youden's J: what is rightly answered, less what is wrongly answered.
    threshold = max(found[asked], key=lambda t: answered(t, asked) - answered(t, ~asked))
    print(
        f"{len(rows)} questions; {answered(threshold, asked):.0%} of the answerable and "
        f"{answered(threshold, ~asked):.0%} of the others pass {threshold:.2f}"
    )
    return {
        "threshold": round(float(threshold), 4),
        "keep_ratio": KEEP_RATIO,
        "sentence": {"bias": sentence.bias, "weights": weights},
        "coverage": {"bias": coverage.bias, "weights": dict(coverage.weights)},
    }


def logistic(
    names: Sequence[str], x: Sequence[Sequence[float]], y: Sequence[bool], share: np.ndarray
) -> ev.LinearModel:
    """Logistic regression on standardised features, each row counting its share, its weights turned back to the raw
    ones."""
    from sklearn.linear_model import LogisticRegression

    matrix = np.array(x)
    mean, scale = matrix.mean(0), matrix.std(0)
    scale[scale == 0] = 1.0
    model = LogisticRegression(C=0.3, max_iter=1000).fit((matrix - mean) / scale, np.array(y), share)
    weights = model.coef_[0] / scale
    bias = float(model.intercept_[0] - (weights * mean).sum())
    return ev.LinearModel(
        round(bias, 4), {n: round(float(w), 4) for n, w in zip(names, weights, strict=True)}
    )
