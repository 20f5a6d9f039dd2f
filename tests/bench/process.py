"""A worker process that is asked in JSON lines, and what the system knows of it at its end."""

from __future__ import annotations

import json
import subprocess
import time
from types import TracebackType
from typing import Any


class Measured:
    """Starts `command`, waits for its line {"ready": true}, and then exchanges a line for a line."""

    def __init__(self, command: list[str]) -> None:
        self.peak_mb = 0.0
        start = time.perf_counter()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()
        self.ready_s = time.perf_counter() - start

    def __enter__(self) -> Measured:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def finish(self) -> None:
        """Let it end, which makes it tell its peak memory."""
        self.peak_mb = self.ask({"finish": True})["peak_kb"] / 1000
        self._process.wait(30)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker ended with code {self._process.wait()}: {self._process.args}")
        answer: dict[str, Any] = json.loads(line)
        return answer
