"""What one learner's data looks like outside the database, and the check of every field of it. Reads no database.

Tables and fields are those of `db.models`, so a new column is exported without a word here; what is listed below is
what a column's type doesn't say. Times are ISO text in UTC; an id is the entry's number in its list.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Boolean, Column, Float, Integer, UniqueConstraint
from sqlalchemy import Table as StoredTable

from db.models import (
    CARD_ORIGINS,
    FATES,
    QUIZ_KINDS,
    RATINGS,
    REASONS,
    TURN_STATUSES,
    VERDICTS,
    Base,
    ConversationRow,
    FeedbackRow,
    QuizAttemptRow,
    QuizRow,
    ReadingProgressRow,
    ReviewCardRow,
    ReviewLogRow,
    StudyEventRow,
    TurnRow,
)
from db.statements import MAX_REQUEST_ID
from db.study import ATTEMPT, HINT, REVIEW
from db.types import CleanJson, UtcDateTime, as_utc, clean_json

FORMAT = "study-tutor"
VERSION = 1
REQUESTS = "requests"  # of a feedback: every request that wrote it
REF_OF = {ATTEMPT: "attempts", REVIEW: "reviews"}  # events whose `ref` is an entry of that table
MAX_INT = 2**31 - 1  # what an integer column of PostgreSQL holds

Entry = dict[str, Any]


class PortableError(ValueError):
    """The data can't be imported. One line: which field of which entry, and why; nothing was written."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the export. Two entries with the same `identity` are the same thing; where that can happen twice
    in one learner's data, the first is the first and the second the second."""

    name: str
    row: type[Base]
    identity: tuple[str, ...]

    @property
    def stored(self) -> StoredTable:
        """The table of the database."""
        return cast(StoredTable, self.row.__table__)

    @property
    def columns(self) -> list[Column[Any]]:
        """What is exported: not whose it is, nor which training run used it."""
        left_out = ("learner_id", "dataset_id", "adapter_id")
        return [column for column in self.stored.columns if column.name not in left_out]

    @property
    def references(self) -> dict[str, str]:
        """The columns that refer to a table of the export, and which one."""
        names = {table.stored: table.name for table in TABLES}
        keys = [(column.name, key.column.table) for column in self.columns for key in column.foreign_keys]
        return {name: names[target] for name, target in keys if target in names}

    @property
    def unique(self) -> list[tuple[str, ...]]:
        """What no two of a learner's rows may share."""
        keys = [key for key in self.stored.constraints if isinstance(key, UniqueConstraint)]
        return [tuple(c.name for c in key.columns if c.name != "learner_id") for key in keys]


# In an order in which each refers only to those before it.
TABLES = (
    Table("conversations", ConversationRow, ("created_at", "page")),
    Table("turns", TurnRow, ("conversation_id", "created_at", "question")),
    Table("feedback", FeedbackRow, ("turn_id", "created_at", "question")),
    Table("reading", ReadingProgressRow, ("page", "section")),
    Table("quizzes", QuizRow, ("created_at", "kind", "title")),
    Table("attempts", QuizAttemptRow, ("created_at", "question_key")),
    Table("cards", ReviewCardRow, ("card_key",)),
    Table("reviews", ReviewLogRow, ("card_id", "reviewed_at", "rating")),
    Table("events", StudyEventRow, ("kind", "page", "ref", "at")),
)

_CHOICES = {
    ("turns", "status"): TURN_STATUSES,
    ("feedback", "rating"): RATINGS,
    ("feedback", "reason"): REASONS,
    ("feedback", "fate"): FATES,
    ("quizzes", "kind"): QUIZ_KINDS,
    ("attempts", "verdict"): VERDICTS,
    ("attempts", "override_verdict"): VERDICTS,
    ("cards", "origin"): CARD_ORIGINS,
}
_RANGES: dict[str, tuple[float, float]] = {
    "score": (0, 1),
    "state": (1, 3),
    "stability": (1e-6, math.inf),
    "difficulty": (1, 10),
    "rating": (1, 4),
}
_NOT_EMPTY = {("events", "kind"), ("cards", "card_key")}
_OBJECTS = ("timings_ms", "tokens", "model", "socratic", "before", "data")
_LISTS_OF_TEXT = ("follow_ups", "concepts", REQUESTS)
_BEFORE = ("state", "step", "stability", "difficulty", "due", "last_review", "lapses")


def checked(data: Any) -> dict[str, list[Entry]]:
    """The entries of every table with times as datetimes and text as it can be stored. Raises PortableError."""
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise PortableError(
            f"This is no export of {FORMAT}: its format isn't {FORMAT!r}. Nothing was imported."
        )
    if data.get("version") != VERSION:
        raise PortableError(
            f"version: {_shown(data.get('version'))} is not {VERSION}, the one that this program knows. "
            "Update study-tutor; nothing was imported."
        )
    names = {"format", "version", "learner", *(table.name for table in TABLES)}
    _check_names("the file", set(data), names)
    try:
        tables = {table.name: clean_json(data[table.name]) for table in TABLES}
    except RecursionError:
        raise PortableError("The file is nested too deeply. Nothing was imported.") from None
    _require("learner", isinstance(data["learner"], str), data["learner"], "a text")
    found: dict[str, list[Entry]] = {}
    for table in TABLES:
        entries = tables[table.name]
        _require(table.name, isinstance(entries, list), entries, "a list")
        found[table.name] = [_entry(table, number, entry) for number, entry in enumerate(entries, start=1)]
        _check_keys(table, found)
    return found


