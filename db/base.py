"""What every table shares: the naming of constraints, the column types, small makers of columns and checks."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, ForeignKey, LargeBinary, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.types import CleanJson, CleanText, UtcDateTime

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
ROWID = {"sqlite_autoincrement": True}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: CleanText,
        datetime: UtcDateTime,
        bytes: LargeBinary,
        dict[str, Any]: CleanJson,
        list[Any]: CleanJson,
    }


def one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    """The check that a column holds one of these words."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=column)


def learner_key() -> Mapped[int]:
    """The column that says whose row it is; the row goes with its learner."""
    return mapped_column(ForeignKey("learners.id", ondelete="CASCADE"))
