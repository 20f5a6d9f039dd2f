"""Which sentences of these passages answer this question, and do they answer it at all?

The selected sentences are already an answer: the material's own words, each with its place. A model may then phrase
them (`tutor.turn`), and `grounding` holds it to them. Both decisions here are linear scores over a few features that
can be read aloud; their weights stand in `calibration.json`, fitted by `python -m tests.bench evidence --fit` on the
labelled course questions. Pure: vectors and passages come in, nothing is looked up.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from retrieval.records import Passage, Sentence, Vectors
from retrieval.words import content_stems, numbers, words

MAX_SENTENCES = 3
MIN_WORDS = 3
MAX_LIST_ITEMS = 6
SAME_QUESTION = 0.8  # overlap of content words from which a heading asks the same
SAME_MEANING = 0.92  # cosine from which two sentences say the same thing twice

COVERAGE_FEATURES = "best_cosine", "best_passage", "best_reading", "best_sentence"  # once passages are read
SURE = 8.0  # log-odds beyond which the reader is taken to be no surer

_LEANS_BACK = re.compile(
    r"^(?:it|its|this|that|these|those|they|their|he|she|both|such|the same|then|instead|however|therefore"
    r"|so|but|and|also|for example|in other words|neither|here)\b",
    re.IGNORECASE,
)
_DEFINITION_QUESTION = re.compile(
    r"^\s*(?:so\s+)?(?:what(?:'s|’s| is| are| does|'re)|define|meaning of|who is)\b", re.IGNORECASE
)
_ASKS_WHO_OR_WHEN = re.compile(
    r"^\s*(?:who|whom|whose|when (?:did|was|were)|(?:in )?(?:what|which) year)\b", re.IGNORECASE
)
_ASKS_HOW_MANY = re.compile(r"^\s*how (?:many|much)\b", re.IGNORECASE)
_ASKS_WHAT_IS = re.compile(
    r"^\s*(?:so\s+)?(?:what(?:'s|’s| is| are)|define|(?:the )?difference between)\b", re.IGNORECASE
)
_ASKS_FOR_A_NAME = re.compile(r"\b(?:called|names?|terms?|words?) (?:for|of)\b|\bcalled\b", re.IGNORECASE)
_ABOUT_THE_PAGE = re.compile(
    r"(?:in )?(?:this|the next) (?:page|section|chapter|part|lesson|course)\b", re.IGNORECASE
)
_DEFINES = re.compile(
    r"^(?:an?|the)?\s*([^.;:]{2,90}?)\s+(?:is|are|means|refers to)\s+(?:an?|the|when|how|what)\b",
    re.IGNORECASE,
)
_APPOSITION = re.compile(r"[,()]|\b(?:short for|also called|or)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class EvidenceSentence:
    """A sentence that answers (part of) the question, with the passage it stands in and its unit vector."""

    sentence: Sentence
    passage: Passage
    score: float
    vector: Vectors = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the material has to say on a question, in reading order.

    `confidence` is the calibrated probability that the passages answer it; `covered` compares it with the threshold
    chosen on the labelled questions. `sentences` may be filled even where the question is not covered.
    """

    question: str
    sentences: tuple[EvidenceSentence, ...]
    confidence: float
    threshold: float
    features: Mapping[str, float] = field(default_factory=dict)

    @property
    def covered(self) -> bool:
        return bool(self.sentences) and self.confidence >= self.threshold


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that could be an answer, by its place in a passage, with the features it is judged by."""

    passage: Passage
    index: int
    features: Mapping[str, float]

    @property
    def sentence(self) -> Sentence:
        return self.passage.sentences[self.index]

    @property
    def vector(self) -> Vectors:
        return self.passage.sentence_vectors[self.index]


@dataclass(frozen=True, slots=True)
class LinearModel:
    """A logistic model: probability = 1 / (1 + exp(-(bias + weights · features)))."""

    bias: float
    weights: Mapping[str, float]

    def probability(self, features: Mapping[str, float]) -> float:
        z = self.bias + sum(weight * features[name] for name, weight in self.weights.items())
        return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, z))))


@dataclass(frozen=True, slots=True)
class Calibration:
    """The fitted weights: `sentence` scores a sentence, `coverage` a question; see `calibration.json`."""

    sentence: LinearModel
    coverage: LinearModel
    threshold: float
    keep_ratio: float

    @classmethod
    def from_json(cls, data: Mapping) -> Calibration:
        return cls(
            sentence=LinearModel(**data["sentence"]),
            coverage=LinearModel(**data["coverage"]),
            threshold=data["threshold"],
            keep_ratio=data["keep_ratio"],
        )


@lru_cache(maxsize=2)
def shipped_calibration(*, read: bool = False) -> Calibration:
    """The calibration that ships with the package, for passages that a reader has read or for others."""
    stored = json.loads(Path(__file__).with_name("calibration.json").read_text("utf-8"))
    return Calibration.from_json(stored["read" if read else "unread"])


def select_evidence(
    question: str,
    query_vector: Vectors,
    passages: Sequence[Passage],
    calibration: Calibration | None = None,
    *,
    sides: Sequence[tuple[str, Vectors]] = (),
) -> Evidence:
    """Choose the sentences of `passages` that answer `question`, and judge whether they do.

    `query_vector` has shape (d,) and length 1, from the embedder that made the passages' sentence vectors. `sides` are
    the questions hidden in a comparison ("What is training?") with their vectors: each gets its best sentence.
    """
    read = all(passage.reading is not None for passage in passages)
    calibration = calibration or shipped_calibration(read=read)
    found = candidates(question, query_vector, passages)
    if not found:
        return Evidence(question, (), 0.0, calibration.threshold)
    if answer := _posed_by_the_material(question, passages):
        return Evidence(question, answer, 1.0, calibration.threshold)
    chosen: list[EvidenceSentence] = []
    for side, side_vector in sides:
        scored = _scored(candidates(side, side_vector, passages), calibration)
        _choose(scored, 1.0, into=chosen)
    best = _scored(found, calibration)
    _choose(best, calibration.keep_ratio, into=chosen)
    features = coverage_features(question, best, passages)
    lacking = lacks_the_fact(question, chosen, passages)
    return Evidence(
        question=question,
        sentences=_in_reading_order(chosen),
        confidence=0.0 if lacking else calibration.coverage.probability(features),
        threshold=calibration.threshold,
        features=features,
    )


def _scored(found: Sequence[Candidate], calibration: Calibration) -> list[tuple[float, Candidate]]:
    """Best first; equals in the order of the passages."""
    return sorted(
        ((calibration.sentence.probability(c.features), c) for c in found),
        key=lambda pair: (-pair[0], pair[1].passage.rank, pair[1].index),
    )


def lacks_the_fact(question: str, chosen: Sequence[EvidenceSentence], passages: Sequence[Passage]) -> bool:
    """Does the question ask for a name, a date, a quantity or a meaning that can't be here?

    Near misses ask so, in the material's own words ("Who invented byte-pair encoding?"), which no similarity tells
    apart. Who did something, and when, needs sentences that speak of the very act; how many needs a number; and what
    a thing is can't be told by passages that never name it.
    """
    terms = set(content_stems(question))
    if _ASKS_WHO_OR_WHEN.search(question):
        return not terms <= {
            s for e in chosen for s in content_stems(f"{_headings(e.passage)} {e.sentence.text}")
        }
    if _ASKS_HOW_MANY.search(question):
        return not any(numbers(e.sentence.text) for e in chosen)
    if _ASKS_WHAT_IS.search(question) and not _ASKS_FOR_A_NAME.search(question):
        return not terms <= _stems_of(passages)
    return False


def _posed_by_the_material(question: str, passages: Sequence[Passage]) -> tuple[EvidenceSentence, ...]:
    """The beginning of what stands under a heading that asks this very question, as FAQ headings do; else ()."""
    asked = set(content_stems(question))
    for passage in passages:
        heading = passage.heading_path[-1] if passage.heading_path else ""
        stems = set(content_stems(heading))
        if heading.endswith("?") and asked and len(asked & stems) / len(asked | stems) >= SAME_QUESTION:
            return tuple(
                EvidenceSentence(sentence, passage, 1.0, vector)
                for sentence, vector in zip(passage.sentences, passage.sentence_vectors, strict=True)
                if sentence.kind != "code"
            )[:MAX_SENTENCES]
    return ()


def candidates(question: str, query_vector: Vectors, passages: Sequence[Passage]) -> list[Candidate]:
    """Every sentence that could be an answer, with its features. Code, questions and fragments can't be."""
    terms = set(content_stems(question))
    weights = _rarity(terms, passages)
    topic = content_stems(question) if _DEFINITION_QUESTION.search(question) else []
    rows = []
    for passage in passages:
        if not passage.sentences:
            continue
        cosines = passage.sentence_vectors @ query_vector
        heading = set(content_stems(_headings(passage)))
        for index, sentence in enumerate(passage.sentences):
            if not _could_answer(sentence):
                continue
            stems = set(content_stems(sentence.text))
            features = {
                "cosine": float(cosines[index]),
                "window_cosine": _window_cosine(passage, index, query_vector),
                "passage_cosine": passage.dense,
                "heading_terms": _share((terms & heading) - stems, weights),
                "defines": _defines(sentence.text, topic),
                "brevity": min(1.0, 8 / len(words(sentence.text))),
                "reading": _clipped(passage.reading[index]) if passage.reading is not None else 0.0,
            }
            rows.append(Candidate(passage, index, features))
    return rows


