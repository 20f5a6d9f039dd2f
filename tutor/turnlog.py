"""A turn's result to the database and back: for a repeated `request_id`, and for pages that show old turns.

The scores and words come back; a passage's sentence vectors don't (they belong to the index, not to the log).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from db import conversations
from retrieval.records import Passage
from tutor import wire
from tutor.events import AnswerSentence, Citation, TurnResult
from tutor.generators.protocol import Message, ModelIdentity, Usage

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.conversations import Turn


def save_result(session: Session, result: TurnResult, messages: Sequence[Message], draft: str) -> None:
    """Complete the turn with what is known of it: `messages` exactly as sent, `draft` exactly as written."""
    conversations.complete_turn(
        session,
        result.turn_id,
        status=result.status,
        query=result.query,
        messages=[dict(m) for m in messages],
        draft=draft,
        answer=result.answer,
        sentences=[wire.sentence_json(s, detail=True) for s in result.sentences],
        citations=[wire.citation_json(c, detail=True) for c in result.citations],
        passages=[wire.passage_json(p, detail=True) for p in result.passages],
        follow_ups=list(result.follow_ups),
        timings_ms=result.timings_ms,
        tokens={"prompt": result.usage.prompt, "completion": result.usage.completion},
        model=asdict(result.model),
        error=result.error,
    )


def result_of(turn: Turn) -> TurnResult:
    """The stored turn as a TurnResult."""
    return TurnResult(
        turn_id=turn.id,
        conversation_id=turn.conversation_id,
        status=turn.status,  # type: ignore[arg-type]  # the database checks the same five words
        question=turn.question,
        query=turn.query or turn.question,
        answer=turn.answer,
        sentences=tuple(
            AnswerSentence(s["text"], s["supported"], tuple(s["citations"]), s["origin"], tuple(s["reasons"]))
            for s in turn.sentences
        ),
        citations=tuple(Citation(**c) for c in turn.citations),
        passages=tuple(_passage(p) for p in turn.passages),
        follow_ups=tuple(turn.follow_ups),
        timings_ms=dict(turn.timings_ms),
        usage=Usage(turn.tokens.get("prompt", 0), turn.tokens.get("completion", 0)),
        model=ModelIdentity(
            turn.model.get("base", ""), turn.model.get("adapter"), turn.model.get("weights_sha256", "")
        ),
        error=turn.error,
    )


def _passage(stored: dict) -> Passage:
    heading = stored["heading"]
    return Passage(
        chunk_id=stored["chunk_id"],
        document_id=stored["document_id"],
        source=stored["source"],
        document=stored["document"],
        title=stored["title"],
        heading_path=tuple(heading.split(" › ")) if heading else (),
        start=stored["start"],
        end=stored["end"],
        text=stored["text"],
        sentences=(),
        rank=stored["rank"],
        score=stored["score"],
        dense=stored["dense"],
        lexical=stored["lexical"],
        sentence_vectors=np.zeros((0, 0), np.float32),
    )
