"""Tells other processes of a home that an answer is being written, so that a fine-tune job can stand still meanwhile.

A shared lock of the system on `<home>/run/answering.lock`: any number of answers hold it at a time, and it goes with
the process that held it, however that ended. Where the system has no such locks (Windows) nobody is ever told to wait.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def answering(home: Path) -> Iterator[None]:
    """While this is entered, `is_answering(home)` is true in every process. Never fails: no answer is lost to it."""
    handle = None
    with suppress(OSError):
        handle = _open(home)
        _hold(handle)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def is_answering(home: Path) -> bool:
    """Is an answer being written by any process of this home, this one included?"""
    if fcntl is None or not _lock(home).exists():
        return False
    try:
        handle = _open(home)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _hold(handle: int) -> None:
    """Somebody who only looks holds the lock for microseconds; an answer never waits longer than this for it."""
    for _ in range(20 if fcntl is not None else 0):
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.002)


def _lock(home: Path) -> Path:
    return home / "run" / "answering.lock"


def _open(home: Path) -> int:
    file = _lock(home)
    file.parent.mkdir(parents=True, exist_ok=True)
    return os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
