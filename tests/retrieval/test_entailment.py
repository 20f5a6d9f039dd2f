"""The judge: what is stated, turned around or left open; and that only its own weights are ever used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from retrieval import entailment
from retrieval.embedder import EmbedderError
from retrieval.entailment import CONTRADICTED, NEUTRAL, STATED, Entailment
from retrieval.fitted import sha256


@pytest.fixture(scope="module")
def judge() -> Entailment:
    return Entailment()


def test_the_card_belongs_to_the_weights() -> None:
    about = json.loads(entailment.WEIGHTS.with_suffix(".json").read_text("utf-8"))
    assert sha256(entailment.WEIGHTS) == about["weights_sha256"]
    data = Path(__file__).parents[1] / "data"
    assert {name: sha256(data / name) for name in about["data_sha256"]} == about["data_sha256"]


@pytest.mark.models
@pytest.mark.parametrize(
    ("premise", "expected"),
    [
        ("The tides are caused by the moon.", STATED),
        ("the moon causes tides", STATED),
        ("The tides cause the moon to move.", CONTRADICTED),
        ("The moon does not cause the tides.", CONTRADICTED),
        ("Bread rises because yeast makes gas.", NEUTRAL),
    ],
)
def test_plain_cases(judge: Entailment, premise: str, expected: int) -> None:
    assert judge.judge([("The moon causes the tides.", premise)])[0].argmax() == expected


@pytest.mark.models
def test_a_pair_is_judged_alike_in_any_company(judge: Entailment) -> None:
    pair = ("The moon causes the tides.", "Tides come from the moon.")
    others = [("A token is a piece of text.", "word " * n) for n in (1, 40, 400)]
    together = judge.judge([others[2], pair, others[0], others[1]])
    assert together.shape == (4, 3)
    assert together.sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert np.allclose(together[1], judge.judge([pair])[0], atol=0.01)  # bfloat16, where the CPU has it
    assert judge.judge([]).shape == (0, 3)


@pytest.mark.models
def test_a_sentence_without_end_is_judged_by_its_beginning(judge: Entailment) -> None:
    long = "The moon causes the tides. " + "Ξ×∂ " * 300  # a model that has lost its way
    (found,) = judge.judge([(long, "The tides are caused by the moon.")])
    assert found.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.models
def test_damaged_weights_and_another_backbone_are_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "entailment.safetensors"
    damaged.write_bytes(entailment.WEIGHTS.read_bytes()[:5000])
    card = entailment.WEIGHTS.with_suffix(".json").read_text("utf-8")
    damaged.with_suffix(".json").write_text(card, "utf-8")
    with pytest.raises(EmbedderError, match="can't be loaded"):
        Entailment(weights=damaged).judge([("a", "b")])
    other = tmp_path / "other.safetensors"
    other.write_bytes(entailment.WEIGHTS.read_bytes())
    other.with_suffix(".json").write_text(
        json.dumps(json.loads(card) | {"backbone_sha256": "0" * 64}), "utf-8"
    )
    with pytest.raises(EmbedderError, match="not the one that other was trained on"):
        Entailment(weights=other).judge([("a", "b")])
