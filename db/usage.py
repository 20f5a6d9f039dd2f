"""What answering has cost so far, turn by turn: everybody's, and hidden and deleted turns too, for they ran as well."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import TurnRow


@dataclass(frozen=True, slots=True)
class TurnUsage:
    """One turn's measured cost, as it was logged."""

    at: datetime
    timings_ms: dict[str, Any]
    tokens: dict[str, Any]


def turn_usage(session: Session) -> list[TurnUsage]:
    """All turns that ended, oldest first."""
    columns = TurnRow.created_at, TurnRow.timings_ms, TurnRow.tokens
    statement = select(*columns).where(TurnRow.completed_at.is_not(None)).order_by(TurnRow.id)
    return [TurnUsage(*row) for row in session.execute(statement)]