def coverage_features(
    question: str, scored: Sequence[tuple[float, Candidate]], passages: Sequence[Passage]
) -> dict[str, float]:
    """What tells a covered question from a near miss; `scored` is not empty, best first.

    A question's terms count by their rarity: a near miss ("who invented byte-pair encoding?") shares the common
    ones with the material and lacks the one that it is about.
    """
    terms = set(content_stems(question))
    weights = _rarity(terms, passages)
    anywhere = _stems_of(passages)
    found = [candidate for _, candidate in scored]
    return {
        "best_cosine": max(c.features["cosine"] for c in found),
        "best_passage": max(p.dense for p in passages),
        "terms_in_passages": _share(terms & anywhere, weights),
        "terms_missing": len(terms - anywhere) / max(1, len(terms)),
        "best_reading": max(c.features["reading"] for c in found),
        "best_sentence": _log_odds(scored[0][0]),
    }


def _choose(
    scored: Sequence[tuple[float, Candidate]], keep_ratio: float, into: list[EvidenceSentence]
) -> None:
    """Add the best sentence and those nearly as good that say something else, with what they lean on."""
    floor = scored[0][0] * keep_ratio
    for score, candidate in scored:
        if score < floor or len(into) >= MAX_SENTENCES:
            break
        for index in _with_context(candidate.passage, candidate.index):
            vector = candidate.passage.sentence_vectors[index]
            if all(float(vector @ other.vector) < SAME_MEANING for other in into):
                into.append(
                    EvidenceSentence(candidate.passage.sentences[index], candidate.passage, score, vector)
                )


