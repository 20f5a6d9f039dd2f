"""Data sets and adapters: what they were made from, which is served, and what was served before.

An adapter whose data set holds feedback that was withdrawn since is `withdrawn`: served on if it was, never promoted
anew. That is read off `dataset_items`, so no path that withdraws feedback can forget an adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db import models
from db.errors import DatabaseError, NotFound
from db.statements import batches, insert_for, one_at_a_time
from db.types import utc_now


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """What a generator needs to load an adapter and to refuse a wrong one."""

    name: str
    path: str
    base_model: str
    sha256: str


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A snapshot of training data; `counts` says how many examples of each kind, `withdrawn` how many of the
    feedback it was made from were taken back since, the last of them at `withdrawn_at`."""

    id: int
    sha256: str
    path: str
    counts: dict[str, Any]
    seed: int
    created_at: datetime
    withdrawn: int = 0
    withdrawn_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Adapter:
    """A registered adapter with its manifest (files, hashes, versions) and its report.

    `state` is registered, refused (by the gate) or withdrawn (see the top of this file; retrain).
    """

    id: int
    name: str
    path: str
    base_model: str
    sha256: str
    state: str
    manifest: dict[str, Any]
    report: dict[str, Any]
    job_id: int | None
    dataset_id: int | None
    created_at: datetime
    withdrawn: int = 0
    withdrawn_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Promotion:
    """One switch of what is served; `adapter` None is the base model alone."""

    id: int
    adapter: str | None
    reason: str
    rollback: bool
    created_at: datetime


# -- data sets ---------------------------------------------------------------------------------------------------


def put_dataset(
    session: Session,
    sha256: str,
    path: str,
    counts: Mapping[str, Any],
    seed: int,
    feedback_ids: Iterable[int] = (),
) -> DatasetRow:
    """Register a snapshot and the feedback in it. The same content again returns the first registration."""
    insertion = insert_for(session, models.DatasetRow).values(
        sha256=sha256, path=path, counts=dict(counts), seed=seed, created_at=utc_now()
    )
    session.execute(insertion.on_conflict_do_nothing(index_elements=["sha256"]))
    statement = select(models.DatasetRow).where(models.DatasetRow.sha256 == sha256)
    row = session.scalars(statement).one()
    for batch in batches(sorted(set(feedback_ids))):
        # Locked, so that whoever withdraws one of them meanwhile waits and then finds it in here.
        found = select(models.FeedbackRow.id, models.FeedbackRow.fate)
        found = found.where(models.FeedbackRow.id.in_(batch)).with_for_update()
        here = {feedback_id for feedback_id, fate in session.execute(found) if fate != "withdrawn"}
        items = [
            {
                "dataset_id": row.id,
                "feedback_id": feedback_id,
                "withdrawn_at": None if feedback_id in here else utc_now(),
            }
            for feedback_id in batch
        ]
        session.execute(insert_for(session, models.DatasetItemRow).values(items).on_conflict_do_nothing())
    return _dataset(row, *_withdrawn(session, [row.id]).get(row.id, (0, None)))


def list_datasets(session: Session) -> list[DatasetRow]:
    """All data sets, newest first."""
    rows = list(session.scalars(select(models.DatasetRow).order_by(models.DatasetRow.id.desc())))
    marks = _withdrawn(session)
    return [_dataset(row, *marks.get(row.id, (0, None))) for row in rows]


def feedback_of(session: Session, dataset_id: int) -> list[int]:
    """The ids of the feedback in a data set, withdrawn ones too."""
    item = models.DatasetItemRow
    return list(
        session.scalars(
            select(item.feedback_id).where(item.dataset_id == dataset_id).order_by(item.feedback_id)
        )
    )


def mark_withdrawn(session: Session, feedback_ids: Iterable[int], *, back: bool = False) -> None:
    """Note in every data set with one of these that it was taken back; `back`: that it may be used again."""
    item = models.DatasetItemRow
    for batch in batches(sorted(set(feedback_ids))):
        marked = item.withdrawn_at.is_not(None) if back else item.withdrawn_at.is_(None)
        change = update(item).where(item.feedback_id.in_(batch), marked)
        session.execute(change.values(withdrawn_at=None if back else utc_now()))


# -- adapters ----------------------------------------------------------------------------------------------------