def _entry(table: Table, number: int, entry: Any) -> Entry:
    where = f"{table.name}, entry {number}"
    columns = table.columns
    _require(where, isinstance(entry, dict), entry, "an object")
    more = {REQUESTS} if table.name == "feedback" else set()
    _check_names(where, set(entry), {column.name for column in columns} | more)
    checked_entry = {
        column.name: _value(table.name, column, f"{where}, {column.name}", entry[column.name])
        for column in columns
    }
    for name in more:
        _json(f"{where}, {name}", name, entry[name])
        for request_id in entry[name]:
            _request_id(f"{where}, {name}", request_id)
        checked_entry[name] = entry[name]
    _check_together(table.name, where, checked_entry)
    return checked_entry


def _value(table: str, column: Column[Any], where: str, value: Any) -> Any:
    name = column.name
    if value is None:
        _require(where, bool(column.nullable), value, "a value")
        return None
    kind = column.type
    if isinstance(kind, UtcDateTime):
        return _time(where, value)
    if isinstance(kind, CleanJson):
        _json(where, name, value)
    elif isinstance(kind, Boolean):
        _require(where, isinstance(value, bool), value, "true or false")
    elif isinstance(kind, Integer | Float):
        _number(where, name, value, whole=isinstance(kind, Integer))
    else:
        _require(where, isinstance(value, str), value, "a text")
        if (table, name) in _CHOICES:
            choices = _CHOICES[table, name]
            _require(where, value in choices, value, f"one of {', '.join(choices)}")
        if name == "request_id":
            _request_id(where, value)
        if (table, name) in _NOT_EMPTY:
            _require(where, value != "", value, "a text that isn't empty")
    return value


def _number(where: str, name: str, value: Any, *, whole: bool) -> None:
    low, high = _RANGES.get(name, (0, math.inf))
    most = min(high, MAX_INT if whole else sys.float_info.max)
    kinds = int if whole else int | float
    fits = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= most
    bounds = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
    _require(where, fits, value, f"a {'whole ' if whole else ''}number {bounds}")


def _time(where: str, value: Any) -> datetime:
    try:
        return as_utc(datetime.fromisoformat(value))
    except (TypeError, ValueError, OverflowError):
        raise _wrong(where, value, "an ISO time with time zone") from None


def _json(where: str, name: str, value: Any) -> None:
    if name in _OBJECTS:
        _require(where, isinstance(value, dict), value, "an object")
        if name == "before":
            _check_names(where, set(value), set(_BEFORE))
            for part in _BEFORE:
                _before(f"{where}, {part}", part, value[part])
        return
    kind, words = (str, "texts") if name in _LISTS_OF_TEXT else (dict, "objects")
    fits = isinstance(value, list) and all(isinstance(item, kind) for item in value)
    _require(where, fits, value, f"a list of {words}")


def _before(where: str, part: str, value: Any) -> None:
    if value is None and part not in ("state", "due", "lapses"):
        return
    if part in ("due", "last_review"):
        _time(where, value)
    else:
        _number(where, part, value, whole=part not in ("stability", "difficulty"))


def _request_id(where: str, value: str) -> None:
    _require(where, 0 < len(value) <= MAX_REQUEST_ID, value, f"a text of 1 to {MAX_REQUEST_ID} characters")


def _check_together(table: str, where: str, entry: Entry) -> None:
    """What concerns more than one field."""
    if table == "turns" and entry["status"] != "interrupted":
        _require(
            f"{where}, completed_at",
            entry["completed_at"] is not None,
            None,
            "a time, as it isn't interrupted",
        )
    if table == "attempts":
        both = (entry["override_verdict"] is None) == (entry["overridden_at"] is None)
        _require(
            f"{where}, overridden_at",
            both,
            entry["overridden_at"],
            "there if and only if override_verdict is",
        )
    if table == "events" and entry["kind"] == HINT:
        _number(f"{where}, data, level", "level", entry["data"].get("level"), whole=True)


def _check_keys(table: Table, found: dict[str, list[Entry]]) -> None:
    """Ids and what else must differ between entries; references."""
    entries = found[table.name]
    for key in [("id",), *table.unique]:
        seen: dict[tuple[Any, ...], int] = {}
        for number, entry in enumerate(entries, start=1):
            values = tuple(entry[name] for name in key)
            if None not in values and seen.setdefault(values, number) != number:
                raise PortableError(
                    f"{table.name}, entry {number}, {' and '.join(key)}: the same as in entry {seen[values]}. "
                    "Nothing was imported."
                )
    ids = {name: {entry["id"] for entry in others} for name, others in found.items() if name != table.name}
    ids[table.name] = set()  # of the entries before this one
    refs = {kind: {str(known) for known in ids.get(target, ())} for kind, target in REF_OF.items()}
    references = table.references
    for number, entry in enumerate(entries, start=1):
        where = f"{table.name}, entry {number}"
        for name, target in references.items():
            value = entry[name]
            _require(f"{where}, {name}", value is None or value in ids[target], value, f"an id of {target}")
        if table.name == "events" and entry["ref"] is not None and entry["kind"] in refs:
            fits = entry["ref"] in refs[entry["kind"]]
            _require(f"{where}, ref", fits, entry["ref"], f"an id of {REF_OF[entry['kind']]}")
        ids[table.name].add(entry["id"])


def _check_names(where: str, names: set[Any], expected: set[str]) -> None:
    for name in sorted(expected - names):
        raise PortableError(f"{where}, {name}: it is missing. Nothing was imported.")
    for name in sorted(map(str, names - expected)):
        raise PortableError(f"{where}, {_shown(name)}: there is no such field. Nothing was imported.")


def _require(where: str, fits: bool, value: Any, wanted: str) -> None:
    if not fits:
        raise _wrong(where, value, wanted)


def _wrong(where: str, value: Any, wanted: str) -> PortableError:
    return PortableError(f"{where}: {_shown(value)} is not {wanted}. Nothing was imported.")


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