def _with_context(passage: Passage, index: int) -> list[int]:
    """The sentence with what it can't be read without: the one a pronoun leans on, a list under its lead-in."""
    sentences = passage.sentences
    indexes = [index]
    if _LEANS_BACK.match(sentences[index].text) and index > 0 and _could_answer(sentences[index - 1]):
        indexes.insert(0, index - 1)
    if sentences[index].text.endswith(":"):
        for following in range(index + 1, min(len(sentences), index + 1 + MAX_LIST_ITEMS)):
            if sentences[following].kind != "list_item":
                break
            indexes.append(following)
    return indexes


def _in_reading_order(chosen: Sequence[EvidenceSentence]) -> tuple[EvidenceSentence, ...]:
    """Passages by their best sentence, and within a passage the order of the page."""
    best: dict[int, float] = {}
    for item in chosen:
        best[item.passage.chunk_id] = max(item.score, best.get(item.passage.chunk_id, 0.0))
    return tuple(
        sorted(chosen, key=lambda e: (-best[e.passage.chunk_id], e.passage.chunk_id, e.sentence.start))
    )


def _clipped(log_odds: float) -> float:
    return max(-SURE, min(SURE, float(log_odds)))


def _log_odds(probability: float) -> float:
    sure = min(max(probability, 1e-4), 1 - 1e-4)
    return math.log(sure / (1 - sure))


def _could_answer(sentence: Sentence) -> bool:
    if sentence.kind == "code" or sentence.text.endswith("?") or _ABOUT_THE_PAGE.match(sentence.text):
        return False
    return len(words(sentence.text)) >= MIN_WORDS


def _window_cosine(passage: Passage, index: int, query_vector: Vectors) -> float:
    """Cosine of the question and the sentence with its neighbours: an answer often leans on what stands beside it."""
    window = passage.sentence_vectors[max(0, index - 1) : index + 2].mean(axis=0)
    return float(window @ query_vector) / max(1e-9, float(np.linalg.norm(window)))


def _defines(sentence: str, topic: Sequence[str]) -> float:
    """How far the sentence opens like a definition of what the question asks about; 1.0 is exactly that.

    "RAG, short for retrieval-augmented generation, is a ..." defines both names. Each is compared by Jaccard overlap.
    """
    match = _DEFINES.match(sentence)
    if not match or not topic:
        return 0.0
    names = [set(content_stems(name)) for name in _APPOSITION.split(match.group(1))]
    return max(len(name & set(topic)) / len(name | set(topic)) for name in names)


def _rarity(terms: set[str], passages: Sequence[Passage]) -> dict[str, float]:
    """Inverse document frequency of the question's terms over the retrieved passages' sentences."""
    counts: Counter[str] = Counter()
    total = 1
    for passage in passages:
        for sentence in passage.sentences:
            total += 1
            counts.update(terms & set(content_stems(sentence.text)))
    return {term: math.log(1 + total / (1 + counts[term])) for term in terms}


def _share(found: set[str], weights: Mapping[str, float]) -> float:
    """The weighted share of the question's terms that were found; 0 for a question without content words."""
    total = sum(weights.values())
    return sum(weights[t] for t in found) / total if total else 0.0


def _headings(passage: Passage) -> str:
    return f"{passage.title} {' '.join(passage.heading_path)}"


def _stems_of(passages: Sequence[Passage]) -> set[str]:
    """Every content word that the passages or their headings hold."""
    texts = (f"{_headings(p)} {' '.join(s.text for s in p.sentences)}" for p in passages)
    return {stem for text in texts for stem in content_stems(text)}
