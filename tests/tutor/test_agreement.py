"""Agreement of two gradings: hand-checked kappas, scikit-learn as the second opinion, intervals by question."""

from __future__ import annotations

import random

import pytest

from tutor.agreement import LABELS, by_thresholds, compare, fit_thresholds, interval, kappa, quantile


def test_kappa_by_hand() -> None:
    # 20 answers, 16 on the diagonal: p_o = 0.8. Rows 8/7/5, columns 7/6/7: p_e = (56 + 42 + 35) / 400 = 0.3325.
    table = [[6, 1, 1], [1, 5, 1], [0, 0, 5]]
    assert kappa(table) == pytest.approx((0.8 - 0.3325) / (1 - 0.3325))
    # Quadratic: observed 1 + 4 + 1 + 1 = 7; expected (8*6 + 4*8*7 + 7*7 + 7*7 + 4*5*7 + 5*6) / 20 = 540 / 20 = 27.
    assert kappa(table, quadratic=True) == pytest.approx(1 - 7 / 27)
    assert kappa([[4, 0, 0], [0, 3, 0], [0, 0, 2]]) == 1.0
    assert kappa([[25, 25, 0], [25, 25, 0], [0, 0, 0]]) == pytest.approx(0.0)
    assert kappa([[9, 0, 0], [0, 0, 0], [0, 0, 0]]) is None  # nothing could have disagreed


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_what_scikit_learn_computes(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    chance = random.Random(seed)
    first = [chance.choice(LABELS) for _ in range(60)]
    second = [label if chance.random() < 0.6 else chance.choice(LABELS) for label in first]
    found = compare(first, second, range(60), draws=10)
    options = {"labels": list(LABELS)}
    assert found.kappa == pytest.approx(metrics.cohen_kappa_score(first, second, **options))
    weighted = metrics.cohen_kappa_score(first, second, weights="quadratic", **options)
    assert found.weighted_kappa == pytest.approx(weighted)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(first, second))
    assert found.table == metrics.confusion_matrix(first, second, **options).tolist()


def test_the_interval_draws_whole_questions() -> None:
    good = [[5, 0, 0], [0, 5, 0], [0, 0, 5]]
    bad = [[0, 5, 0], [0, 0, 5], [5, 0, 0]]
    assert interval([good]) == (None, None)
    assert interval([good] * 8) == (1.0, 1.0)
    low, high = interval([good, bad], draws=400)
    assert (low, high) == (kappa(bad), 1.0)  # half of the draws hold one question twice
    assert interval([good, bad, good], draws=50) == interval([good, bad, good], draws=50)

    labels = ["correct", "partial", "incorrect"] * 4
    wrong = [*labels[:9], "incorrect", "incorrect", "correct"]
    one_bad_question = compare(labels, wrong, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3)
    assert (one_bad_question.n, one_bad_question.groups) == (12, 4)
    assert one_bad_question.low is not None
    assert one_bad_question.kappa is not None
    assert one_bad_question.high == 1.0
    assert one_bad_question.low < one_bad_question.kappa < one_bad_question.high


def test_quantiles_interpolate() -> None:
    assert [quantile([1.0, 2.0, 4.0], share) for share in (0, 0.25, 0.5, 0.75, 1)] == [
        1.0,
        1.5,
        2.0,
        3.0,
        4.0,
    ]


def test_thresholds_are_the_best_cuts() -> None:
    scores = [0.1, 0.2, 0.3, 0.5, 0.6, 0.8, 0.9]
    gold = ["incorrect"] * 3 + ["partial"] * 2 + ["correct"] * 2
    cuts = fit_thresholds(scores, gold)
    assert cuts == pytest.approx((0.4, 0.7))
    assert [by_thresholds(score, cuts) for score in scores] == gold
    assert by_thresholds(cuts[1], cuts) == "correct"
    no_middle = fit_thresholds([0.1, 0.9], ["incorrect", "correct"])
    assert [by_thresholds(score, no_middle) for score in (0.1, 0.9)] == ["incorrect", "correct"]


def test_nothing_and_unknown_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        compare([], [], [])
    with pytest.raises(ValueError, match="good"):
        compare(["good"], ["correct"], [1])