def register_adapter(
    session: Session,
    *,
    name: str,
    path: str,
    base_model: str,
    sha256: str,
    state: str = "registered",
    manifest: Mapping[str, Any],
    report: Mapping[str, Any],
    job_id: int | None = None,
    dataset_id: int | None = None,
) -> Adapter:
    """Note an adapter that stands complete in its folder; `sha256` is that of its weights file.

    Raises DatabaseError if the name is taken, ValueError for an unknown state.
    """
    _known(state)
    added = session.scalar(
        insert_for(session, models.AdapterRow)
        .values(
            name=name,
            path=path,
            base_model=base_model,
            sha256=sha256,
            state=state,
            manifest=dict(manifest),
            report=dict(report),
            job_id=job_id,
            dataset_id=dataset_id,
            created_at=utc_now(),
        )
        .on_conflict_do_nothing(index_elements=["name"])
        .returning(models.AdapterRow.id)
    )
    if added is None:
        raise DatabaseError(f"There is an adapter {name!r} already; choose another name.")
    return _adapter(session, session.get_one(models.AdapterRow, added))


def offer_adapter(session: Session, *, name: str, reason: str, **values: Any) -> None:
    """Register an adapter (`values` as in `register_adapter`) that nobody asked for, and serve it if nothing was
    ever promoted. One that is there already stays as it is."""
    one_at_a_time(session, "promotion")
    if _named(session, name) is None:
        register_adapter(session, name=name, **values)
        if not promotions(session):
            _append(session, name, reason, rollback=False)


def set_path(session: Session, name: str, path: str) -> None:
    """Note that the folder of an adapter is elsewhere now. Raises NotFound."""
    row = _named(session, name)
    if row is None:
        raise _no_adapter(name)
    row.path = path
    session.flush()


def get_adapter(session: Session, name: str) -> Adapter | None:
    """The adapter of this name with all that is known of it, or None."""
    row = _named(session, name)
    return None if row is None else _adapter(session, row)


def find_adapter(session: Session, name: str) -> ServedAdapter | None:
    """The adapter of this name as a generator needs it, served or not."""
    row = _named(session, name)
    return None if row is None else _copy(ServedAdapter, row)


def list_adapters(session: Session) -> list[Adapter]:
    """All adapters, newest first."""
    rows = list(session.scalars(select(models.AdapterRow).order_by(models.AdapterRow.id.desc())))
    return [_adapter(session, row) for row in rows]


def next_name(session: Session) -> str:
    """A name that no adapter has: v1, v2, ..."""
    taken = set(session.scalars(select(models.AdapterRow.name)))
    return next(name for number in range(1, len(taken) + 2) if (name := f"v{number}") not in taken)


def set_report(
    session: Session, name: str, report: Mapping[str, Any], *, state: str | None = None
) -> Adapter:
    """Replace the report of an adapter, and the state that rests on it; None leaves the state.

    Raises NotFound, ValueError for an unknown state.
    """
    row = _named(session, name)
    if row is None:
        raise _no_adapter(name)
    row.report = dict(report)
    if state is not None:
        row.state = _known(state)
    session.flush()
    return _adapter(session, row)


# -- what is served ----------------------------------------------------------------------------------------------


def served_adapter(session: Session) -> ServedAdapter | None:
    """The adapter that the newest promotion names; None: the base model alone."""
    newest = select(models.PromotionRow.adapter_id).order_by(models.PromotionRow.id.desc()).limit(1)
    adapter_id = session.scalar(newest)
    row = None if adapter_id is None else session.get(models.AdapterRow, adapter_id)
    return None if row is None else _copy(ServedAdapter, row)


def promotions(session: Session) -> list[Promotion]:
    """All switches, newest first."""
    statement = (
        select(models.PromotionRow, models.AdapterRow.name)
        .outerjoin(models.AdapterRow)
        .order_by(models.PromotionRow.id.desc())
    )
    return [_promotion(row, name) for row, name in session.execute(statement)]


def standing(history: Iterable[Promotion]) -> list[str | None]:
    """What a rollback can go back to, the newest last and the served one itself included. Pure; takes
    `promotions` as it gives them."""
    stack: list[str | None] = [None]
    for one in sorted(history, key=lambda promotion: promotion.id):
        if not one.rollback:
            stack.append(one.adapter)
            continue
        while len(stack) > 1:  # it may have passed over some, see `rollback`
            stack.pop()
            if stack[-1] == one.adapter:
                break
    return stack


