"""Training on a tiny model, for real: what comes out, that the base stays, that the same is made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finetune.config import FinetuneConfig
from finetune.outcomes import Progress
from finetune.train import Cancelled, Trained, TrainingError, train
from tutor.generators.local import LocalGenerator
from tutor.generators.protocol import ModelIdentity
from tutor.wire import InputError

QUICK = FinetuneConfig(
    precision="float32",
    epochs=6,
    learning_rate=2e-2,
    rank=4,
    alpha=8,
    warmup_steps=2,
    row_tokens=300,
    threads=1,
)


Run = Callable[..., Trained]


@pytest.fixture(scope="module")
def run(tiny_base: Path, data: Any) -> Run:
    """run(folder, config, **others): train the tiny base on the twelve examples."""

    def train_it(folder: Path, config: FinetuneConfig = QUICK, **others: Any) -> Trained:
        return train(config, data.examples(), tiny_base, "tiny", folder, **others)

    return train_it


def hashes(folder: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir() if f.is_file()}


@pytest.fixture(scope="module")
def trained(
    tiny_base: Path, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Trained, list[Progress], bool]:
    """A whole training, what it told, and whether the base is as it was: in memory and on the disk."""
    from finetune import lora

    loaded: list[Any] = []
    told: list[Progress] = []
    load_base = lora.load_base

    def remembered(*arguments: Any) -> Any:
        model = load_base(*arguments)
        loaded.append((model, digest(model)))
        return model

    def digest(model: Any) -> str:
        found = hashlib.sha256()
        for name, parameter in sorted(model.named_parameters()):
            if "lora_" not in name:
                found.update(parameter.detach().numpy().tobytes())
        return found.hexdigest()

    before = hashes(tiny_base)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lora, "load_base", remembered)
        made = run(tmp_path_factory.mktemp("job"), replace(QUICK, epochs=15), on_progress=told.append)
    ((model, at_first),) = loaded
    return made, told, digest(model) == at_first and hashes(tiny_base) == before


def test_the_model_learns_what_it_is_shown(trained: tuple[Trained, list[Progress], bool]) -> None:
    made, told, _ = trained
    losses = [loss for _, loss in made.losses]
    assert losses[-1] < 0.7 * losses[0]
    assert [p.loss for p in told] == losses
    assert [p.step for p in told] == list(range(1, made.steps + 1))
    assert told[-1].seconds_left == 0
    assert told[0].seconds_left > 0
    assert made.examples == 15 * 12
    assert made.tokens == told[-1].tokens > 0
    assert made.peak_memory_bytes > 1 << 20


def test_the_base_is_the_same_to_the_last_bit(trained: tuple[Trained, list[Progress], bool]) -> None:
    assert trained[2]


def test_the_adapter_is_a_plain_peft_folder(
    tiny_base: Path, trained: tuple[Trained, list[Progress], bool]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = trained[0].folder
    assert sorted(f.name for f in folder.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert '\nbase_model: "tiny"\n' in (folder / "README.md").read_text()
    tensors = load_file(folder / "adapter_model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    assert len(tensors) == 2 * 2 * 7  # A and B of seven matrices in each of two layers
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), folder)
    assert model.peft_config["default"].r == 4


def test_serving_reads_it(tiny_base: Path, data: Any, trained: tuple[Trained, list[Progress], bool]) -> None:
    """The tutor's own engine, which merges the adapter itself, writes what peft and transformers write with it."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prompt = data.examples()[0].prompt
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    base = AutoModelForCausalLM.from_pretrained(tiny_base)
    ids = tokenizer.apply_chat_template(
        list(prompt), add_generation_prompt=True, return_tensors="pt", return_dict=False
    )

    def written(model: Any) -> str:
        ids_and_more = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
        )
        return str(tokenizer.decode(ids_and_more[0, ids.shape[1] :], skip_special_tokens=True))

    untaught = written(base)
    taught = written(PeftModel.from_pretrained(base, trained[0].folder))
    identity = ModelIdentity("tiny", "v1", "")
    generator = LocalGenerator(
        tiny_base, identity=identity, adapter=trained[0].folder, precision="float32", threads=1
    )
    try:
        assert "".join(generator.stream(prompt, max_new_tokens=12)) == taught != untaught
    finally:
        generator.close()


def test_the_same_seed_makes_the_same_adapter_and_another_another(run: Run, tmp_path: Path) -> None:
    short = replace(QUICK, epochs=1)
    same = [hashes(run(tmp_path / n, short).folder) for n in ("a", "b")]
    other = hashes(run(tmp_path / "c", replace(short, seed=1)).folder)
    weights = "adapter_model.safetensors"
    assert same[0] == same[1]
    assert other[weights] != same[0][weights]


