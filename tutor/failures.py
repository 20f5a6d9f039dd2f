"""What an error costs: the exit code and the one line a user reads, decided here and nowhere else.

Errors are matched by their dotted name, so that this file imports none of the heavy modules that raise them.
A damaged database and one written by a newer version share a code: in both, the data can't be used by this
version and must not be touched.
"""

from __future__ import annotations

import errno
import os
import secrets
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from tutor.settings import DEBUG_VARIABLE

DONE, FAILED, BAD_INPUT, DAMAGED, BUSY, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

EXIT_CODES = {
    "db.errors.NotFound": BAD_INPUT,
    "db.errors.SchemaTooNew": DAMAGED,
    "db.errors.DatabaseDamaged": DAMAGED,
    "db.errors.DatabaseBusy": BUSY,
    "db.errors.DatabaseError": FAILED,
    "db.portable_fields.PortableError": BAD_INPUT,
    "retrieval.loaders.LoadError": BAD_INPUT,
    "retrieval.embedder.EmbedderError": FAILED,
    "tutor.generators.protocol.GeneratorError": FAILED,
    "tutor.turn.QuestionError": BAD_INPUT,
    "tutor.lesson_values.LessonError": BAD_INPUT,
    "tutor.settings.SettingsError": BAD_INPUT,
    "tutor.wire.InputError": BAD_INPUT,
    "tutor.services.HomeError": FAILED,
    "tutor.adapter_files.AdapterError": DAMAGED,
    "finetune.exemplars.ExemplarError": DAMAGED,
    "finetune.snapshot.SnapshotError": DAMAGED,
    "finetune.outcomes.TrainingError": FAILED,
    "finetune.outcomes.Cancelled": INTERRUPTED,
    "tutor.failures.BusyError": BUSY,
    "tutor.failures.RefusedError": REFUSED,
}

_SYSTEM_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EROFS: "the disk is read-only; choose another folder with --home",
    errno.EACCES: "permission denied; change the permissions or choose another folder",
    errno.EPERM: "permission denied; change the permissions or choose another folder",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EISDIR: "a folder stands where a file is needed",
    errno.ENOENT: "there is no such file",
    errno.EMFILE: "too many files are open; close other programs and try again",
    errno.EIO: "the disk reports an input/output error; check it before going on",
}


class BusyError(Exception):
    """Someone else has what this command needs (a port, the home folder)."""


class RefusedError(Exception):
    """A rule forbids it; `str()` says which and what to do instead."""


def exit_code(error: BaseException) -> int | None:
    """The exit code of an error we know how to explain, else None: then it is our own bug."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    for cls in type(error).__mro__:
        code = EXIT_CODES.get(f"{cls.__module__}.{cls.__qualname__}")
        if code is not None:
            return code
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS):
        return FAILED
    return None


def one_line(error: BaseException) -> str:
    """What a user reads of an error with an exit code."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError):
        return "not enough memory; close other programs or choose a smaller model (study-tutor models)"
    if isinstance(error, OSError) and exit_code(error) == FAILED and error.errno in _SYSTEM_ERRORS:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{_SYSTEM_ERRORS[error.errno]}"
    return " ".join(str(error).split()) or type(error).__name__


def report(error: BaseException, *, home: Path | None, debug: bool = False) -> int:
    """Tell the user on stderr in one line, keep the traceback of a bug under `home`/logs; return the exit code."""
    debug = debug or bool(os.environ.get(DEBUG_VARIABLE))
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    code = exit_code(error)
    if code is not None:
        print(f"study-tutor: {one_line(error)}", file=sys.stderr)
        return code
    number = secrets.token_hex(4)
    kept = None if home is None else _keep(error, home / "logs", number)
    where = f"; the details are in {kept}" if kept else "; set STUDY_TUTOR_DEBUG=1 to see the details"
    print(
        f"study-tutor: an unexpected problem ({type(error).__name__}, number {number}) ended this{where}",
        file=sys.stderr,
    )
    return FAILED


def _keep(error: BaseException, logs: Path, number: str) -> Path | None:
    now = datetime.now(UTC)
    path = logs / f"error-{now:%Y%m%dT%H%M%SZ}-{number}.txt"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        command = " ".join(sys.argv[:2])
        text = "".join(traceback.format_exception(error))
        path.write_text(f"{now.isoformat()} {command}\n{text}", encoding="utf-8", errors="backslashreplace")
    except OSError:
        return None
    return path
