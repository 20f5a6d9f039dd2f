"""The folder of an adapter: whatever is wrong with it is one line, and only what was registered is loaded."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from finetune.adapters import (
    MANIFEST,
    AdapterError,
    check_adapter,
    config_sha256,
    tokenizer_sha256,
    weights_file_sha256,
    write_manifest,
)
from tutor.adapter_files import folder_problem

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
NAMES = ("tiny", "owner/tiny")
MODULES = {"model.layers.0.self_attn.q_proj": (6, 8), "model.layers.0.mlp.down_proj": (8, 12)}
RANK = 2


def _save_base(folder: Path, seed: int = 0, modules: dict[str, tuple[int, int]] = MODULES) -> Path:
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    tensors = {f"{name}.weight": torch.randn(shape, generator=generator) for name, shape in modules.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


def _sha256(base: Path) -> str:
    from tutor.models import weights_sha256

    return weights_sha256(base, base.parent / "models")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return _save_base(tmp_path / "base")


@pytest.fixture
def folder(tmp_path: Path, base: Path) -> Path:
    """A sound adapter with its manifest."""
    made = tmp_path / "v1"
    made.mkdir()
    tensors = {}
    for name, (out, into) in MODULES.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch.ones(RANK, into)
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch.ones(out, RANK)
    save_file(tensors, made / WEIGHTS)
    config = {"peft_type": "LORA", "base_model_name_or_path": "tiny", "r": RANK, "lora_alpha": 4}
    (made / CONFIG).write_text(json.dumps(config))
    (made / "README.md").write_text("An adapter.")
    write_manifest(
        made,
        base_name="tiny",
        base_sha256=_sha256(base),
        base_config_sha256=config_sha256(base),
        tokenizer_sha256=tokenizer_sha256(base),
        dataset_sha256="d" * 64,
        config={"rank": RANK},
        versions={"torch": torch.__version__},
        report={"format": 1},
    )
    return made


def _check(folder: Path, base: Path, manifest: Any = None) -> dict[str, Any]:
    return check_adapter(folder, manifest, NAMES, _sha256(base), base=base)


def _rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Other weights, registered as they are: the hashes are right, the values are what is looked at."""
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    _register_again(folder)


def _configure(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps(config))
    _register_again(folder)


def _register_again(folder: Path) -> None:
    old = json.loads((folder / MANIFEST).read_text())
    write_manifest(
        folder,
        base_name=old["base"]["name"],
        base_sha256=old["base"]["weights_sha256"],
        tokenizer_sha256=old["base"]["tokenizer_sha256"],
        dataset_sha256=old["dataset_sha256"],
        config=old["config"],
        versions=old["versions"],
        report={},
    )


def test_a_sound_one_passes_and_tells_what_it_is(folder: Path, base: Path) -> None:
    manifest = _check(folder, base)
    assert set(manifest["files"]) == {WEIGHTS, CONFIG, "README.md"}
    assert manifest["files"][WEIGHTS] == weights_file_sha256(folder)
    assert manifest["base"] == {
        "name": "tiny",
        "weights_sha256": _sha256(base),
        "config_sha256": config_sha256(base),
        "tokenizer_sha256": tokenizer_sha256(base),
    }
    assert (manifest["dataset_sha256"], manifest["config"]) == ("d" * 64, {"rank": RANK})
    assert len(manifest["report_sha256"]) == 64
    assert _check(folder, base, manifest) == manifest
    assert folder_problem(folder, manifest, weights_file_sha256(folder)) is None


def _truncated(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:-5])


def _bit_flipped(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-3] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(content))


def _config_changed(folder: Path) -> None:
    (folder / CONFIG).write_text((folder / CONFIG).read_text().replace('"lora_alpha": 4', '"lora_alpha": 9'))


def _gone(folder: Path) -> None:
    (folder / "README.md").unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_truncated, f"is damaged: {WEIGHTS} is not the file that was registered"),
        (_bit_flipped, f"is damaged: {WEIGHTS} is not the file that was registered"),
        (_config_changed, f"is damaged: {CONFIG} is not the file that was registered"),
        (_gone, "lacks README.md, which its manifest lists"),
    ],
)
def test_what_is_not_the_file_that_was_registered(
    folder: Path, base: Path, harm: Callable[[Path], None], said: str
) -> None:
    manifest = _check(folder, base)
    harm(folder)
    _refused(folder, base, said)
    _refused(folder, base, said, manifest)
    assert said in (folder_problem(folder, manifest) or "")


def _poison(value: float) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[sorted(tensors)[0]][0, 0] = value

    return change


def _other_rank(tensors: dict[str, torch.Tensor]) -> None:
    for name in tensors:
        tensors[name] = torch.ones(
            (3, tensors[name].shape[1]) if "lora_A" in name else (tensors[name].shape[0], 3)
        )


