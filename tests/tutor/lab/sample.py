"""What the experiments are made on: a page, a model that copies its first note, and a tokenizer of 260 pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from db import registry
from tutor.generators.protocol import Message
from tutor.lab import Lab
from tutor.services import Services
from tutor.ui.lab_runs import LabRuns
from tutor.ui.library import Library
from tutor.ui.live import LiveTurns
from tutor.ui.metrics import Metrics

COURSE = "# Training\n\nTraining is the process that changes the weights of a model. Inference reads every weight.\n"
QUESTION = "What is training?"
REMEMBERED = "It is what I remember."
AT = datetime(2026, 3, 1, tzinfo=UTC)


def write(messages: Sequence[Message]) -> str:
    """The first note that was given, else what the weights hold."""
    notes = [line[2:] for line in messages[-1]["content"].splitlines() if line.startswith("- ")]
    return notes[0] if notes else REMEMBERED


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, as the shipped model's: the 256 bytes, "th", a space before a letter, and two control tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)} | {"th": 256, "Ġa": 257}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h"), ("Ġ", "a")]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["<|im_end|>", "<|im_start|>"])
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>")


def add_adapter(services: Services, folder: Path, name: str, **more: Any) -> Path:
    path = folder / name
    path.mkdir()
    save_file({"a": np.full(8, len(name), np.float32)}, path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text("{}")
    with services.database.session() as session:
        registry.register_adapter(
            session, name=name, path=str(path), base_model="base", sha256="", manifest={}, report={}, **more
        )
    return path


def runs(services: Services) -> Callable[..., dict[str, str]]:
    """run(**sent) -> the parts that stood at the end, with the error and the id."""
    page = LabRuns(Lab(services), services.database, Library(), LiveTurns(Metrics()))

    def run(**sent: Any) -> dict[str, Any]:
        import lxml.html

        *_, last = page.run(json.dumps({"id": "r1", **sent}), SimpleNamespace(session_hash="s"))  # type: ignore[arg-type]
        root = lxml.html.fromstring(last)
        parts = {part.get("data-place"): part for part in root.xpath("//*[@data-place]")}
        found = {name: " ".join(" ".join(part.itertext()).split()) for name, part in parts.items()}
        turns = {name: part.xpath(".//@data-turn") for name, part in parts.items()}
        assert root.get("data-done") is not None
        return found | {"error": root.get("data-error"), "turns": turns}

    return run
