"""A model of the hub as a local folder, downloaded only where that is allowed. All kinds of models share this."""

from __future__ import annotations

import os
from pathlib import Path

_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]  # no pickles, no code


class HubError(Exception):
    """The model is not in the local cache and can't be fetched. `str()` is the reason, to be put into a line."""


def is_hub_id(wanted: str) -> bool:
    """Whether this can name a model of the hub (owner/name) rather than a folder."""
    return wanted.count("/") == 1 and not wanted.startswith((".", "/", "~"))


def hub_folder(hub_id: str, *, revision: str | None = None, only_local: bool = False) -> Path:
    """The folder of a hub model, fetched if need be. Raises HubError."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            hub_id, revision=revision, allow_patterns=_FILES, local_files_only=only_local
        )
    except (
        Exception
    ) as error:  # offline, unknown name, no permission, full disk: the hub raises a dozen types
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        reason = "HF_HUB_OFFLINE forbids the download" if offline else " ".join(str(error).split())[:160]
        raise HubError(reason) from error
    return Path(folder)