def _half_a_pair(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[max(tensors)]


def _more(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.lm_head.weight"] = torch.ones(2, 2)


def _nothing(tensors: dict[str, torch.Tensor]) -> None:
    tensors.clear()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_poison(float("nan")), "holds values that are no numbers in base_model.model.model.layers.0.mlp"),
        (_poison(float("-inf")), "holds values that are no numbers"),
        (_other_rank, "don't fit each other or its rank"),
        (_half_a_pair, "don't fit each other or its rank"),
        (_more, "holds base_model.model.lm_head.weight, which is no part of a LoRA adapter"),
        (_nothing, "has no weights in it"),
    ],
)
def test_values_and_shapes_are_looked_at(
    folder: Path, base: Path, change: Callable[[dict[str, torch.Tensor]], None], said: str
) -> None:
    _rewrite(folder, change)
    _refused(folder, base, said)


@pytest.mark.parametrize("name", ["adapter_model.bin", "training_args.bin", "optimizer.pt", "x.PKL"])
def test_a_pickle_beside_is_an_error(folder: Path, base: Path, name: str) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (folder / "owned",)

    (folder / name).write_bytes(pickle.dumps(Evil()))
    _refused(folder, base, f"holds a pickle ({name}), which could run code")
    if name == "adapter_model.bin":
        (folder / WEIGHTS).unlink()
        _refused(folder, base, f"holds a pickle ({name}), which could run code")
    assert not (folder / "owned").exists()


def test_without_weights_or_folder(folder: Path, base: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).unlink()
    _refused(folder, base, f"has no {WEIGHTS}")
    _refused(tmp_path / "v9", base, "The adapter v9 is not there")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("other", "was trained on other, not on tiny"),
        ("", "was trained on an unnamed base, not on tiny"),
        ("/models/tiny", "names its base by a path (/models/tiny)"),
        ("../tiny", "names its base by a path (../tiny)"),
        ("owner/../tiny", "names its base by a path"),
        ("~/tiny", "names its base by a path"),
        ("C:\\\\tiny", "names its base by a path"),
        ("https://host/tiny", "names its base by a path"),
    ],
)
def test_the_base_must_be_named_and_this_one(folder: Path, base: Path, name: str, said: str) -> None:
    _configure(folder, base_model_name_or_path=name)
    _refused(folder, base, said)
    with pytest.raises(AdapterError):  # even where the base itself is called so
        check_adapter(folder, None, ("tiny", *([name] if said.startswith("names") else [])), "", base=base)


def test_another_base_of_the_same_name_and_shape(folder: Path, tmp_path: Path) -> None:
    twin = _save_base(tmp_path / "twin", seed=1)
    _refused(folder, twin, "was trained on other weights than those of tiny here")


def test_another_base_of_another_shape(folder: Path, tmp_path: Path) -> None:
    larger = _save_base(tmp_path / "larger", modules={name: (o, i + 4) for name, (o, i) in MODULES.items()})
    _refused(folder, larger, "was trained on other weights")
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["base"]["weights_sha256"] = ""
    _refused(
        folder, larger, "doesn't fit the base at model.layers.0.mlp.down_proj: (8, 12), not (8, 16)", manifest
    )


def test_another_tokenizer(folder: Path, base: Path) -> None:
    (base / "tokenizer.json").write_text('{"added_tokens": []}')
    _refused(folder, base, "was trained with another tokenizer than that of tiny here")


@pytest.mark.parametrize("name", ["../base/model.safetensors", "/etc/passwd", "a/b", "..", "a\\b"])
def test_a_manifest_stays_in_its_folder(folder: Path, base: Path, name: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = "0" * 64
    _refused(folder, base, "names a file outside its folder", manifest)


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_unreadable_words_are_one_line(folder: Path, base: Path, content: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"]
    (folder / CONFIG).write_text(content)
    _refused(folder, base, f"has an unreadable {CONFIG}", manifest)
    (folder / MANIFEST).write_text(content)
    _refused(folder, base, f"has an unreadable {MANIFEST}")


def test_without_a_manifest_the_rest_is_still_looked_at(folder: Path, base: Path) -> None:
    (folder / MANIFEST).unlink()
    assert _check(folder, base) == {}
    _truncated(folder)
    _refused(folder, base, "has damaged weights")


def _refused(folder: Path, base: Path, said: str, manifest: Any = None) -> None:
    with pytest.raises(AdapterError) as error:
        _check(folder, base, manifest)
    assert said in str(error.value)
    assert str(error.value).startswith(f"The adapter {folder.name} ")
    assert "\n" not in str(error.value)
