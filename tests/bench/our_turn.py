"""Worker: whole turns, as the command line and the web app run them, over the built-in course."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from tests.bench.worker import Answer, row, serve


def prepare() -> Answer:
    from db.conversations import get_turn
    from tutor.events import DraftDelta, PassagesFound, SentenceChecked, TurnLogged
    from tutor.services import build_services
    from tutor.settings import Settings

    services = build_services(Settings(home=Path(sys.argv[1]), threads=int(sys.argv[2])))
    services.retriever.embedder.encode(["warm"])
    services.tutor.generator_for(None)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        sources_ms = shown_ms = draft_start = None
        pieces: list[float] = []
        result = None
        for event in services.tutor.answer(request["question"], learner_id=services.learner_id):
            now = time.perf_counter()
            if isinstance(event, PassagesFound):
                sources_ms = 1000 * (now - start)
                draft_start = now
            elif isinstance(event, DraftDelta) and draft_start is not None:
                pieces.append(now - draft_start)
            elif isinstance(event, SentenceChecked) and event.sentence.supported and shown_ms is None:
                shown_ms = 1000 * (now - start)
            elif isinstance(event, TurnLogged):
                result = event.result
        total_ms = 1000 * (time.perf_counter() - start)
        assert result is not None
        with services.database.session(readonly=True) as session:
            turn = get_turn(session, result.turn_id)
        assert turn is not None
        tokens, prompt = result.usage.completion, result.usage.prompt
        drafted_s = result.timings_ms.get("generate", 0.0) / 1000
        measured = {
            "retrieve ms": result.timings_ms.get("retrieve"),
            "sources shown ms": sources_ms,
            "first text shown ms": shown_ms,
            "whole turn ms": total_ms,
            "verify ms": result.timings_ms.get("verify"),
            **{k: v for k, v in row(pieces, drafted_s, prompt, tokens).items() if tokens},
        }
        model_row = row(pieces, drafted_s, prompt, tokens) if tokens else {}
        return {
            "row": measured,
            "model": {"messages": turn.messages, "tokens": tokens, "row": model_row},
            "note": f"{result.status}: {result.question} -> {result.answer}",
        }

    return answer


if __name__ == "__main__":
    serve(prepare)
