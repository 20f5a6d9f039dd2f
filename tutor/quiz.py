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

from retrieval.embedder import load_embedder
from retrieval.entailment import CONTRADICTED, NEUTRAL, STATED, Entailment, Judge
from retrieval.fitted import BACKBONE
from retrieval.records import Vectors
from retrieval.sentences import split_sentences
from retrieval.words import NEGATIONS, content_stems, negations, words

if TYPE_CHECKING:
    from retrieval.records import Embedder

FITTED = Path(__file__).with_name("grading.json")  # by `python -m tests.bench grading --fit`
_ARTICLES = frozenset(("a", "an", "the"))
_DENIALS = frozenset("false wrong untrue incorrect myth mistaken opposite".split())
MAX_PARTS = 8  # of one answer; more would cost time and say little
NEAREST = 2  # parts that each key point is held against, beside the whole answer

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


class Grader:
    """Grades answers. Safe to share between threads."""

    def __init__(
        self, embedder: Embedder, judge: Judge | None = None, similar: Embedder | None = None
    ) -> None:
        """`embedder` is the one that search uses; likeness (`similar`) is always measured with the shipped one,
        because the weights were fitted with it."""
        self.embedder = embedder
        self._judge = judge or Entailment()
        self._similar = similar or (embedder if embedder.name.startswith(f"{BACKBONE}@") else None)

    @property
    def name(self) -> str:
        """Which grader this is, as kept with every attempt."""
        return f"points@{weights().version}+{self._judge.name}"

    def grade(self, question: str, reference: str, key_points: Sequence[str], answer: str) -> Grade:
        """Grade one answer. Raises ValueError without key points, EmbedderError without the shipped models."""
        if not key_points:
            raise ValueError("an answer can't be graded without key points")
        parts = parts_of(answer, question)
        if not parts:
            return grade_unknown(key_points)
        judged, alike = self.compare(key_points, parts)
        kinds = weights().decide(features(judged, alike)).argmax(axis=1)
        if _same_words(
            parts[0], reference
        ):  # the reference makes every point, whatever the judge makes of it
            kinds[:] = STATED
        points = []
        inner = slice(1, None) if len(parts) > 1 else slice(0, None)
        for text, of_parts, likeness, kind in zip(key_points, judged, alike, kinds.tolist(), strict=True):
            said = [part for part in parts if says_word_for_word(part, text)]
            if said and kind != STATED and not any(says_otherwise(part, text) for part in parts):
                kind = STATED
            # Clear, and about this point: "no" may settle every point of a question, but says little of each.
            clearest = parts[inner][int((of_parts[inner, kind] * likeness[inner]).argmax())]
            evidence = min(said, key=len) if said and kind == STATED else clearest
            points.append(
                Point(text, kind == STATED, kind == CONTRADICTED, evidence if kind != NEUTRAL else None)
            )
        return graded(tuple(points), self.name)

    def compare(self, key_points: Sequence[str], parts: Sequence[str]) -> tuple[Vectors, Vectors]:
        """The judgements [points, parts, 3] and the cosines [points, parts].

        Each point is judged against the whole answer (the first part) and the NEAREST others; the rest are taken to
        leave it open. Judging all of them costs more time and agreed no better with the labels.
        """
        if self._similar is None:
            self._similar = load_embedder(BACKBONE)
        vectors = self._similar.encode([*key_points, *parts])
        alike = vectors[: len(key_points)] @ vectors[len(key_points) :].T
        nearest = [(-row[1:]).argsort(kind="stable")[:NEAREST] + 1 for row in alike]
        asked = [(point, part) for point, near in enumerate(nearest) for part in (0, *near.tolist())]
        judged = np.zeros((len(key_points), len(parts), 3), dtype=np.float32)
        judged[:, :, NEUTRAL] = 1.0
        said = self._judge.judge([(key_points[point], parts[part]) for point, part in asked])
        for (point, part), probabilities in zip(asked, said, strict=True):
            judged[point, part] = probabilities
        return judged, alike


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
    "likeness of the part most like it",
    "that part states it",
    "that part contradicts it",
    "that part states it x likeness",
    "that part states it x likeness above 0.8",
    "whole answer states the other points",
    "whole answer contradicts the other points",
)
VERY_LIKE = 0.8


def features(judged: Vectors, alike: Vectors) -> Vectors:
    """What the judgements [points, parts, 3] and cosines [points, parts] come to: a row of FEATURES for each point.

    The first part is the whole answer. Judgements count as log-odds, the other points by their mean: an answer that
    turns those around is likely to turn this one around too.
    """
    sure = np.clip(judged, 1e-4, 1 - 1e-4)
    odds = np.log(sure) - np.log(1 - sure)
    inner = slice(1, None) if odds.shape[1] > 1 else slice(0, None)
    parts, likeness = odds[:, inner], alike[:, inner]
    each = np.arange(len(odds))
    nearest = likeness.argmax(axis=1)
    near, like = parts[each, nearest], likeness[each, nearest]
    whole, count = odds[:, 0], len(odds)
    others = (whole.sum(axis=0) - whole) / (count - 1) if count > 1 else np.zeros_like(whole)
    columns = [
        odds[:, 0, STATED],
        odds[:, 0, CONTRADICTED],
        parts[:, :, STATED].max(axis=1),
        parts[:, :, CONTRADICTED].max(axis=1),
        like,
        near[:, STATED],
        near[:, CONTRADICTED],
        near[:, STATED] * like,
        near[:, STATED] * np.maximum(0.0, like - VERY_LIKE),
        others[:, STATED],
        others[:, CONTRADICTED],
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


def parts_of(answer: str, question: str = "") -> list[str]:
    """The whole answer, then, where it has several, its sentences and clauses, each in the learner's own words.

    The question repeated states nothing, and neither does what has no letter or digit: both are left out.
    """
    whole = " ".join(answer.split())
    sentences = [whole[start:end] for start, end in split_sentences(whole)] if words(whole) else []
    asked = [question, *(question[start:end] for start, end in split_sentences(question))] if question else []
    kept = [s for s in sentences if words(s) and not any(_same_words(s, repeated) for repeated in asked)]
    if not kept:
        return []
    found = [" ".join(kept)]
    for sentence in kept:
        clauses = [part.strip() for part in _CLAUSE.split(sentence) if len(words(part)) >= 3]
        found += [sentence, *clauses] if len(clauses) > 1 else [sentence]
    return list(dict.fromkeys(found))[:MAX_PARTS]


def says_word_for_word(part: str, point: str) -> bool:
    """Whether a part of an answer holds the key point's words in a row, articles apart, and denies nothing more."""
    said, wanted = _plain_words(part), _plain_words(point)
    at = range(len(said) - len(wanted) + 1)
    there = any(said[i : i + len(wanted)] == wanted for i in at)
    return bool(wanted) and there and _denials(part) == _denials(point)


def says_otherwise(part: str, point: str) -> bool:
    """Whether a part says the key point's words in any order with a denial more or less."""
    said, wanted = set(_plain_words(part)), set(_plain_words(point))
    return wanted - NEGATIONS <= said and _denials(part) % 2 != _denials(point) % 2


def _plain_words(text: str) -> list[str]:
    return [word.removesuffix("'s") for word in words(text) if word not in _ARTICLES]


def _denials(text: str) -> int:
    return negations(text) + sum(word in _DENIALS for word in words(text))


def _same_words(one: str, other: str) -> bool:
    return SequenceMatcher(None, words(one), words(other), autojunk=False).ratio() >= 0.9
