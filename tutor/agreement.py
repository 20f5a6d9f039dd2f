"""How well two gradings agree: Cohen's kappa, its bootstrap interval, and the best thresholds for a plain score.

Pure statistics over the three verdicts, in their order. What is graded, and by what, is `tutor.commands.evaluate`'s.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

LABELS = ("incorrect", "partial", "correct")
MAX_CUTS = 200  # candidate thresholds that are tried against each other

Table = list[list[int]]
"""How often each pair of labels met: `table[first][second]`, both by their place in LABELS."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two gradings of the same answers. `kappa` is unweighted, `low` to `high` its 95 % interval; None: undefined."""

    n: int
    groups: int
    kappa: float | None
    low: float | None
    high: float | None
    weighted_kappa: float | None
    accuracy: float
    table: Table


def compare(
    first: Sequence[str],
    second: Sequence[str],
    groups: Sequence[Hashable],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Agreement:
    """Compare two gradings. `groups` names the question of each answer: the bootstrap draws whole questions,

    because answers to one question succeed and fail together. Raises ValueError for unequal lengths, no answers, or
    a label that is none.
    """
    if not first:
        raise ValueError("there is nothing to compare")
    if unknown := {*first, *second} - {*LABELS}:
        raise ValueError(f"a label is one of {', '.join(LABELS)}, not {min(unknown)!r}")
    tables: dict[Hashable, Table] = {}
    for a, b, group in zip(first, second, groups, strict=True):
        tables.setdefault(group, empty_table())[LABELS.index(a)][LABELS.index(b)] += 1
    parts = list(tables.values())
    table = total(parts)
    low, high = interval(parts, draws=draws, seed=seed)
    right = sum(table[label][label] for label in range(len(LABELS)))
    return Agreement(
        len(first),
        len(parts),
        kappa(table),
        low,
        high,
        kappa(table, quadratic=True),
        right / len(first),
        table,
    )


def kappa(table: Table, *, quadratic: bool = False) -> float | None:
    """Cohen's kappa: 1 - observed / expected disagreement; `quadratic` weighs it by squared distance.

    None where no disagreement could be expected: both sides gave one and the same label throughout. Cohen, "A
    Coefficient of Agreement for Nominal Scales" (1960); weighted: "Weighted Kappa" (1968).
    """
    labels = range(len(table))
    n = sum(map(sum, table))
    rows = [sum(row) for row in table]
    columns = [sum(row[label] for row in table) for label in labels]
    observed = expected = 0.0
    for i in labels:
        for j in labels:
            weight = (i - j) ** 2 if quadratic else int(i != j)
            observed += weight * table[i][j]
            expected += weight * rows[i] * columns[j] / n if n else 0.0
    return 1 - observed / expected if expected else None


def interval(
    parts: Sequence[Table], *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float | None, float | None]:
    """The percentile bootstrap interval of kappa when whole parts (questions) are drawn with replacement.

    (None, None) for fewer than two parts. Draws in which kappa is undefined are left out.
    """
    if len(parts) < 2:
        return None, None
    chance = random.Random(seed)
    drawn = (kappa(total(chance.choices(parts, k=len(parts)))) for _ in range(draws))
    found = sorted(value for value in drawn if value is not None)
    if not found:
        return None, None
    return quantile(found, (1 - level) / 2), quantile(found, (1 + level) / 2)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of ascending values lie, interpolated. Raises IndexError if empty."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def fit_thresholds(scores: Sequence[float], gold: Sequence[str]) -> tuple[float, float]:
    """The two cuts of a score that agree best (kappa) with the labels: from the first partial, from the second correct.

    Raises ValueError for unequal lengths or no scores.
    """
    if not scores:
        raise ValueError("there is nothing to fit on")
    by_label: list[list[float]] = [[] for _ in LABELS]
    for score, label in zip(scores, gold, strict=True):
        by_label[LABELS.index(label)].append(score)
    for part in by_label:
        part.sort()
    cuts = _candidates(sorted(set(scores)))
    below = [[bisect_left(part, cut) for part in by_label] for cut in cuts]
    sizes = [len(part) for part in by_label]
    best, chosen = -2.0, (cuts[0], cuts[-1])
    for low, under_low in enumerate(below):
        for high in range(low, len(cuts)):
            counts = zip(under_low, below[high], sizes, strict=True)
            agreed = kappa([[a, b - a, size - b] for a, b, size in counts])
            if agreed is not None and agreed > best:
                best, chosen = agreed, (cuts[low], cuts[high])
    return chosen


def by_thresholds(score: float, cuts: tuple[float, float]) -> str:
    """The verdict of a score."""
    return LABELS[sum(score >= cut for cut in cuts)]


def empty_table() -> Table:
    """A table in which nothing met yet."""
    return [[0] * len(LABELS) for _ in LABELS]


def total(tables: Sequence[Table]) -> Table:
    """The sum of tables, cell by cell."""
    return [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*tables, strict=True)]


def _candidates(values: list[float]) -> list[float]:
    """Cuts half-way between neighbouring values, one below all and one above all; at most about MAX_CUTS."""
    between = [(a + b) / 2 for a, b in pairwise(values)]
    step = max(1, -(-len(between) // MAX_CUTS))
    return [values[0] - 1, *between[::step], values[-1] + 1]
