"""The other end of `process.Measured`: answer requests line by line. Imports nothing of the tutor."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def serve(prepare: Callable[[], Answer]) -> None:
    """`prepare` loads everything; what it returns answers. Whatever is printed meanwhile goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(content: dict[str, Any]) -> None:
        out.write(json.dumps(content) + "\n")
        out.flush()

    answer = prepare()
    reply({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("finish"):
            reply({"peak_kb": peak_kb()})
            return
        reply(answer(request))


def peak_kb() -> int:
    """The most memory this process ever held, shared files included (Linux)."""
    with Path("/proc/self/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def row(times: list[float], total_s: float, prompt: int, tokens: int) -> dict[str, float | None]:
    """What is compared: `times` are the seconds at which pieces of text came, about one a token."""
    writing = times[-1] - times[0] if len(times) > 1 else None
    return {
        "first piece ms": 1000 * times[0] if times else None,
        "20th piece ms": 1000 * times[19] if len(times) > 19 else None,
        "whole draft ms": 1000 * total_s,
        "tokens/s": (tokens - 1) / writing if writing else None,
        "prompt tokens": prompt,
        "tokens written": tokens,
    }
