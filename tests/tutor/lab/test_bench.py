"""The review classifier: its mathematics, and the bench that labels, trains, examines, deploys and uses it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tutor.lab.sample import AT
from tutor import review_classifier as classifier
from tutor.lab_bench import ReviewBench
from tutor.wire import InputError

# ---- the classifier ----


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    vectors, targets = rng.normal(size=(7, 5)), rng.integers(0, 3, 7)
    matrix, offset = rng.normal(size=(3, 5)), rng.normal(size=3)
    _, by_matrix, by_offset = classifier.loss_and_gradient(matrix, offset, vectors, targets, decay=0.3)
    step = 1e-6
    for (row, column), slope in np.ndenumerate(by_matrix):
        moved = [matrix.copy(), matrix.copy()]
        moved[0][row, column] += step
        moved[1][row, column] -= step
        up, down = (classifier.loss_and_gradient(m, offset, vectors, targets, decay=0.3)[0] for m in moved)
        assert (up - down) / (2 * step) == pytest.approx(slope, abs=1e-7)
    for row, slope in enumerate(by_offset):
        shift = step * np.eye(3)[row]
        up, down = (
            classifier.loss_and_gradient(matrix, o, vectors, targets, decay=0.3)[0]
            for o in (offset + shift, offset - shift)
        )
        assert (up - down) / (2 * step) == pytest.approx(slope, abs=1e-7)


def test_training_moves_the_weights_downhill_and_inference_moves_none() -> None:
    vectors, start = np.eye(3, 4, dtype=np.float32), classifier.zeros(4)
    before = start.to_bytes()
    run = classifier.train(start, vectors, [0, 1, 2])
    assert start.to_bytes() == before
    assert run.losses[0] == pytest.approx(np.log(3))
    assert all(later < earlier for earlier, later in zip(run.losses, run.losses[1:], strict=False))
    assert run.change == pytest.approx(
        float(np.linalg.norm(np.r_[run.weights.matrix.ravel(), run.weights.offset]))
    )
    assert run.weights.fingerprint != start.fingerprint
    assert classifier.train(start, vectors, [0, 1, 2]).weights.fingerprint == run.weights.fingerprint

    bits = run.weights.to_bytes()
    chances = classifier.probabilities(run.weights, vectors)
    assert chances.argmax(axis=1).tolist() == [0, 1, 2]
    assert chances.sum(axis=1) == pytest.approx([1.0] * 3)
    assert classifier.confusion(run.weights, vectors, [0, 1, 1]) == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert run.weights.to_bytes() == bits
    assert classifier.Weights.from_bytes(bits, 4).fingerprint == run.weights.fingerprint
    with pytest.raises(ValueError, match="no weights"):
        classifier.Weights.from_bytes(bits, 5)


# ---- the bench ----


@pytest.fixture
def bench(tmp_path: Path, make_embedder: Callable[..., Any]) -> ReviewBench:
    return ReviewBench(make_embedder(dimension=128), tmp_path / "lab" / "reviews-1.json", lambda: AT)


def test_the_whole_pipeline_from_collecting_to_inference(bench: ReviewBench, tmp_path: Path) -> None:
    state = bench.state()
    assert state["fresh"] == []
    held_out = [review["text"] for review in state["reviews"] if review["held_out"]]
    assert len(held_out) == 9
    for step, needs in ((bench.train, "clean"), (bench.evaluate, "train"), (bench.deploy, "evaluate")):
        with pytest.raises(InputError, match=needs):
            step()
    with pytest.raises(InputError, match="deploy"):
        bench.infer("good")

    cleaned = bench.clean()["cleaned"]
    assert {why for _, why in cleaned["dropped"]} == {"has no label yet", "is there twice", "says nothing"}
    assert len(cleaned["kept"]) == 9
    bench._embedder.calls.clear()  # type: ignore[attr-defined]
    trained = bench.train()["candidate"]
    seen = {text for call in bench._embedder.calls for text in call}  # type: ignore[attr-defined]
    assert len(seen) == 9
    assert not seen & set(held_out)
    assert trained["losses"][-1] < trained["losses"][0]
    assert trained["before"] != trained["fingerprint"]

    exam = bench.evaluate()["evaluation"]
    assert exam["asked"] == 9 == sum(sum(row) for row in exam["table"])
    assert exam["right"] == sum(exam["table"][i][i] for i in range(3))
    assert exam["trained_right"] == exam["trained_asked"] == 9
    assert exam["after"] == trained["fingerprint"]

    assert bench.deploy()["versions"][0]["version"] == 1
    with pytest.raises(InputError, match="already"):
        bench.deploy()
    file = tmp_path / "lab" / "reviews-1.json"
    bits = file.read_bytes()
    said = bench.infer("Broke after two days. A waste of money.")
    assert np.argmax(said.probabilities) == 2
    assert said.before == said.after == trained["fingerprint"]
    assert file.read_bytes() == bits


def test_what_was_done_is_stale_once_the_reviews_change_but_stays_in_use(bench: ReviewBench) -> None:
    for step in (bench.clean, bench.train, bench.evaluate):
        step()
    assert bench.deploy()["fresh"] == ["clean", "train", "evaluate", "deploy"]
    first = bench.infer("Lovely")
    added = bench.add("  Perfect  little   radio ", "positive")
    assert added["reviews"][-1]["text"] == "Perfect little radio"
    assert added["fresh"] == []
    with pytest.raises(InputError, match="clean"):
        bench.train()
    assert bench.infer("Lovely") == first

    bench.clean()
    again = bench.train()["candidate"]
    assert again["before"] == first.before  # goes on from where it was
    assert not again["from_zeros"]
    bench.evaluate()
    assert [version["version"] for version in bench.deploy()["versions"]] == [2, 1]
    assert bench.infer("Lovely").before == again["fingerprint"]


def test_everything_is_there_after_a_restart_and_gone_after_starting_over(
    bench: ReviewBench, tmp_path: Path, make_embedder: Callable[..., Any]
) -> None:
    number = bench.add("Mine", "neutral")["next"] - 1
    bench.clean()
    state = bench.train()
    file = tmp_path / "lab" / "reviews-1.json"
    assert ReviewBench(bench._embedder, file).state() == state
    other = ReviewBench(make_embedder(name="other@1", dimension=64), file)
    assert other.train()["candidate"]["from_zeros"]  # vectors of another embedder: nothing to go on from
    bench.label(number, None)
    assert bench.remove(number)["reviews"][-1]["id"] != number
    with pytest.raises(InputError, match="not on the bench"):
        bench.remove(number)
    assert bench.reset()["candidate"] is None
    assert not file.exists()
    file.write_text("{ not json")
    assert len(bench.state()["reviews"]) == 24


def test_what_the_bench_does_not_take(bench: ReviewBench) -> None:
    with pytest.raises(InputError, match="write a review"):
        bench.add(" ", None)
    with pytest.raises(InputError, match="400 characters"):
        bench.add("x" * 401, None)
    with pytest.raises(InputError, match="a label is one of"):
        bench.add("fine", "splendid")
    held_out = next(review for review in bench.state()["reviews"] if review["held_out"])
    with pytest.raises(InputError, match="not on the bench"):
        bench.label(held_out["id"], "negative")
    number = bench.add(held_out["text"].upper(), "positive")["next"] - 1
    assert [number, "is held out for the exam"] in bench.clean()["cleaned"]["dropped"]
    for review in bench.state()["reviews"]:
        if review["label"] == "neutral" and not review["held_out"]:
            bench.label(review["id"], None)
    bench.clean()
    with pytest.raises(InputError, match="label at least one review as neutral"):
        bench.train()