def promote(session: Session, name: str | None, reason: str, *, force: bool = False) -> Promotion:
    """Serve this adapter from now on, None for the base model alone. What is served already stays: no new row.

    Raises NotFound; DatabaseError for one that the gate refused or that holds withdrawn feedback, unless `force`.
    """
    one_at_a_time(session, "promotion")
    adapter = None if name is None else get_adapter(session, name)
    if name is not None and adapter is None:
        raise _no_adapter(name)
    if adapter is not None and adapter.state != "registered" and not force:
        why = (
            f"contains withdrawn feedback ({adapter.withdrawn} of its ratings); retrain"
            if adapter.withdrawn
            else f"is {adapter.state}"
        )
        raise DatabaseError(f"The adapter {adapter.name} {why}. What is served stays as it is.")
    history = promotions(session)
    if history and history[0].adapter == name:
        return history[0]
    return _append(session, name, reason, rollback=False)


def rollback(session: Session, reason: str) -> Promotion:
    """Serve again what was served before the newest promotion that still stands; called again, what was before that.

    An adapter that holds withdrawn feedback is passed over. Raises DatabaseError if nothing stands.
    """
    one_at_a_time(session, "promotion")
    stack = standing(promotions(session))
    if len(stack) == 1:
        raise DatabaseError("Nothing is promoted, so there is nothing to roll back.")
    stack.pop()
    while stack[-1] is not None and _is_withdrawn(session, stack[-1]):
        stack.pop()
    return _append(session, stack[-1], reason, rollback=True)


def _append(session: Session, name: str | None, reason: str, *, rollback: bool) -> Promotion:
    adapter = None if name is None else _named(session, name)
    row = models.PromotionRow(
        adapter_id=None if adapter is None else adapter.id,
        reason=reason,
        created_at=utc_now(),
        rollback=rollback,
    )
    session.add(row)
    session.flush()
    return _promotion(row, name)


def _is_withdrawn(session: Session, name: str) -> bool:
    adapter = get_adapter(session, name)
    return adapter is None or adapter.state == "withdrawn" or adapter.withdrawn > 0


def _named(session: Session, name: str) -> models.AdapterRow | None:
    return session.scalar(select(models.AdapterRow).where(models.AdapterRow.name == name))


def _known(state: str) -> str:
    if state not in models.ADAPTER_STATES:
        raise ValueError(f"unknown state {state!r}; one of {', '.join(models.ADAPTER_STATES)}")
    return state


def _no_adapter(name: str) -> NotFound:
    return NotFound(f"There is no adapter {name!r}; see: python -m finetune list")


def _withdrawn(
    session: Session, dataset_ids: Iterable[int] | None = None
) -> dict[int, tuple[int, datetime | None]]:
    """Of each data set with withdrawn feedback: how many, and when the last of them."""
    item = models.DatasetItemRow
    statement = select(item.dataset_id, func.count(), func.max(item.withdrawn_at))
    statement = statement.where(item.withdrawn_at.is_not(None)).group_by(item.dataset_id)
    if dataset_ids is not None:
        statement = statement.where(item.dataset_id.in_(list(dataset_ids)))
    return {dataset_id: (number, at) for dataset_id, number, at in session.execute(statement)}


def _adapter(session: Session, row: models.AdapterRow) -> Adapter:
    marks = {} if row.dataset_id is None else _withdrawn(session, [row.dataset_id])
    values = {field.name: getattr(row, field.name) for field in fields(Adapter) if hasattr(row, field.name)}
    if row.dataset_id in marks:
        values["withdrawn"], values["withdrawn_at"] = marks[row.dataset_id]
        values["state"] = "withdrawn" if row.state == "registered" else row.state
    return Adapter(**values)


def _dataset(row: models.DatasetRow, withdrawn: int, at: datetime | None) -> DatasetRow:
    values = {
        field.name: getattr(row, field.name) for field in fields(DatasetRow) if hasattr(row, field.name)
    }
    return DatasetRow(**values, withdrawn=withdrawn, withdrawn_at=at)


def _promotion(row: models.PromotionRow, name: str | None) -> Promotion:
    return Promotion(row.id, name, row.reason, row.rollback, row.created_at)


R = TypeVar("R")


def _copy(kind: type[R], row: object) -> R:
    return kind(**{field.name: getattr(row, field.name) for field in fields(kind)})  # type: ignore[arg-type]
