"""Is the folder of an adapter what its manifest says, safe to read, and made for this base?

Asked when an adapter is registered, when it is loaded, and by `check`. Only safetensors is read: a pickle can run code,
and safetensors itself notices neither a flipped bit nor a value that is no number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from tutor.generators.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tutor.shipped import combined, file_sha256

MANIFEST = "manifest.json"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


class AdapterError(Exception):
    """An adapter can't be used. `str()` is one line: which, why, what to do."""


def check_adapter(
    folder: Path,
    manifest: Mapping[str, Any] | None,
    base_names: Sequence[str],
    base_sha256: str,
    *,
    base: Path | None = None,
) -> dict[str, Any]:
    """The manifest, if everything fits: `manifest` or else the one in the folder.

    `base_sha256` is the fingerprint of the base's weights, "" where it isn't known; `base` its folder, to compare
    shapes and the tokenizer with. Raises AdapterError, one line.
    """
    known = _manifest(folder) if manifest is None else dict(manifest)
    _check_names(folder)
    _check_files(folder, known)
    config = _config(folder, base_names)
    made_for = known.get("base") or {}
    if base_sha256 and made_for.get("weights_sha256") not in (None, "", base_sha256):
        raise _wrong(
            folder, f"was trained on other weights than those of {base_names[0]} here; serve that base"
        )
    if made_for.get("name") not in (None, "", *base_names):
        raise _wrong(folder, f"was trained on {made_for['name']}, not on {base_names[0]}; serve that base")
    tokens = made_for.get("tokenizer_sha256")
    if base is not None and tokens and tokens != tokenizer_sha256(base):
        raise _wrong(folder, f"was trained with another tokenizer than that of {base_names[0]} here")
    _check_values(folder, config, base)
    return known


def tokenizer_sha256(base: Path) -> str:
    """The fingerprint of the tokenizer files of a model folder: which pieces a text falls into, and its template."""
    found = [base / name for name in _TOKENIZER if (base / name).is_file()]
    return combined([file_sha256(file) for file in found])


def folder_problem(folder: Path, manifest: Mapping[str, Any], sha256: str = "") -> str | None:
    """What is wrong with the files themselves, without a look at the values; None if they are as registered.

    `sha256` is that of the weights as registered, "" for no matter.
    """
    try:
        _check_names(folder)
        _check_files(folder, manifest)
        if sha256 and file_sha256(folder / ADAPTER_WEIGHTS) != sha256:
            raise _wrong(folder, f"is damaged: {ADAPTER_WEIGHTS} is not the file that was registered")
    except AdapterError as error:
        return str(error)
    return None


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _wrong(folder, f"has an unreadable {MANIFEST} ({error})") from error
    if not isinstance(found, dict):
        raise _wrong(folder, f"has an unreadable {MANIFEST}")
    return found


def _check_names(folder: Path) -> None:
    if not folder.is_dir():
        raise _wrong(folder, "is not there")
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in _PICKLES)
    if pickles:
        raise _wrong(folder, f"holds a pickle ({pickles[0]}), which could run code; only safetensors is used")
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / name).is_file():
            raise _wrong(folder, f"has no {name}")


def _check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    files = manifest.get("files") or {}
    if files and not {ADAPTER_CONFIG, ADAPTER_WEIGHTS} <= set(files):
        raise _wrong(folder, "has a manifest that leaves out its weights or its config")
    for name, wanted in files.items():
        if name != Path(name).name or name in (".", "..") or "\\" in name:
            raise _wrong(folder, f"has a manifest that names a file outside its folder ({name})")
        try:
            same = file_sha256(folder / name) == wanted
        except OSError:
            raise _wrong(folder, f"lacks {name}, which its manifest lists") from None
        if not same:
            raise _wrong(folder, f"is damaged: {name} is not the file that was registered")


def _config(folder: Path, base_names: Sequence[str]) -> dict[str, Any]:
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _wrong(folder, f"has an unreadable {ADAPTER_CONFIG} ({error})") from error
    if not isinstance(config, dict):
        raise _wrong(folder, f"has an unreadable {ADAPTER_CONFIG}")
    name = str(config.get("base_model_name_or_path") or "")
    if _is_path(name):
        raise _wrong(folder, f"names its base by a path ({name}); a name is needed, such as {base_names[0]}")
    if name not in base_names:
        raise _wrong(folder, f"was trained on {name or 'an unnamed base'}, not on {base_names[0]}")
    return config


def _is_path(name: str) -> bool:
    return (
        name.startswith(("/", "~", "\\", "."))
        or "://" in name
        or ".." in PurePosixPath(name).parts
        or ".." in PureWindowsPath(name).parts
        or bool(PureWindowsPath(name).drive)
    )


def _check_values(folder: Path, config: Mapping[str, Any], base: Path | None) -> None:
    """Every tensor is finite, every pair has one rank, the one that the config says, and fits the base."""
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(folder / ADAPTER_WEIGHTS), framework="pt") as file:
            names = set(file.keys())
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            broken = [name for name in sorted(names) if not torch.isfinite(file.get_tensor(name)).all()]
    except (OSError, SafetensorError) as error:
        raise _wrong(folder, f"has damaged weights ({' '.join(str(error).split())})") from error
    if not names:
        raise _wrong(folder, "has no weights in it")
    if broken:
        raise _wrong(folder, f"holds values that are no numbers in {broken[0]}; train it again")
    ranks = {int(config.get("r") or 0), *(int(r) for r in (config.get("rank_pattern") or {}).values())}
    of_base = {} if base is None else _base_shapes(base)
    for name in sorted(names):
        module, _, side = name.removeprefix("base_model.model.").rpartition(".lora_")
        if side not in ("A.weight", "B.weight") or not name.startswith("base_model.model."):
            raise _wrong(folder, f"holds {name}, which is no part of a LoRA adapter")
        pair = {s: shapes.get(f"base_model.model.{module}.lora_{s}.weight") for s in "AB"}
        a, b = pair["A"], pair["B"]
        if a is None or b is None or len(a) != 2 or len(b) != 2 or a[0] != b[1] or a[0] not in ranks:
            raise _wrong(folder, f"has parts at {module} that don't fit each other or its rank")
        wanted = of_base.get(f"{module}.weight")
        if base is not None and wanted != (b[0], a[1]):
            raise _wrong(folder, f"doesn't fit the base at {module}: {(b[0], a[1])}, not {wanted}")


def _base_shapes(base: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    from tutor.generators.files import weight_files

    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(base):
        with safe_open(str(path), framework="pt") as file:
            shapes.update({name: tuple(file.get_slice(name).get_shape()) for name in file.keys()})  # noqa: SIM118
    return shapes


def _wrong(folder: Path, what: str) -> AdapterError:
    return AdapterError(f"The adapter {folder.name} {what}.")
