"""Reads feedback for a data set: the one place where `finetune` looks into learners' rows."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING

from db import conversations
from db.feedback import list_feedback
from finetune.dataset import Item

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def collect(session: Session, since: datetime | None = None) -> list[Item]:
    """All feedback since `since` (aware UTC), with the messages that its turn's model was sent."""
    items = []
    for row in list_feedback(session, since=since):
        group = "question-" + hashlib.sha256(row.question.casefold().encode("utf-8", "replace")).hexdigest()
        messages = row.messages or []
        if row.turn_id is not None:
            turn = conversations.get_turn(session, row.turn_id)
            if turn is not None:  # else the learner deleted it, and the rating stands on its own
                group = f"conversation-{turn.conversation_id}"
                messages = messages or turn.messages
        items.append(
            Item(
                feedback_id=row.id,
                learner_id=row.learner_id,
                group=group,
                messages=tuple(messages),
                answer=row.answer,
                rating=row.rating,
                correction=row.correction,
            )
        )
    return items
