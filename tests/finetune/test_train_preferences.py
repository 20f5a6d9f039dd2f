"""DPO and KTO by TRL's trainers: real steps on the tiny model, with our checkpoints, stop and result around them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finetune.config import FinetuneConfig
from finetune.train import Cancelled, Progress, Trained, TrainingError, train

CONFIG = FinetuneConfig(
    method="dpo",
    precision="float32",
    epochs=2,
    preference_learning_rate=5e-3,
    warmup_steps=1,
    rank=4,
    alpha=8,
    row_tokens=200,
    threads=1,
)
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def run(tiny_base: Path, data: Any) -> Callable[..., Trained]:
    def train_it(folder: Path, config: FinetuneConfig = CONFIG, **others: Any) -> Trained:
        preferences = data.pairs() if config.method == "dpo" else data.thumbs()
        return train(config, [], tiny_base, "tiny", folder, preferences=preferences, **others)

    return train_it


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_it_learns_and_leaves_a_plain_adapter(
    run: Callable[..., Trained], tmp_path: Path, method: Any
) -> None:
    told: list[Progress] = []
    made = run(
        tmp_path, replace(CONFIG, method=method, preference_learning_rate=2e-2), on_progress=told.append
    )
    assert [p.step for p in told] == list(range(1, made.steps + 1))
    assert all(math.isfinite(loss) for _, loss in made.losses)
    at_first = math.log(2) if method == "dpo" else 0.5  # what each loss is where nothing has moved yet
    assert made.losses[0][1] == pytest.approx(at_first, abs=1e-3)
    assert made.losses[-1][1] < made.losses[0][1] - 0.01
    assert sorted(f.name for f in tmp_path.iterdir()) == ["adapter", "checkpoint"]
    names = sorted(f.name for f in made.folder.iterdir())
    assert names == ["README.md", "adapter_config.json", WEIGHTS]
    tensors = load_file(made.folder / WEIGHTS)
    assert len(tensors) == 28
    assert not any(".ref." in name for name in tensors)
    assert made.tokens > made.examples > 0


def test_it_goes_on_from_its_checkpoint(run: Callable[..., Trained], tmp_path: Path) -> None:
    told: list[Progress] = []
    with pytest.raises(Cancelled, match="after step 2 of 3"):
        run(tmp_path / "a", on_progress=told.append, should_stop=lambda: len(told) == 2)
    resumed, straight = run(tmp_path / "a"), run(tmp_path / "b")
    assert resumed.resumed_at == 2
    assert [loss for _, loss in resumed.losses] == pytest.approx(
        [loss for _, loss in straight.losses], abs=1e-6
    )
    ours, theirs = load_file(resumed.folder / WEIGHTS), load_file(straight.folder / WEIGHTS)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-6, rtol=1e-5)


def test_it_starts_from_a_given_adapter(
    run: Callable[..., Trained], tiny_base: Path, data: Any, tmp_path: Path
) -> None:
    sft = replace(CONFIG, method="sft", epochs=4, learning_rate=1e-2)
    first = train(sft, data.examples(), tiny_base, "tiny", tmp_path / "first")
    still = replace(CONFIG, preference_learning_rate=1e-9)
    second = run(tmp_path / "second", still, start_from=first.folder)
    before, after = load_file(first.folder / WEIGHTS), load_file(second.folder / WEIGHTS)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=0)
    with pytest.raises(TrainingError, match="another rank or other layers"):
        run(tmp_path / "third", replace(CONFIG, rank=8), start_from=first.folder)


def test_no_number_ends_it_before_it_reaches_the_weights(run: Callable[..., Trained], tmp_path: Path) -> None:
    """The weights are spoilt for real, as a broken memory or a hostile file would do it."""
    from finetune import lora

    attach = lora.attach

    def spoilt(*arguments: Any) -> Any:
        model = attach(*arguments)
        next(iter(lora.trainable(model).values())).data.fill_(float("nan"))
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lora, "attach", spoilt)
        with pytest.raises(TrainingError, match="At step 1 of 3 the loss was no finite number"):
            run(tmp_path)
    assert not (tmp_path / "adapter").exists()


def test_without_preferences_it_says_what_is_missing(tiny_base: Path, data: Any, tmp_path: Path) -> None:
    for method, needed in (("dpo", "pairs of a better and a worse answer"), ("kto", "a thumb up or down")):
        config = replace(CONFIG, method=method)  # type: ignore[arg-type]
        with pytest.raises(TrainingError, match=needed):
            train(config, data.examples(), tiny_base, "tiny", tmp_path, preferences=data.examples())
