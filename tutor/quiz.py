"""Grades a free-text answer against key points: which it makes, in which words, and which it contradicts.

Each key point is compared with each statement of the answer (`Judge`); the verdict follows from the points. Nothing in
an answer is ever an instruction: a request to be marked correct is one more statement that makes no point.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from retrieval.entailment import CONTRADICTED, NEUTRAL, STATED, Entailment
from retrieval.records import Vectors
from retrieval.sentences import split_sentences
from retrieval.words import content_stems, words

if TYPE_CHECKING:
    from retrieval.records import Embedder

FITTED = Path(__file__).with_name("grading.json")  # by `python -m tests.bench grading --fit`
MAX_PARTS = 8  # of one answer; more would cost time and say little

SAME_WORD = 0.84  # share of matching letters from which a misspelt term counts


@dataclass(frozen=True, slots=True)
class Point:
    """One key point in an answer. `evidence` is the learner's own words that make it, or that contradict it."""

    text: str
    hit: bool
    contradicted: bool
    evidence: str | None


@dataclass(frozen=True, slots=True)
class Grade:
    """`verdict` is correct, partial or incorrect; `score` the share of points made, 0 to 1; `grader` who graded."""

    verdict: str
    score: float
    points: tuple[Point, ...]
    feedback: str
    grader: str


class Judged(Protocol):
    """What a line of feedback needs to know of a key point."""

    @property
    def hit(self) -> bool: ...
    @property
    def contradicted(self) -> bool: ...


class Judge(Protocol):
    """Says of (hypothesis, premise) pairs how likely the premise leaves open, states or contradicts it: [n, 3]."""

    @property
    def name(self) -> str: ...
    def judge(self, pairs: Sequence[tuple[str, str]]) -> Vectors: ...


class Grader:
    """Grades answers. Safe to share between threads.

    `embedder` finds the page's sentence for a key point (`tutor.lessons`); the verdict does not depend on it.
    """

    def __init__(self, embedder: Embedder, judge: Judge | None = None) -> None:
        self.embedder = embedder
        self._judge = judge or Entailment()

    @property
    def name(self) -> str:
        """Which grader this is, as kept with every attempt."""
        return f"points@{weights().version}+{self._judge.name}"

    def grade(self, question: str, reference: str, key_points: Sequence[str], answer: str) -> Grade:
        """Grade one answer. Raises ValueError without key points, EmbedderError without the shipped models."""
        if not key_points:
            raise ValueError("an answer can't be graded without key points")
        parts = parts_of(answer)
        if not parts:
            return grade_unknown(key_points)
        pairs = [(point, part) for point in key_points for part in parts]
        judged = self._judge.judge(pairs).reshape(len(key_points), len(parts), 3)
        kinds = weights().decide(features(judged, len(content_stems(answer)))).argmax(axis=1)
        points = []
        for text, of_parts, kind in zip(key_points, judged, kinds.tolist(), strict=True):
            evidence = parts[int(of_parts[_narrowest(parts), kind].argmax()) + _narrowest(parts).start]
            points.append(
                Point(text, kind == STATED, kind == CONTRADICTED, evidence if kind != NEUTRAL else None)
            )
        return graded(tuple(points), self.name)


@dataclass(frozen=True, slots=True)
class Weights:
    """How judgements are weighed: a multinomial logistic regression over `features`."""

    coefficients: Vectors
    intercepts: Vectors
    version: str

    def decide(self, rows: Vectors) -> Vectors:
        """Rows of features [points, features] -> probabilities [points, 3]: left open, stated, contradicted."""
        scores = rows @ self.coefficients.T + self.intercepts
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


FEATURES = (
    "whole answer states it",
    "whole answer contradicts it",
    "best part states it",
    "best part contradicts it",
    "whole answer states the other points",
    "whole answer contradicts the other points",
    "length",
)


def features(judged: Vectors, stems: int) -> Vectors:
    """What the judgements [points, parts, 3] come to: a row of FEATURES for each key point.

    Judgements count as log-odds, the whole answer is the first part, the other points count by their mean, the length
    of an answer (`stems`, its content words) as its logarithm: saying much makes a point by chance, and an answer
    that turns the other points around is likely to turn this one around too.
    """
    sure = np.clip(judged, 1e-4, 1 - 1e-4)
    odds = np.log(sure) - np.log(1 - sure)
    whole, parts = odds[:, 0], odds[:, 1:] if odds.shape[1] > 1 else odds
    count = len(whole)
    others = (whole.sum(axis=0) - whole) / (count - 1) if count > 1 else np.zeros_like(whole)
    columns = [
        whole[:, STATED],
        whole[:, CONTRADICTED],
        parts[:, :, STATED].max(axis=1),
        parts[:, :, CONTRADICTED].max(axis=1),
        others[:, STATED],
        others[:, CONTRADICTED],
        np.full(count, np.log(stems + 1)),
    ]
    return np.stack(columns, axis=1)


