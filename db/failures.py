"""Turns what SQLAlchemy and the drivers raise into the errors of `db.errors`. Programming errors pass through."""

from __future__ import annotations

from sqlalchemy import exc

from db.errors import DatabaseBusy, DatabaseDamaged, DatabaseError, DatabaseUnavailable

_SQLITE_DAMAGED = ("CORRUPT", "NOTADB")
_SQLITE_BUSY = ("BUSY", "LOCKED")
_SQLITE_UNAVAILABLE = {
    "FULL": ("the disk is full", "free some space and try again"),
    "READONLY": ("it may not be written", "check the permissions of the file and its folder"),
    "PERM": ("permission was denied", "check the permissions of the file and its folder"),
    "CANTOPEN": ("it can't be opened", "check that its folder exists and may be written"),
    "IOERR": ("the disk reports an error", "check the disk and its free space"),
    "NOMEM": ("memory ran out", "close other programs and try again"),
}
_POSTGRES_BUSY = ("55P03", "57014", "40001", "40P01", "53300")
_POSTGRES_DAMAGED = ("XX001", "XX002")


def damaged(where: str, detail: str) -> DatabaseDamaged:
    return DatabaseDamaged(
        f"The database {where} is damaged ({_one_line(detail)}). Restore a backup; the file was left as it is."
    )


def unavailable(where: str, why: str, step: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"The database {where} can't be used: {_one_line(why)}. Please {step}.")


def busy(where: str) -> DatabaseBusy:
    return DatabaseBusy(f"The database {where} is in use by another task. Please try again in a moment.")


def translate(error: BaseException, where: str, *, readonly: bool = False) -> Exception | None:
    """Return the error to raise instead of `error`, or None to let it pass. `where` is shown to the user."""
    if isinstance(error, exc.TimeoutError):
        return busy(where)
    if isinstance(error, exc.DBAPIError):
        if hasattr(error.orig, "sqlite_errorname"):
            return _from_sqlite(error, where, readonly)
        if hasattr(error.orig, "sqlstate"):
            return _from_postgres(error, where)
        return None
    if isinstance(error, exc.StatementError) and isinstance(error.orig, ValueError):
        return error.orig  # a value that a column type refused, such as a naive datetime
    return None


def _from_sqlite(error: exc.DBAPIError, where: str, readonly: bool) -> DatabaseError | None:
    name = str(getattr(error.orig, "sqlite_errorname", "")).removeprefix("SQLITE_").split("_")[0]
    if name in _SQLITE_BUSY:
        return busy(where)
    if name in _SQLITE_DAMAGED:
        return damaged(where, str(error.orig))
    if name == "READONLY" and readonly:
        return None  # our own code writes in a session opened for reading
    if name in _SQLITE_UNAVAILABLE:
        return unavailable(where, *_SQLITE_UNAVAILABLE[name])
    return None


def _from_postgres(error: exc.DBAPIError, where: str) -> DatabaseError | None:
    state = getattr(error.orig, "sqlstate", None)
    if state in _POSTGRES_BUSY:
        return busy(where)
    if state in _POSTGRES_DAMAGED:
        return damaged(where, str(error.orig))
    if state == "53100":
        return unavailable(where, "the server's disk is full", "free some space there and try again")
    if isinstance(error, exc.OperationalError) and (state is None or state[:2] in ("08", "28", "3D", "57")):
        return unavailable(where, str(error.orig), "check that the server runs and the URL is right")
    return None


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".") or "no reason given"
