"""Everything that is one learner's: as one value to keep or carry elsewhere, back from it, and gone.

Import merges: what is here already stays as it is, with the further one of two states of reading, cards and quizzes.
Files, their names and other formats are left to the tutor.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, delete, insert, select, update
from sqlalchemy.orm import Session

from db import study
from db.feedback import OPTED_OUT, opted_out, withdraw_all
from db.models import FeedbackRequestRow, FeedbackRow, TurnRow
from db.portable_fields import FORMAT, REF_OF, REQUESTS, TABLES, VERSION, Entry, PortableError, Table, checked
from db.statements import batches, one_at_a_time

__all__ = ["PortableError", "delete_learner_data", "export_learner", "import_learner"]

Ids = dict[str, dict[int, int]]  # of each table: from one numbering to the other


def export_learner(session: Session, learner_id: int) -> dict[str, Any]:
    """All of a learner's data as plain JSON values: deleted and hidden things too, settings and documents not.

    Equal content gives equal exports. Raises NotFound.
    """
    learner = study.get_learner(session, learner_id)
    data: dict[str, Any] = {"format": FORMAT, "version": VERSION, "learner": learner.name}
    numbers: Ids = {}
    for table in TABLES:
        rows = session.scalars(_mine(select(table.row), table, learner_id).order_by(_column(table, "id")))
        names = [column.name for column in table.columns]
        entries = [{name: getattr(row, name) for name in names} for row in rows]
        numbers[table.name] = {entry["id"]: number for number, entry in enumerate(entries, start=1)}
        _translate(table, entries, numbers)
        for entry in entries:
            if table.name == "reviews" and entry["attempt_id"] is not None:
                entry["request_id"] = None  # it is found by its attempt
            for name, value in entry.items():
                if isinstance(value, datetime):
                    entry[name] = value.isoformat()
        data[table.name] = entries
    requests = select(FeedbackRequestRow).join(FeedbackRow).where(FeedbackRow.learner_id == learner_id)
    by_feedback: dict[int, list[str]] = defaultdict(list)
    for request in session.scalars(requests.order_by(FeedbackRequestRow.request_id)):
        by_feedback[numbers["feedback"][request.feedback_id]].append(request.request_id)
    for entry in data["feedback"]:
        entry[REQUESTS] = sorted(by_feedback[entry["id"]])
    return data


def import_learner(session: Session, learner_id: int, data: Any) -> dict[str, int]:
    """Add what an export holds to this learner's data; the number of rows added to each table.

    Importing the same twice adds nothing the second time. A request_id that another learner holds is dropped.
    Raises PortableError before anything is written, NotFound.
    """
    study.get_learner(session, learner_id)
    tables = checked(data)
    one_at_a_time(session, f"import for learner {learner_id}")
    ids: Ids = {}
    added: dict[str, int] = {}
    for table in TABLES:
        entries = tables[table.name]
        _drop_foreign_requests(session, table, learner_id, entries)
        numbers = [entry["id"] for entry in entries]
        # A turn may name an earlier one, whose new id isn't known before both are written.
        replaces = [entry.pop("replaces", None) for entry in entries]
        _translate(table, entries, ids)
        found = _find(session, table, learner_id, entries)
        new = [entry for entry, known in zip(entries, found, strict=True) if known is None]
        if table.name == "turns":
            _fit_ordinals(session, learner_id, new)
        if table.name == "feedback":
            _fit_fates(session, learner_id, new)
        written = iter(_insert(session, table, learner_id, new))
        ids[table.name] = {
            number: next(written) if known is None else known
            for number, known in zip(numbers, found, strict=True)
        }
        for number, replaced, known in zip(numbers, replaces, found, strict=True):
            if known is None and replaced is not None:
                this = ids["turns"][number]
                session.execute(
                    update(TurnRow).where(TurnRow.id == this).values(replaces=ids["turns"][replaced])
                )
        added[table.name] = len(new)
    session.expire_all()
    return added


def delete_learner_data(session: Session, learner_id: int) -> dict[str, int]:
    """Delete for good all that `export_learner` gives; the number of rows deleted. The learner's name stays.

    Data sets that the offline trainer made from feedback, and backups, are files of their own and stay, too; the
    data sets and the adapters trained on them are marked.
    """
    withdraw_all(session, learner_id)
    gone: dict[str, int] = {}
    for table in reversed(TABLES):
        result = cast("CursorResult[Any]", session.execute(_mine(delete(table.row), table, learner_id)))
        gone[table.name] = result.rowcount
    session.expire_all()
    return {table.name: gone[table.name] for table in TABLES}


def _translate(table: Table, entries: list[Entry], numbers: Ids) -> None:
    """Replace the entries' references, and on export their own ids, by the numbers of the other side."""
    references = table.references | ({"id": table.name} if table.name in numbers else {})
    for entry in entries:
        for name, target in references.items():
            if entry.get(name) is not None:
                entry[name] = numbers[target][entry[name]]
        if table.name == "events" and entry["kind"] in REF_OF and entry["ref"] is not None:
            # Without a known one, what it was about was deleted; the time it took stays.
            ref = int(entry["ref"]) if entry["ref"].isdecimal() else 0
            known = numbers[REF_OF[entry["kind"]]].get(ref)
            entry["ref"] = None if known is None else str(known)


