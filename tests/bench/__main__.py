"""How fast the tutor is here, and how its small networks are fitted. Run from the repository's root:

    python -m tests.bench turn       whole turns: search, evidence, draft, check, database
    python -m tests.bench generator  the model alone, on prompts as the tutor writes them
    python -m tests.bench retrieval  search and ingest at 1,000, 10,000 and 100,000 chunks
    python -m tests.bench reading    the reader on passages nothing was fitted on, beside the nearest sentence
    python -m tests.bench evidence   evidence and coverage in documents nothing was fitted on, searched as a whole
    python -m tests.bench grading --fit | reading --fit | evidence --fit
                                     train the judge, train the reader, fit evidence and coverage; how good they
                                     are is what `study-tutor eval` says
    python -m tests.bench grounding  the sentence check on labelled pairs
    python -m tests.bench finetune   training beside plain TRL; with --beside-chat, beside somebody who chats
    python -m tests.bench documents  search (and answers) on 1,410 pages of Debian's git and PostgreSQL documentation

With `--llama-cpp PYTHON`, the interpreter of an environment that has llama-cpp-python, the same model file answers the
same messages with the same number of tokens and threads in turn, one question by us, one by it, and the ratio of each
pair is shown: other programs on the machine then disturb both alike. Both run in processes of their own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.process import Measured
from tests.bench.prompts import NOTES, QUESTIONS
from tutor.prompt import SYSTEM

HERE = Path(__file__).parent


def main() -> int:
    apart = {
        "grading": "grading",
        "reading": "reading",
        "evidence": "evidence",
        "finetune": "finetune",
        "retrieval": "at_size",
        "grounding": "grounding",
        "documents": "documents",
    }
    if sys.argv[1:2] and sys.argv[1] in apart:
        return import_module(f"tests.bench.{apart[sys.argv[1]]}").main(sys.argv[2:])
    options = _options()
    with tempfile.TemporaryDirectory() as temporary:
        home = options.home or Path(temporary)
        ours = [sys.executable, "-m", f"tests.bench.our_{options.what}", str(home), str(options.threads)]
        with Measured(ours) as first:
            print(f"first start to ready (what the home lacks is made): {first.ready_s:.1f} s")
        theirs = None
        if options.llama_cpp:
            from tutor.shipped import shipped_gguf

            worker = [str(options.llama_cpp), str(HERE / "llama_cpp_worker.py"), str(shipped_gguf())]
            theirs = Measured([*worker, str(options.threads)])
        with Measured(ours) as us:
            rows, pairs = _ask_all(options, us, theirs)
            us.finish()
            _table(rows)
            print(f"{'start to ready':<22}{us.ready_s:>9.1f} s")
            print(f"{'peak memory':<22}{us.peak_mb:>9.0f} MB")
        if theirs:
            theirs.finish()
            print(
                f"\nllama.cpp ({theirs.ready_s:.1f} s to ready, peak {theirs.peak_mb:.0f} MB, same messages and tokens)"
            )
            _table([pair["theirs"] for pair in pairs])
            print("\nours / llama.cpp, pair by pair")
            for name in pairs[0]["ours"]:
                ratios = [p["ours"][name] / p["theirs"][name] for p in pairs if p["theirs"].get(name)]
                if ratios:
                    print(f"{name:<22}{_spread(ratios, 2)}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["turn", "generator"])
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="ask every question N times")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--tokens", type=int, default=40, metavar="N", help="longest answer (generator)")
    parser.add_argument(
        "--home", type=Path, help="keep the converted model there; a temporary folder otherwise"
    )
    parser.add_argument("--llama-cpp", type=Path, metavar="PYTHON", help="compare with llama-cpp-python")
    return parser.parse_args()


def _ask_all(
    options: argparse.Namespace, us: Measured, theirs: Measured | None
) -> tuple[list[Any], list[Any]]:
    """Every question to us, and what we sent our model to them: (our rows, pairs of comparable rows)."""
    asked: list[dict[str, Any]] = [{"question": question} for question in QUESTIONS]
    if options.what == "generator":
        asked = [{"messages": _messages(*entry), "tokens": options.tokens} for entry in NOTES]
    for worker in [us, *([theirs] if theirs else [])]:  # not measured: whatever is loaded with the first use
        worker.ask({"messages": _messages(*NOTES[-1]), "tokens": 4, "question": QUESTIONS[-1]})
    rows, pairs = [], []
    for number, request in enumerate(asked * options.repeat):
        answer = us.ask(request)
        rows.append(answer["row"])
        model = answer["model"]
        print(f"{number + 1:>3} {answer['note']}", file=sys.stderr)
        if theirs and model["tokens"]:
            reply = theirs.ask({"messages": model["messages"], "tokens": model["tokens"]})
            pairs.append({"ours": model["row"], "theirs": reply["row"]})
    return rows, pairs


def _messages(question: str, notes: list[str]) -> list[dict[str, str]]:
    text = "\n".join(f"- {note}" for note in notes)
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"Notes:\n{text}\n\nQuestion: {question}"},
    ]


def _table(rows: list[dict[str, float]]) -> None:
    print(f"{'':<22}{'median':>9}{'min':>9}{'max':>9}   of {len(rows)}")
    for name in rows[0]:
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            print(f"{name:<22}{_spread(values, 1 if name == 'tokens/s' else 0)}")


def _spread(values: list[float], digits: int) -> str:
    return "".join(f"{value:>9.{digits}f}" for value in (median(values), min(values), max(values)))


if __name__ == "__main__":
    sys.exit(main())
