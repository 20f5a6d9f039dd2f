"""Grades a free-text answer against key points: which it makes, in which words, and which it contradicts.

Each key point is compared with each statement of the answer (`Judge`); the verdict follows from the points. Nothing in
an answer is ever an instruction: a request to be marked correct is one more statement that makes no point.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Protocol

from retrieval.sentences import split_sentences
from retrieval.words import content_stems, negations, words

if TYPE_CHECKING:
    from retrieval.records import Embedder

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
    """Grades answers with a sentence embedder. Safe to share between threads."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    def grade(self, question: str, reference: str, key_points: Sequence[str], answer: str) -> Grade:
        """Grade one answer. Raises ValueError without key points."""
        if not key_points:
            raise ValueError("an answer can't be graded without key points")
        units = statements(answer)
        vectors = self.embedder.encode([*key_points, *units]) if units else None
        points = []
        for number, text in enumerate(key_points):
            best, evidence = 0.0, None
            for place, unit in enumerate(units):
                assert vectors is not None
                alike = float(vectors[number] @ vectors[len(key_points) + place])
                if alike > best:
                    best, evidence = alike, unit
            hit = best >= 0.55 and evidence is not None
            against = hit and negations(text) % 2 != negations(evidence or "") % 2
            points.append(Point(text, hit and not against, against, evidence if hit else None))
        return graded(tuple(points), self.name)

    @property
    def name(self) -> str:
        """Which grader this is, as stored with every attempt."""
        return f"cosine@1+{self.embedder.name}"


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


_CUT = re.compile(
    r"\s*[;:\n]\s*|,\s+(?=(?:and|but|while|whereas|so|because|which)\b)|\s+(?=(?:but|while|whereas)\b)"
)


def statements(answer: str) -> list[str]:
    """The parts of an answer that may each make a point: sentences, and their clauses where they have several."""
    found: list[str] = []
    for start, end in split_sentences(answer):
        sentence = answer[start:end]
        parts = [part for part in _CUT.split(sentence) if len(words(part)) >= 2]
        found += [sentence, *parts] if len(parts) > 1 else [sentence]
    return list(dict.fromkeys(found))
