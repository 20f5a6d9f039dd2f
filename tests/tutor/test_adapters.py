"""A real tiny model and real tiny adapters: a switch is seen within 5 s, an open answer ends on its version, and a
damaged adapter silences nobody."""

from __future__ import annotations

import gc
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from db import conversations, feedback, registry
from db.errors import NotFound
from finetune.adapters import write_manifest
from tutor import adapters, serving
from tutor.events import DraftDelta, TurnLogged
from tutor.generators.protocol import GeneratorError
from tutor.models import weights_sha256
from tutor.services import Services, build_services
from tutor.settings import Settings

CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
WEIGHTS = "adapter_model.safetensors"
LONG = 400  # tokens of an answer that is still being written when the switch has happened


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama that is slow enough to be caught writing and never stops by itself."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258, hidden_size=64, intermediate_size=128, num_hidden_layers=16, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2000, initializer_range=0.5, tie_word_embeddings=True,
        eos_token_id=257, bos_token_id=257, pad_token_id=257,
    )  # fmt: skip
    LlamaForCausalLM(config).eval().save_pretrained(folder)
    raw = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["<|im_end|>", "<|im_start|>"])
    PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_start|>", chat_template=CHAT
    ).save_pretrained(folder)
    return folder


def _save_adapter(folder: Path, base: Path, seed: int, *, base_name: str = "tiny") -> Path:
    """A random adapter of rank 2 over every projection, with its manifest."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, weight in load_file(base / "model.safetensors").items():
        if "proj" in name:
            at = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{at}.lora_A.weight"] = torch.randn(2, weight.shape[1], generator=generator)
            tensors[f"{at}.lora_B.weight"] = torch.randn(weight.shape[0], 2, generator=generator)
    save_file(tensors, folder / WEIGHTS)
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base_name,
        "r": 2,
        "lora_alpha": 2,
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    write_manifest(
        folder, base_name=base_name, base_sha256=weights_sha256(base, base.parent), tokenizer_sha256="",
        dataset_sha256="", config={}, versions={}, report={},
    )  # fmt: skip
    return folder


@pytest.fixture
def services(tiny: Path, tmp_path: Path, fake_embedder: Any) -> Iterator[Services]:
    settings = Settings(
        home=tmp_path / "home", generator=str(tiny), generator_precision="float32", builtin_course=False,
        max_new_tokens=LONG, threads=1,
    )  # fmt: skip
    built = build_services(settings, embedder=fake_embedder)
    yield built
    assert built.generators is not None
    built.generators.stop()
    built.close()


def _register(services: Services, tiny: Path, name: str, seed: int, **more: Any) -> Path:
    folder = _save_adapter(services.settings.home / "adapters" / name, tiny, seed, **more)
    manifest = json.loads((folder / "manifest.json").read_text())
    with services.database.session() as session:
        registry.register_adapter(
            session, name=name, path=str(folder), base_model=more.get("base_name", "tiny"),
            sha256=manifest["files"][WEIGHTS], manifest=manifest, report={},
        )  # fmt: skip
    return folder


def _promote(services: Services, name: str | None, **more: Any) -> None:
    with services.database.session() as session:
        registry.promote(session, name, "test", **more)


def _who(services: Services) -> str | None:
    """Which adapter the next turn is written with: asked through a turn, as learners do, and stopped at once."""
    events = services.tutor.answer("Who?", learner_id=services.learner_id, closed_book=True)
    started = next(events)
    for event in events:
        if isinstance(event, DraftDelta):
            break
    events.close()  # type: ignore[attr-defined]
    with services.database.session(readonly=True) as session:
        turn = conversations.get_turn(session, started.turn_id)  # type: ignore[union-attr]
    assert turn is not None
    assert turn.model["weights_sha256"]
    adapter: str | None = turn.model["adapter"]
    return adapter


def _switched(services: Services, name: str | None, *, within: float = 5.0) -> float:
    """Look until this one would answer a new turn; how long that took. Old ones may still be written."""
    assert services.generators is not None
    begun = time.monotonic()
    while services.generators(None).identity.adapter != name:
        assert time.monotonic() - begun < within
        time.sleep(0.05)
    return time.monotonic() - begun


def test_a_switch_is_seen_within_5_s_and_an_open_answer_ends_on_its_version(
    services: Services, tiny: Path
) -> None:
    assert services.generators is not None
    assert _who(services) is None
    services.generators.start()
    for seed, name in enumerate(("v1", "v2"), start=1):
        _register(services, tiny, name, seed)
    alone = services.tutor.ask("Tell me everything.", learner_id=services.learner_id, closed_book=True)

    open_turn = services.tutor.answer("Tell me everything.", learner_id=services.learner_id, closed_book=True)
    text = ""
    for event in open_turn:
        if isinstance(event, DraftDelta):
            text += event.text
            break
    _promote(services, "v1")
    _switched(services, "v1")
    _promote(services, "v2")  # now the base is not even kept any more, but by the open answer
    _switched(services, "v2")
    gc.collect()
    *rest, last = open_turn
    assert isinstance(last, TurnLogged)
    text += "".join(event.text for event in rest if isinstance(event, DraftDelta))
    assert (last.result.model.adapter, last.result.status) == (None, "answered")
    assert last.result.usage.completion == LONG
    assert last.result.answer == alone.answer == text.strip()

    after = services.tutor.ask("Tell me everything.", learner_id=services.learner_id, closed_book=True)
    assert after.model.adapter == "v2"
    assert after.answer != alone.answer
    with services.database.session() as session:
        registry.rollback(session, "worse")
    _switched(services, "v1")
    with services.database.session() as session:
        registry.rollback(session, "worse")
    _switched(services, None)
    assert services.generators.problem is None


def test_no_learner_waits_for_a_load_and_none_gets_the_old_one_for_long(
    services: Services, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert services.generators is not None
    loaded = serving.load

    def slowly(*args: Any) -> Any:
        time.sleep(1.5)
        return loaded(*args)

    _register(services, tiny, "v1", 1)
    assert _who(services) is None
    monkeypatch.setattr(serving, "load", slowly)
    services.generators.start()
    _promote(services, "v1")
    begun = time.monotonic()
    assert services.generators(None).identity.adapter is None  # answered at once, by what was served before
    assert time.monotonic() - begun < 1.0
    _switched(services, "v1")
    monkeypatch.setattr(serving, "PATIENCE_S", 0.2)
    _promote(services, None)
    _register(services, tiny, "v2", 2)
    _promote(services, "v2")
    services.generators(None)
    time.sleep(0.3)
    assert services.generators(None).identity.adapter == "v2"  # waited for the rest of the load


def test_a_process_that_does_not_watch_loads_what_is_served(services: Services, tiny: Path) -> None:
    _register(services, tiny, "v1", 1)
    assert _who(services) is None
    _promote(services, "v1")
    assert _who(services) == "v1"


def test_each_is_loaded_once_and_what_is_served_is_never_dropped(
    services: Services, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generators = services.generators
    assert generators is not None
    loads: list[str] = []
    loaded = serving.load

    def counted(settings: Any, database: Any, adapter: Any) -> Any:
        loads.append(adapter.name if adapter else "base")
        return loaded(settings, database, adapter)

    monkeypatch.setattr(serving, "load", counted)
    for seed, name in enumerate(("one", "two"), start=1):
        _register(services, tiny, name, seed)
    _promote(services, "one")
    assert generators(None) is generators("one")
    assert generators("base") is generators("base")
    assert loads == ["one", "base"]
    generators("two")
    generators("two")
    generators(None)
    assert loads == ["one", "base", "two"]  # the base made room
    with pytest.raises(NotFound, match="There is no adapter 'three'"):
        generators("three")


def _flip(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(content))


def _cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9])


def _pickle(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


def _point_elsewhere(folder: Path) -> None:
    config = (folder / "adapter_config.json").read_text()
    (folder / "adapter_config.json").write_text(config.replace('"tiny"', '"../tiny"'))


@pytest.mark.parametrize("harm", [_flip, _cut, _pickle, _point_elsewhere, shutil.rmtree])
def test_a_damaged_adapter_that_was_promoted_leaves_the_one_before_it(
    services: Services, tiny: Path, harm: Callable[[Path], None]
) -> None:
    generators = services.generators
    assert generators is not None
    _register(services, tiny, "v1", 1)
    harm(_register(services, tiny, "v2", 2))
    _promote(services, "v1")
    assert _who(services) == "v1"
    _promote(services, "v2")
    assert _who(services) == "v1"
    assert generators.problem is not None
    assert generators.problem.startswith("The adapter v2 ")
    assert generators.problem.endswith("Until another is promoted, the adapter v1 answers.")
    assert "\n" not in generators.problem
    assert adapters.adapter_problems(services.database) == [generators.problem.partition(" Until")[0]]
    with pytest.raises(GeneratorError, match="The adapter v2 "):
        generators("v2")
    _promote(services, None)
    assert (_who(services), generators.problem) == (None, None)


def test_without_a_sound_one_the_base_answers_and_a_mended_one_comes_back(
    services: Services, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generators = services.generators
    assert generators is not None
    folder = _register(services, tiny, "v1", 1)
    shutil.move(folder, folder.with_name("away"))
    _promote(services, "v1")
    assert _who(services) is None
    assert (
        generators.problem
        == "The adapter v1 is not there. Until another is promoted, the base model answers."
    )
    shutil.move(folder.with_name("away"), folder)
    assert _who(services) is None  # not looked at for every question
    monkeypatch.setattr(serving, "RETRY_S", 0.0)
    assert (_who(services), generators.problem) == ("v1", None)


def test_an_adapter_of_another_base_is_not_loaded(services: Services, tiny: Path, tmp_path: Path) -> None:
    assert services.generators is not None
    twin = shutil.copytree(tiny, tmp_path / "twin")
    tensors = load_file(twin / "model.safetensors")
    save_file({name: tensor + 0.001 for name, tensor in tensors.items()}, twin / "model.safetensors")
    folder = _save_adapter(services.settings.home / "adapters" / "v1", twin, 1)
    manifest = json.loads((folder / "manifest.json").read_text())
    with services.database.session() as session:
        registry.register_adapter(
            session, name="v1", path=str(folder), base_model="tiny", sha256=manifest["files"][WEIGHTS],
            manifest=manifest, report={},
        )  # fmt: skip
    _promote(services, "v1")
    assert _who(services) is None
    assert "was trained on other weights than those of tiny here" in str(services.generators.problem)


def test_the_running_app_tells_what_it_cant_serve(services: Services, tiny: Path) -> None:
    from fastapi.testclient import TestClient

    from tutor.app import create_app

    _flip(_register(services, tiny, "v1", 1))
    with TestClient(create_app(services), base_url="http://127.0.0.1") as client:
        for _ in range(200):
            if client.get("/readyz").json()["ready"]:
                break
            time.sleep(0.05)
        assert "problem" not in client.get("/readyz").json()
        _promote(services, "v1")
        begun = time.monotonic()
        while "problem" not in (told := client.get("/readyz").json()):
            assert time.monotonic() - begun < 5
            time.sleep(0.05)
    assert told["ready"]
    assert "The adapter v1 is damaged" in told["problem"]


def test_doctor_and_check_look_at_adapters(services: Services, tiny: Path) -> None:
    from tutor.diagnosis import diagnose

    def told() -> tuple[bool, str]:
        (found,) = [check for check in diagnose(services.settings) if check.name == "adapter"]
        return found.ok, found.found

    assert told() == (True, "none is served: the base model alone writes")
    folder = _register(services, tiny, "v1", 1)
    _promote(services, "v1")
    assert told() == (True, "v1 is served")
    with services.database.session() as session:
        said = feedback.save_feedback(session, services.learner_id, question="Q", answer="A", rating="up")
        data = registry.put_dataset(session, "d", "/d", {}, 0, [said.id])
        registry.register_adapter(
            session, name="v2", path=str(folder), base_model="tiny", sha256="", manifest={}, report={},
            dataset_id=data.id,
        )  # fmt: skip
        registry.promote(session, "v2", "test")
        feedback.delete_feedback(session, said.id)
    assert told() == (True, "v2 is served; it contains withdrawn feedback")
    _flip(folder)
    assert told()[0] is False


@pytest.fixture
def shipped(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = _save_adapter(
        tmp_path / "package" / "adapters" / "course-1", tiny, 3, base_name="smollm2-135m-instruct"
    )
    (folder / "report.json").write_text('{"format": 1}')
    monkeypatch.setattr(adapters, "files", lambda package: tmp_path / "package")
    return folder


def _served(services: Services) -> str | None:
    with services.database.session(readonly=True) as session:
        found = registry.served_adapter(session)
    return found.name if found else None


def test_what_ships_is_served_in_a_new_home_and_left_alone_ever_after(
    services: Services, shipped: Path
) -> None:
    settings = Settings(home=services.settings.home)
    adapters.register_shipped(services.settings, services.database)
    assert _served(services) is None  # another base
    adapters.register_shipped(
        Settings(home=services.settings.home, server_url="http://127.0.0.1:1/v1"), services.database
    )
    assert _served(services) is None
    for _ in range(2):
        adapters.register_shipped(settings, services.database)
        assert _served(services) == "course-1"
    with services.database.session() as session:
        known = registry.get_adapter(session, "course-1")
        assert known is not None
        assert (known.path, known.report, known.dataset_id) == (str(shipped), {"format": 1}, None)
        assert [p.reason for p in registry.promotions(session)] == [adapters.SHIPPED_REASON]
        registry.rollback(session, "no")
    moved = shutil.move(shipped, shipped.with_name("moved"))
    shutil.copytree(moved, shipped.parent / "again" / "course-1")
    adapters.register_shipped(settings, services.database)
    assert _served(services) is None


def test_the_path_follows_a_program_that_was_moved(
    services: Services, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=services.settings.home)
    adapters.register_shipped(settings, services.database)
    shutil.move(tmp_path / "package", tmp_path / "elsewhere")
    monkeypatch.setattr(adapters, "files", lambda package: tmp_path / "elsewhere")
    adapters.register_shipped(settings, services.database)
    with services.database.session(readonly=True) as session:
        found = registry.find_adapter(session, "course-1")
    assert found is not None
    assert Path(found.path) == tmp_path / "elsewhere" / "adapters" / "course-1"
    assert adapters.adapter_problems(services.database) == []


def test_nothing_shipped_or_a_damaged_one_is_the_base(
    services: Services, shipped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(home=services.settings.home)
    _flip(shipped)
    adapters.register_shipped(settings, services.database)
    assert _served(services) is None
    assert "the shipped adapter was left out: The adapter course-1 is damaged" in caplog.text
    (shipped / "manifest.json").write_text("{")
    adapters.register_shipped(settings, services.database)
    shutil.rmtree(shipped.parent)
    adapters.register_shipped(settings, services.database)
    with services.database.session(readonly=True) as session:
        assert (registry.list_adapters(session), registry.promotions(session)) == ([], [])
