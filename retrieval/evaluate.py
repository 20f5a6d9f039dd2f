"""How good is search? Recall, MRR and nDCG on labelled questions, with bootstrap intervals. Pure.

A label names a document and quotes a sentence of it. A passage is relevant if it holds one of a question's quotes,
compared by letters and digits alone, so that markup and line breaks don't count.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.records import Passage, Sentence

SHORTEST_PART = 25  # letters of a sentence that counts as found inside a longer quote


@dataclass(frozen=True, slots=True)
class Gold:
    """One place that answers: `document` as the index names it, `quote` words of it."""

    document: str
    quote: str

    @property
    def letters(self) -> str:
        return letters(self.quote)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % bootstrap interval; `n` is the number of questions."""

    mean: float
    low: float
    high: float
    n: int


def letters(text: str) -> str:
    """The text's letters and digits, lower-case."""
    return "".join(c for c in text.lower() if c.isalnum())


def holds(passage: Passage, gold: Sequence[Gold]) -> bool:
    """Whether the passage holds one of the quotes, whole or one of its sentences."""
    wanted = [g.letters for g in gold if same_document(passage.document, g.document)]
    if not wanted:
        return False
    said = letters(" ".join(sentence.text for sentence in passage.sentences))
    return any(quote in said for quote in wanted) or any(
        is_gold(s, passage.document, gold) for s in passage.sentences
    )


def is_gold(sentence: Sentence, document: str, gold: Sequence[Gold]) -> bool:
    """Whether a sentence is (part of) one of the quotes, or holds one."""
    return quotes_gold(sentence.text, document, gold)


def quotes_gold(text: str, document: str, gold: Sequence[Gold]) -> bool:
    """The same for words cited from a document."""
    said = letters(text)
    return any(
        same_document(document, g.document)
        and (g.letters in said or (len(said) >= SHORTEST_PART and said in g.letters))
        for g in gold
    )


def same_document(indexed: str, named: str) -> bool:
    """Whether a label's document is this one: the same path, or the end of it."""
    return indexed == named or indexed.endswith(f"/{named}")


def ranks_of(passages: Sequence[Passage], gold: Sequence[Gold]) -> list[int]:
    """The places (from 1) of the relevant passages."""
    return [place for place, passage in enumerate(passages, start=1) if holds(passage, gold)]


def recall_at(ranks: Sequence[int], k: int) -> float:
    """1.0 if one of the first k passages is relevant: one place that answers is enough."""
    return float(any(rank <= k for rank in ranks))


def reciprocal_rank(ranks: Sequence[int]) -> float:
    """1 / the place of the first relevant passage; 0 without one (MRR is the mean of these)."""
    return 1 / min(ranks) if ranks else 0.0


def ndcg_at(ranks: Sequence[int], k: int, relevant: int) -> float:
    """Discounted gain of the first k over that of an ideal order, `relevant` passages being worth 1 each
    (Järvelin and Kekäläinen 2002)."""
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, max(relevant, len(ranks))) + 1))
    gained = sum(1 / math.log2(rank + 1) for rank in ranks if rank <= k)
    return gained / ideal if ideal else 0.0


def estimate(values: Sequence[float], *, draws: int = 2000, seed: int = 0) -> Estimate:
    """The mean of values and its percentile bootstrap interval. Raises ValueError without values."""
    if not values:
        raise ValueError("there is nothing to measure")
    chance = random.Random(seed)
    n = len(values)
    means = sorted(sum(chance.choices(values, k=n)) / n for _ in range(draws))
    return Estimate(sum(values) / n, means[int(0.025 * draws)], means[min(draws - 1, int(0.975 * draws))], n)


def with_interval(value: float, low: float | None, high: float | None, *, sign: bool = False) -> str:
    """ "0.81 (0.74 to 0.88)", without decimals from ten on; the value alone where nothing is known of its interval."""
    form = f"{'+' if sign else ''}.{0 if abs(value) >= 10 else 2}f"
    return (
        f"{value:{form}}"
        if low is None or high is None
        else f"{value:{form}} ({low:{form}} to {high:{form}})"
    )


def paired(one: Sequence[float], other: Sequence[float], *, draws: int = 2000, seed: int = 0) -> Estimate:
    """The mean of one - other, question by question, with its interval. Raises ValueError for unequal lengths."""
    return estimate([a - b for a, b in zip(one, other, strict=True)], draws=draws, seed=seed)


def reliability(
    probabilities: Sequence[float], right: Sequence[bool], bins: int = 5
) -> list[tuple[float, float, int]]:
    """(mean probability, share that is right, n) of each bin that holds any, of equal width: a calibrated
    probability has the two alike."""
    parts: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for probability, true in zip(probabilities, right, strict=True):
        parts[min(bins - 1, int(probability * bins))].append((probability, true))
    return [
        (sum(p for p, _ in part) / len(part), sum(true for _, true in part) / len(part), len(part))
        for part in parts
        if part
    ]
