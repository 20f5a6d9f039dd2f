"""Small JSON files that are there whole or as they were before, whatever is killed while they are written."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any


def read_json(file: Path) -> dict[str, Any]:
    """The object in this file; {} where there is none that can be read."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(file: Path, value: Any) -> None:
    """Put this in the file's place at once, making its folder if need be; what JSON lacks is written as text.

    Raises OSError; the file is then what it was.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")  # several threads may write at once
    try:
        draft.write_text(json.dumps(value, ensure_ascii=False, default=str), "utf-8")
        flush(draft)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Make a file or folder last through a power cut."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