def test_rows_and_steps_are_divided_without_changing_the_loss(run: Run, tmp_path: Path) -> None:
    """One step over everything: whether in one row or in many, its loss and what it does are the same."""
    whole = replace(QUICK, epochs=1, row_tokens=2000)
    many = replace(QUICK, epochs=1, row_tokens=100, rows_per_step=100)
    one, other = run(tmp_path / "a", whole), run(tmp_path / "b", many)
    assert (one.steps, other.steps) == (1, 1)
    assert one.losses[0][1] == pytest.approx(other.losses[0][1], rel=1e-5)
    first, second = (load_file(t.folder / "adapter_model.safetensors") for t in (one, other))
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], atol=1e-4, rtol=1e-3)


def test_stopping_keeps_what_was_done_and_the_rest_follows(run: Run, tmp_path: Path) -> None:
    config = replace(QUICK, epochs=2)
    told: list[Progress] = []
    with pytest.raises(Cancelled, match="after step 3 of"):
        run(tmp_path / "a", config, on_progress=told.append, should_stop=lambda: len(told) == 3)
    assert not (tmp_path / "a" / "adapter").exists()
    resumed = run(tmp_path / "a", config)
    straight = run(tmp_path / "b", config)
    assert resumed.resumed_at == 3
    assert resumed.losses == straight.losses
    assert hashes(resumed.folder) == hashes(straight.folder)
    again = run(tmp_path / "a", config, on_progress=lambda _: pytest.fail("trained again"))
    assert (again.losses, hashes(again.folder)) == (straight.losses, hashes(straight.folder))


def test_waiting_is_counted_apart(run: Run, tmp_path: Path) -> None:
    import time

    told: list[Progress] = []
    made = run(
        tmp_path,
        replace(QUICK, epochs=1),
        on_progress=told.append,
        wait_while_busy=lambda: time.sleep(0.2),
    )
    assert made.waited >= 0.2 * made.steps
    assert told[-1].waited == made.waited
    assert made.seconds < 60


def test_max_minutes_ends_early_with_the_rate_gone(run: Run, tmp_path: Path) -> None:
    made = run(tmp_path, replace(QUICK, epochs=500, max_minutes=0.01))
    assert 1 <= made.steps < 500
    assert made.notes == (f"It ended after 0.01 minutes, at step {made.steps} of 1000.",)
    assert (made.folder / "adapter_model.safetensors").is_file()


def test_a_limit_that_is_not_reached_changes_nothing(run: Run, tmp_path: Path) -> None:
    made = [run(tmp_path / str(limit), replace(QUICK, max_minutes=limit)) for limit in (None, 5, 50)]
    assert len({tuple(sorted(hashes(m.folder).items())) for m in made}) == 1
    assert made[0].notes == ()


def test_precision_is_measured_and_told(run: Run, tmp_path: Path) -> None:
    made = run(tmp_path, replace(QUICK, epochs=1, precision="auto"))
    assert made.precision in ("float32", "bfloat16")
    (note,) = made.notes
    assert note.startswith(f"Precision {made.precision}: a row took ")


def test_bfloat16_goes_down_nearly_the_same_curve(
    run: Run, tmp_path: Path, trained: tuple[Trained, list[Progress], bool]
) -> None:
    made = run(tmp_path, replace(QUICK, epochs=1, precision="bfloat16"))
    for (_, loss), (_, exact) in zip(made.losses[:3], trained[0].losses, strict=False):
        assert loss == pytest.approx(exact, rel=0.05)
    tensors = load_file(made.folder / "adapter_model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float32}


def test_gradient_checkpointing_changes_memory_not_numbers(run: Run, tmp_path: Path) -> None:
    plain = run(tmp_path / "a", replace(QUICK, epochs=1))
    frugal = run(tmp_path / "b", replace(QUICK, epochs=1, gradient_checkpointing=True))
    assert [loss for _, loss in frugal.losses] == pytest.approx([loss for _, loss in plain.losses], rel=1e-4)


def test_what_is_too_long_is_left_out_and_said(tiny_base: Path, data: Any, tmp_path: Path) -> None:
    long = replace(data.examples()[0], id="long", completion="word " * 500)
    made = train(replace(QUICK, epochs=1), [*data.examples(), long], tiny_base, "tiny", tmp_path)
    assert made.notes == ("1 of 13 examples were left out: they are longer than row_tokens, 300.",)
    assert made.examples == 12
    with pytest.raises(TrainingError, match="each of the 1 examples is longer"):
        train(QUICK, [long], tiny_base, "tiny", tmp_path)
    with pytest.raises(TrainingError, match="has no examples"):
        train(QUICK, [], tiny_base, "tiny", tmp_path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rank": 0}, "rank of training can't be 0"),
        ({"checkpoint_seconds": 61}, "checkpoint_seconds of training can't be 61"),
        ({"methode": "sft"}, "no setting 'methode'"),
        ({"rank": "x"}, "wrong type"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        FinetuneConfig.from_json(values)


def test_a_configuration_comes_back_from_json() -> None:
    config = replace(QUICK, method="kto", max_minutes=3.5)
    assert FinetuneConfig.from_json(json.loads(json.dumps(config.as_json()))) == config
