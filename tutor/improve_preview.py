"""What the next job would train on, found out by the trainer itself: `python -m finetune run --dry-run`.

It takes a while (each example is searched for as a question is), so it is made when a learner asks for it and kept
beside the jobs until the feedback or the material has changed.
"""

from __future__ import annotations

import json
import logging
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tutor.improve_jobs import Trainers
from tutor.whole_files import read_json, write_json

TIMEOUT_S = 3600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preview:
    """`data` is what the trainer said when `ready`; `problem` is one line when `failed`."""

    state: Literal["working", "ready", "failed"]
    data: dict[str, Any]
    problem: str = ""


WORKING = Preview("working", {})


class Previews:
    """Keeps the newest preview; makes one at a time, in the background."""

    def __init__(self, trainers: Trainers, file: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._trainers = trainers
        self._file = file
        self._timeout = timeout_s
        self._lock = threading.Lock()
        self._found: tuple[str, Preview] | None = None
        self._making: threading.Thread | None = None

    def known(self, key: str) -> Preview | None:
        """What is known of the feedback that `key` stands for, without asking anybody."""
        with self._lock:
            if self._found is None:
                self._found = self._read()
            return self._found[1] if self._found and self._found[0] == key else None

    def begun(self, key: str) -> bool:
        """Whether the preview is known, or being made."""
        with self._lock:
            making = self._making is not None and self._making.is_alive()
        return making or self.known(key) is not None

    def get(self, key: str, wait_s: float) -> Preview:
        """The preview; still `working` when it isn't ready after `wait_s` seconds."""
        if found := self.known(key):
            return found
        with self._lock:
            if self._making is None or not self._making.is_alive():
                self._making = threading.Thread(target=self._make, args=(key,), name="preview", daemon=True)
                self._making.start()
            making = self._making
        making.join(wait_s)
        return self.known(key) or WORKING

    def forget_failure(self) -> None:
        """Ask again where the last attempt failed."""
        with self._lock:
            if self._found and self._found[1].state == "failed":
                self._found = None

    def _make(self, key: str) -> None:
        found = self._ask()
        if found is None:
            return
        if found.state == "ready":
            with suppress(OSError):  # it is only made again
                write_json(self._file, {"key": key, "data": found.data})
        with self._lock:
            self._found = key, found

    def _ask(self) -> Preview | None:
        """What the trainer says; None if it was told to stop."""
        try:
            done = self._trainers.dry_run(self._timeout)
        except subprocess.TimeoutExpired:
            return Preview("failed", {}, "It took too long and was stopped.")
        except OSError as error:
            return Preview("failed", {}, f"The trainer can't be started ({error.strerror}).")
        if done.returncode < 0:
            return None
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        try:
            data = json.loads(done.stdout)
        except ValueError:
            data = None
        if done.returncode == 0 and isinstance(data, dict):
            return Preview("ready", data)
        log.warning("finetune run --dry-run ended with %s: %s", done.returncode, " | ".join(lines[-3:]))
        said = " ".join(lines[-1].split()).removeprefix("study-tutor: ") if lines else "it gave no reason"
        return Preview("failed", {}, f"{said[:1].upper()}{said[1:300].rstrip('.')}.")

    def _read(self) -> tuple[str, Preview] | None:
        kept = read_json(self._file)
        key, data = kept.get("key"), kept.get("data")
        return (key, Preview("ready", data)) if isinstance(key, str) and isinstance(data, dict) else None