def _drop_foreign_requests(session: Session, table: Table, learner_id: int, entries: list[Entry]) -> None:
    if "request_id" not in table.stored.columns:
        return
    wanted = {entry["request_id"] for entry in entries} | {
        request_id for entry in entries for request_id in entry.get(REQUESTS, ())
    }
    held: set[str] = set()
    for batch in batches(wanted - {None}):
        if table.row is FeedbackRow:
            column = FeedbackRequestRow.request_id
            statement = select(column).join(FeedbackRow).where(FeedbackRow.learner_id != learner_id)
        else:
            column = _column(table, "request_id")
            statement = select(column).where(_column(table, "learner_id") != learner_id)
        held.update(session.scalars(statement.where(column.in_(batch))))
    for entry in entries:
        if entry["request_id"] in held:
            entry["request_id"] = None
        if REQUESTS in entry:
            entry[REQUESTS] = [request_id for request_id in entry[REQUESTS] if request_id not in held]


def _find(session: Session, table: Table, learner_id: int, entries: list[Entry]) -> list[int | None]:
    """For each entry the id of the row that is the same thing, brought up to the entry's state; None if new."""
    names = {"id", *table.identity, *_MERGED.get(table.name, ())}
    if "request_id" in table.stored.columns:
        names.add("request_id")
    columns = [_column(table, name) for name in sorted(names)]
    statement = _mine(select(*columns), table, learner_id).order_by(_column(table, "id"))
    rows: dict[int, Entry] = {row.id: dict(row._mapping) for row in session.execute(statement)}
    found: list[int | None] = [None] * len(entries)
    if ("request_id",) in table.unique:
        by_request = {row["request_id"]: row_id for row_id, row in rows.items() if row["request_id"]}
        found = [by_request.get(entry["request_id"]) for entry in entries]
    taken = set(found)
    by_key: dict[tuple[Any, ...], deque[int]] = defaultdict(deque)
    for row_id, row in rows.items():
        if row_id not in taken:
            by_key[_key(table, row)].append(row_id)
    for place, entry in enumerate(entries):
        alike = by_key[_key(table, entry)]
        if found[place] is None and alike:
            found[place] = alike.popleft()
        known = found[place]
        if known is not None and table.name in _MERGED:
            here = {name: rows[known][name] for name in _MERGED[table.name]}
            merged = _FURTHER[table.name](here, {name: entry[name] for name in here})
            if merged != here:
                session.execute(update(table.row).where(_column(table, "id") == known).values(merged))
    return found


