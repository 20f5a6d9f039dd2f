"""Alembic's entry point. `db.upgrade` passes an open connection that is already in a transaction."""

from __future__ import annotations

from typing import Any

from alembic import context

from db.models import Base
from db.upgrade import VERSION_TABLE


def include_object(_object: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
    """Leave the full-text index, which each engine has in its own way, out of comparisons with the models."""
    return not (name or "").startswith(("chunks_fts", "ix_chunks_search_vector")) and (kind, name) != (
        "column",
        "search_vector",
    )


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    include_object=include_object,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
