"""Checkpoints of a training, each a folder `step-N` that is there as a whole or not at all. Start at `Checkpoints`.

What a step uses besides the tensors (learning rate, rows, random numbers) follows from the seed and the step's
number, so the tensors and a few numbers are all that has to be kept. No pickle.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.lora import write_bytes
from tutor.shipped import file_sha256
from tutor.whole_files import flush

if TYPE_CHECKING:
    import torch

FORMAT = 1
_TENSORS = "state.safetensors"
_ABOUT = "checkpoint.json"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a training is. `key` says of which base, data and configuration."""

    key: str
    precision: str
    step: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    tokens: int = 0
    examples: int = 0
    losses: tuple[tuple[int, float], ...] = field(default_factory=tuple)


class Checkpoints:
    """The checkpoints in `folder`. `say` hears why one that is there is not used."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say

    def newest(self, key: str) -> tuple[Standing, dict[str, torch.Tensor]] | None:
        """The newest sound checkpoint of just this training, or None. Others are left where they are."""
        for folder in sorted(self._folder.glob("step-*"), reverse=True):
            try:
                standing = _read_standing(folder)
            except (OSError, ValueError, KeyError, TypeError) as error:
                self._say(f"The checkpoint {folder.name} is damaged and was not used ({error}).")
                continue
            if standing.key != key:
                self._say(
                    f"The checkpoint {folder.name} belongs to other data, another base or configuration and was not "
                    "used; training starts from the beginning."
                )
                continue
            from safetensors.torch import load

            return standing, load((folder / _TENSORS).read_bytes())
        return None

    def write(self, standing: Standing, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write a checkpoint, then remove the older ones. Raises OSError; the older ones are then still there."""
        from safetensors.torch import save

        self._folder.mkdir(parents=True, exist_ok=True)
        for left_over in self._folder.glob(".tmp-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        final = self._folder / f"step-{standing.step:06}"
        temporary = self._folder / f".tmp-{os.getpid()}"
        temporary.mkdir()
        try:
            write_bytes(temporary / _TENSORS, save(dict(tensors), {"format": "pt"}))
            about = {"format": FORMAT, "sha256": file_sha256(temporary / _TENSORS), **asdict(standing)}
            write_bytes(temporary / _ABOUT, json.dumps(about).encode())
            if final.exists():
                shutil.rmtree(final)
            temporary.replace(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        flush(self._folder)
        for other in self._folder.glob("step-*"):
            if other != final:
                shutil.rmtree(other, ignore_errors=True)


def _read_standing(folder: Path) -> Standing:
    about: dict[str, Any] = json.loads((folder / _ABOUT).read_text("utf-8"))
    if about.pop("format") != FORMAT:
        raise ValueError("its format is another version's")
    if about.pop("sha256") != file_sha256(folder / _TENSORS):
        raise ValueError("its weights are not what was written")
    about["losses"] = tuple((int(step), float(loss)) for step, loss in about["losses"])
    return Standing(**about)
