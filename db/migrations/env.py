"""Alembic's entry point. `db.upgrade` passes an open connection that is already in a transaction."""

from __future__ import annotations

from typing import Any

from alembic import context

from db.models import Base
from db.upgrade import VERSION_TABLE


def include_object(_object: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
    """Leave out of comparisons with the models the full-text index, which each engine has in its own way, and keys
    that came with an added column: SQLAlchemy reads neither their name nor their ON DELETE back from SQLite."""
    if kind == "foreign_key_constraint" and name in (None, "fk_quiz_attempts_quiz_id_quizzes"):
        return False
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
