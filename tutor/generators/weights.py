"""A base model's weights, one tensor at a time, and what an adapter adds to them: nothing is ever written back.

Only safetensors is read (a pickle can run code). The base stays pristine by construction: its file is mapped
read-only, and the sum with an adapter is a new tensor. What is done with the tensors is `engine.py`'s.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from tutor.generators.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, weight_files
from tutor.generators.linear import LowRank
from tutor.generators.protocol import GeneratorError

# Settings of a peft adapter that change the arithmetic in ways not done here, with their harmless values.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_dora": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "lora_bias": (False, None),
    "trainable_token_indices": (None, []),
    "alora_invocation_tokens": (None, []),
}


class Adapter:
    """A LoRA adapter in peft's layout. Raises GeneratorError when it can't be merged exactly."""

    def __init__(self, folder: Path, *, base_names: Sequence[str]) -> None:
        self.folder = folder
        try:
            self.config: dict[str, Any] = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
            self._file = safe_open(str(folder / ADAPTER_WEIGHTS), framework="pt")
        except (OSError, ValueError, SafetensorError) as error:
            raise GeneratorError(
                f"The adapter in {folder} needs a sound {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} ({error})."
            ) from error
        trained_on = str(self.config.get("base_model_name_or_path") or "")
        if trained_on not in base_names:
            raise GeneratorError(
                f"The adapter in {folder} was trained on {trained_on or 'an unnamed base'}, "
                f"not on {base_names[0]}; serve that base or another adapter."
            )
        for key, plain in _PLAIN.items():
            if key in self.config and self.config[key] not in plain:
                raise GeneratorError(
                    f"The adapter in {folder} uses {key}={self.config[key]}, which can't be merged here."
                )
        self._names = frozenset(self._file.keys())
        self._unused = set(self._names)

    def low_rank(self, name: str, shape: torch.Size) -> LowRank | None:
        """What to add to the weight `name`, as two thin matrices, or None where the adapter leaves it alone."""
        module = name.removesuffix(".weight")
        keys = [f"base_model.model.{module}.lora_{side}.weight" for side in "AB"]
        if keys[0] not in self._names:
            return None
        try:
            a, b = (self._file.get_tensor(key).float() for key in keys)
        except SafetensorError as error:
            raise GeneratorError(f"The adapter in {self.folder} is incomplete ({error}).") from error
        if (b.shape[0], a.shape[1]) != tuple(shape) or a.shape[0] != b.shape[1]:
            raise GeneratorError(f"The adapter in {self.folder} does not fit the base model at {module}.")
        if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise GeneratorError(f"The adapter in {self.folder} holds values that are no numbers.")
        self._unused.difference_update(keys)
        return a, b * self._scale(module, a.shape[0])

    def require_all_used(self) -> None:
        """Raise GeneratorError where a part of the adapter met no weight of the base."""
        if self._unused:
            raise GeneratorError(
                f"The adapter in {self.folder} changes {sorted(self._unused)[0]}, which the base does not have."
            )

    def _scale(self, module: str, rank: int) -> float:
        def lookup(pattern: str, default: float) -> float:
            for key, value in (self.config.get(pattern) or {}).items():
                if module == key or module.endswith(f".{key}"):
                    return float(value)
            return default

        alpha = lookup("alpha_pattern", float(self.config.get("lora_alpha", rank)))
        return alpha / rank**0.5 if self.config.get("use_rslora") else alpha / rank


class Weights:
    """The tensors of a model folder by name, and what an adapter adds to them."""

    def __init__(self, folder: Path, adapter: Adapter | None = None) -> None:
        self.folder = folder
        self._adapter = adapter
        self._where: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        for file in weight_files(folder):
            self._where.update(dict.fromkeys(self._opened(file).keys(), file))

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def get(self, name: str, *, as_stored: bool = False) -> torch.Tensor:
        """One tensor of the base, as float32 or `as_stored`: a view of the file, which must not be written to.

        Raises GeneratorError where the model has none of that name.
        """
        try:
            tensor = self._opened(self._where[name]).get_tensor(name)
        except (KeyError, SafetensorError) as error:
            raise GeneratorError(f"The model in {self.folder} has no weight {name}.") from error
        return tensor if as_stored else tensor.float()

    def low_rank(self, name: str) -> LowRank | None:
        """What the adapter adds to this weight."""
        return self._adapter.low_rank(name, self.get(name, as_stored=True).shape) if self._adapter else None

    def let_go(self) -> None:
        """Close the files and give freed memory back, so that loading needs little more than what is kept."""
        self._open.clear()
        with contextlib.suppress(OSError, AttributeError):  # elsewhere than with glibc it is not needed
            ctypes.CDLL(None).malloc_trim(0)

    def add_adapter_to(self, model: torch.nn.Module) -> None:
        """Merge the adapter into a model that was loaded whole."""
        if self._adapter:
            for name, parameter in model.named_parameters():
                if (parts := self._adapter.low_rank(name, parameter.shape)) is not None:
                    parameter.data = (parameter.data.float() + parts[1] @ parts[0]).to(parameter.dtype)
        self.finished()

    def finished(self) -> None:
        """Call once every weight was read: raises GeneratorError if the adapter has a part left over."""
        self.let_go()
        if self._adapter:
            self._adapter.require_all_used()

    def _opened(self, file: Path) -> Any:
        if file not in self._open:
            try:
                self._open[file] = safe_open(str(file), framework="pt")
            except (OSError, SafetensorError) as error:
                raise GeneratorError(f"The weights {file} are damaged ({error}); get them again.") from error
        return self._open[file]
