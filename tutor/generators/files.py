"""Which files of a model or adapter folder hold its weights. Only safetensors: a pickle can run code."""

from __future__ import annotations

import json
from pathlib import Path

from tutor.generators.protocol import GeneratorError

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, in name order. Raises GeneratorError where there are none."""
    try:
        if (index := folder / "model.safetensors.index.json").is_file():
            names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        else:
            names = ["model.safetensors"]
        files = [folder / Path(name).name for name in names]
        missing = [file for file in files if not file.is_file()]
    except (OSError, ValueError, KeyError) as error:
        raise GeneratorError(f"The model in {folder} can't be read ({error}); download it again.") from error
    if missing:
        raise GeneratorError(
            f"The model in {folder} has no {missing[0].name}; only safetensors weights are loaded, never pickles."
        )
    return files