@lru_cache(maxsize=1)
def weights() -> Weights:
    """The fitted weights, as shipped."""
    data = FITTED.read_bytes()
    stored = json.loads(data)
    return Weights(
        np.array(stored["coefficients"]), np.array(stored["intercepts"]), hashlib.sha256(data).hexdigest()[:8]
    )


def graded(points: tuple[Point, ...], grader: str) -> Grade:
    """The verdict that follows from the points."""
    hit = sum(point.hit for point in points)
    against = sum(point.contradicted for point in points)
    if hit == len(points):
        verdict = "correct"
    elif hit and hit >= against:
        verdict = "partial"
    else:
        verdict = "incorrect"
    return Grade(verdict, hit / len(points), points, feedback_line(verdict, points), grader)


def grade_unknown(key_points: Sequence[str]) -> Grade:
    """The grade of "I don't know yet": nothing hit, nothing held against the learner."""
    points = tuple(Point(text, hit=False, contradicted=False, evidence=None) for text in key_points)
    return Grade("incorrect", 0.0, points, feedback_line("incorrect", points, unknown=True), "unknown")


def grade_term(answer: str, term: str) -> Grade:
    """Grade a term filled in on a takeaway card: right or wrong, spelling slips allowed."""
    right = term_matches(answer, term)
    point = Point(term, right, contradicted=False, evidence=answer.strip() if right else None)
    verdict = "correct" if right else "incorrect"
    if not answer.strip():
        return grade_unknown([term])
    return Grade(
        verdict, float(right), (point,), "That is it." if right else f"The term is “{term}”.", "term@1"
    )


def term_matches(answer: str, term: str) -> bool:
    """Whether a short answer names the term: the same stems in any order, or the same letters but for a slip."""
    given, wanted = content_stems(answer) or words(answer), content_stems(term) or words(term)
    if not given or len(words(answer)) > len(words(term)) + 3:
        return False
    if set(wanted) <= set(given):
        return True
    alike = SequenceMatcher(None, " ".join(words(answer)), " ".join(words(term)), autojunk=False).ratio()
    return alike >= SAME_WORD


def feedback_line(verdict: str, points: Sequence[Judged], *, unknown: bool = False) -> str:
    """What the learner reads first: what was there, what was missing, never more than the key points say."""
    if unknown:
        return "Good to know where you stand. Look for these points while you read."
    hit = sum(point.hit for point in points)
    against = sum(point.contradicted for point in points)
    if verdict == "correct":
        return "Your answer makes every point." if len(points) > 1 else "That is it."
    parts = []
    if hit:
        parts.append(f"Your answer makes {hit} of {len(points)} points")
    if against:
        parts.append(
            f"{'it' if parts else 'Your answer'} says the opposite of {'one' if against == 1 else against}"
        )
    if not parts:
        return "Your answer makes none of the points yet."
    return ", and ".join(parts) + "."


_CLAUSE = re.compile(
    r"\s*[;:\n]\s*|,\s+(?=(?:and|but|while|whereas|so|because|which)\b)|\s+(?=(?:but|while|whereas)\b)"
)


def parts_of(answer: str) -> list[str]:
    """The whole answer, then, where it has several, its sentences and clauses, each in the learner's own words.

    What has no letter or digit says nothing: an answer of nothing else has no parts.
    """
    whole = " ".join(answer.split())
    if not words(whole):
        return []
    found = [whole]
    for start, end in split_sentences(whole):
        sentence = whole[start:end]
        clauses = [part.strip() for part in _CLAUSE.split(sentence) if len(words(part)) >= 3]
        found += [sentence, *clauses] if len(clauses) > 1 else [sentence]
    return list(dict.fromkeys(found))[:MAX_PARTS]


def _narrowest(parts: Sequence[str]) -> slice:
    """Where evidence is looked for: in the parts of an answer, or in the whole if it has none."""
    return slice(1, None) if len(parts) > 1 else slice(0, None)
