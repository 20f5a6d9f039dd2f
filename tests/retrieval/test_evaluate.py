"""Measures of search, on cases small enough to work out by hand."""

from __future__ import annotations

import math

import pytest

from retrieval.evaluate import (
    Gold,
    estimate,
    ndcg_at,
    paired,
    quotes_gold,
    recall_at,
    reciprocal_rank,
    reliability,
    same_document,
    with_interval,
)


def test_recall_mrr_and_ndcg() -> None:
    assert [recall_at([3, 7], k) for k in (1, 3, 5)] == [0.0, 1.0, 1.0]
    assert reciprocal_rank([3, 7]) == pytest.approx(1 / 3)
    assert reciprocal_rank([]) == 0.0
    # one of two relevant passages, found third: gain 1/log2(4) over 1/log2(2) + 1/log2(3)
    assert ndcg_at([3], 5, relevant=2) == pytest.approx(0.5 / (1 + 1 / math.log2(3)))
    assert ndcg_at([1, 2], 5, relevant=2) == pytest.approx(1.0)
    assert ndcg_at([6], 5, relevant=1) == 0.0


def test_a_quote_is_found_whatever_its_markup_and_line_breaks() -> None:
    gold = [Gold("a/tokens.md", "A **token** is a piece\nof text.")]
    assert quotes_gold("A token is a piece of text.", "a/tokens.md", gold)
    assert quotes_gold("So: a token is a piece of text. It is short.", "x/a/tokens.md", gold)
    assert not quotes_gold("A token is a piece of text.", "a/models.md", gold)
    assert not quotes_gold("A token", "a/tokens.md", gold)  # too short to count as the quote's part
    assert same_document("docs/a.md", "a.md")
    assert not same_document("docs/ba.md", "a.md")


def test_intervals_hold_the_mean_and_pairs_are_sharper_than_their_parts() -> None:
    one = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0] * 5
    other = [0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0] * 5
    alone = estimate(one)
    assert alone.low < alone.mean == 0.625 < alone.high
    difference = paired(one, other)
    assert difference.mean == pytest.approx(0.125)
    assert 0 < difference.low < 0.125 < difference.high
    assert difference.high - difference.low < alone.high - alone.low
    with pytest.raises(ValueError, match="nothing to measure"):
        estimate([])
    with pytest.raises(ValueError, match="zip"):
        paired([1.0], [1.0, 0.0])


def test_a_number_is_written_with_its_interval() -> None:
    assert with_interval(0.812, 0.741, 0.88) == "0.81 (0.74 to 0.88)"
    assert with_interval(-0.05, -0.1, 0.0, sign=True) == "-0.05 (-0.10 to +0.00)"
    assert with_interval(31.4, 28.2, 35.1) == "31 (28 to 35)"
    assert with_interval(0.5, None, None) == "0.50"


def test_reliability_compares_what_was_said_with_what_was_so() -> None:
    assert reliability([0.1, 0.15, 0.9, 1.0], [False, True, True, True], bins=5) == [
        (pytest.approx(0.125), 0.5, 2),
        (pytest.approx(0.95), 1.0, 2),
    ]
