"""A model folder with weights that can be read, and the services of an app over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.tutor.lab.sample import COURSE, tokenizer, write
from tutor.generators.protocol import ModelIdentity
from tutor.generators.scripted import ScriptedGenerator
from tutor.services import Services, build_services
from tutor.settings import Settings


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with weights to read; nothing here runs them."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"w": np.arange(64, dtype=np.float32)}, folder / "model.safetensors")
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def services(tmp_path: Path, model: Path, make_embedder: Callable[..., Any]) -> Iterator[Services]:
    folder = tmp_path / "course"
    folder.mkdir()
    (folder / "training.md").write_text(COURSE, "utf-8")
    settings = Settings(home=tmp_path / "home", course=folder, generator=str(model))

    def generator_for(name: str | None) -> ScriptedGenerator:
        adapter = None if name in (None, "base") else name
        return ScriptedGenerator(write, identity=ModelIdentity("base", adapter, f"weights of {name}"))

    built = build_services(settings, embedder=make_embedder(dimension=512), generator_for=generator_for)
    yield built
    built.close()
