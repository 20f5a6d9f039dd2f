"""The folder of an adapter: the manifest that is written beside it once, and the check that is made ever after.

What the check looks at is `tutor/adapter_files.py`'s, because serving makes it, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tutor.adapter_files import MANIFEST, AdapterError, check_adapter, tokenizer_sha256
from tutor.generators.files import ADAPTER_WEIGHTS
from tutor.shipped import file_sha256

__all__ = [
    "MANIFEST",
    "AdapterError",
    "check_adapter",
    "config_sha256",
    "tokenizer_sha256",
    "weights_file_sha256",
    "write_manifest",
]
_FORMAT = 1


def write_manifest(
    folder: Path,
    *,
    base_name: str,
    base_sha256: str,
    tokenizer_sha256: str,
    dataset_sha256: str,
    config: Mapping[str, Any],
    versions: Mapping[str, str],
    report: Mapping[str, Any],
    base_config_sha256: str = "",
) -> dict[str, Any]:
    """Write `manifest.json` over everything that is in the folder now, and return it. The last file to be written."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != MANIFEST)
    manifest = {
        "format": _FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {file.name: file_sha256(file) for file in files},
        "base": {
            "name": base_name,
            "weights_sha256": base_sha256,
            "config_sha256": base_config_sha256,
            "tokenizer_sha256": tokenizer_sha256,
        },
        "dataset_sha256": dataset_sha256,
        "config": dict(config),
        "versions": dict(versions),
        "report_sha256": _json_sha256(report),
    }
    temporary = folder / f".{MANIFEST}"
    temporary.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(folder / MANIFEST)
    return manifest


def weights_file_sha256(folder: Path) -> str:
    """What a registered adapter's `sha256` is. Raises OSError."""
    return file_sha256(folder / ADAPTER_WEIGHTS)


def config_sha256(base: Path) -> str:
    """The fingerprint of a model folder's config. Raises OSError."""
    return file_sha256(base / "config.json")


def _json_sha256(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