def _key(table: Table, values: Mapping[str, Any]) -> tuple[Any, ...]:
    if table.row is FeedbackRow and values["turn_id"] is not None:
        return (values["turn_id"],)
    if table.name == "events" and values["kind"] in REF_OF:
        return values["kind"], values["page"], values["at"]  # `ref` may have been deleted on one side
    return tuple(values[name] for name in table.identity)


def _further_reading(here: Entry, there: Entry) -> Entry:
    return {
        "seconds": max(here["seconds"], there["seconds"]),
        "read": here["read"] or there["read"],
        "first_at": min(here["first_at"], there["first_at"]),
        "last_at": max(here["last_at"], there["last_at"]),
    }


def _later_memory(here: Entry, there: Entry) -> Entry:
    last, other = here["last_review"], there["last_review"]
    return there if other is not None and (last is None or other > last) else here


# What of a row that is here already may move on to the state of the import.
_MERGED = {
    "reading": ("seconds", "read", "first_at", "last_at"),
    "quizzes": ("finished_at",),
    "cards": ("state", "step", "stability", "difficulty", "due", "last_review", "lapses"),
    "events": ("seconds", "ref"),
}
_FURTHER: dict[str, Callable[[Entry, Entry], Entry]] = {
    "reading": _further_reading,
    "quizzes": lambda here, there: {"finished_at": here["finished_at"] or there["finished_at"]},
    "cards": _later_memory,
    "events": lambda here, there: {
        "seconds": max(here["seconds"], there["seconds"]),
        "ref": here["ref"] or there["ref"],
    },
}


def _fit_ordinals(session: Session, learner_id: int, new: list[Entry]) -> None:
    """Put new turns of a conversation that went on here, too, after its own."""
    statement = select(TurnRow.conversation_id, TurnRow.ordinal).where(TurnRow.learner_id == learner_id)
    taken: dict[int, set[int]] = defaultdict(set)
    for conversation_id, ordinal in session.execute(statement):
        taken[conversation_id].add(ordinal)
    for entry in new:
        used = taken[entry["conversation_id"]]
        if entry["ordinal"] in used:
            entry["ordinal"] = max(used) + 1
        used.add(entry["ordinal"])


def _fit_fates(session: Session, learner_id: int, new: list[Entry]) -> None:
    """What a data set of another home holds is in none of this one; the learner's refusal holds here, too."""
    out = opted_out(session, learner_id)
    for entry in new:
        if out:
            entry.update(fate="withdrawn", fate_reason=OPTED_OUT)
        elif entry["fate"] in ("in_dataset", "in_adapter"):
            entry.update(fate="queued", fate_reason=None)


def _insert(session: Session, table: Table, learner_id: int, new: list[Entry]) -> list[int]:
    """Write the entries in their order; their ids."""
    if not new:
        return []
    rows = [
        {name: value for name, value in entry.items() if name not in ("id", REQUESTS)}
        | {"learner_id": learner_id}
        for entry in new
    ]
    statement = insert(table.row).returning(_column(table, "id"), sort_by_parameter_order=True)
    ids = list(session.scalars(statement, rows))
    requests = {
        request_id: row_id
        for entry, row_id in zip(new, ids, strict=True)
        for request_id in entry.get(REQUESTS, ())
    }
    column = FeedbackRequestRow.request_id
    for batch in batches(requests):
        known = set(session.scalars(select(column).where(column.in_(batch))))
        session.add_all(
            FeedbackRequestRow(request_id=request_id, feedback_id=requests[request_id])
            for request_id in batch
            if request_id not in known
        )
    session.flush()
    return ids


def _mine(statement: Any, table: Table, learner_id: int) -> Any:
    return statement.where(_column(table, "learner_id") == learner_id)


def _column(table: Table, name: str) -> Any:
    return getattr(table.row, name)
