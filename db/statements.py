"""Small helpers that the query modules share: inserts that tolerate a rival, and checks of arguments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

from db.types import clean_text

MAX_REQUEST_ID = 200
BATCH = 500  # well under SQLite's limit on the parameters of one statement

T = TypeVar("T")


def insert_for(session: Session, row: type[DeclarativeBase]) -> Any:
    """An INSERT of this engine that knows ON CONFLICT."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(row)
    return sqlite.insert(row)


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Slices of at most `size` items."""
    every = list(items)
    for start in range(0, len(every), size):
        yield every[start : start + size]


def check_request_id(request_id: str | None) -> None:
    """Raise ValueError unless `request_id` is None or 1 to MAX_REQUEST_ID characters."""
    if request_id is not None and not 0 < len(request_id) <= MAX_REQUEST_ID:
        raise ValueError(f"a request_id has 1 to {MAX_REQUEST_ID} characters, not {len(request_id)}")


def check_seconds(seconds: float) -> None:
    """Raise ValueError unless `seconds` is a finite number of at least 0."""
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"seconds must be a number of at least 0, not {seconds}")


def one_at_a_time(session: Session, key: str | None) -> None:
    """Let nobody else past this call with the same key until our transaction ends, so a repeated request that
    arrives while the first still runs sees its result. SQLite's write lock already does that."""
    if key is not None and session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(clean_text(key), 0))))
