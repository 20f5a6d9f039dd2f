"""Worker: our generator, alone."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from tests.bench.worker import Answer, row, serve


def prepare() -> Answer:
    from tutor.models import load_generator
    from tutor.settings import Settings

    generator = load_generator(Settings(home=Path(sys.argv[1]), threads=int(sys.argv[2])))
    print("precision", getattr(generator, "precision", "?"), generator.identity, file=sys.stderr)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        draft = generator.stream(request["messages"], max_new_tokens=request["tokens"])
        pieces, times = [], []
        for piece in draft:
            pieces.append(piece)
            times.append(time.perf_counter() - start)
        measured = row(times, time.perf_counter() - start, draft.usage.prompt, draft.usage.completion)
        model = {"messages": request["messages"], "tokens": draft.usage.completion, "row": measured}
        return {"row": measured, "model": model, "note": "".join(pieces)}

    return answer


if __name__ == "__main__":
    serve(prepare)
