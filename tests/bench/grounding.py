"""Measures the sentence check: `python -m tests.bench grounding`.

On labelled pairs of evidence and a drafted sentence, beside the rules without the judge and a plain cosine. The judge's
threshold was chosen on the development pages. "Shown wrongly" is the share of unsupported sentences that pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval import grounding
from retrieval.embedder import load_embedder
from retrieval.entailment import Entailment
from retrieval.evaluate import estimate, with_interval
from retrieval.evidence import EvidenceSentence
from retrieval.records import Passage, Sentence, Vectors
from tests.bench.fitting import read
from tutor.settings import SHIPPED_EMBEDDER

PAIRS = Path(__file__).parents[1] / "data" / "grounding_pairs.jsonl"
BASELINE = 0.8  # cosine from which the plain baseline shows a sentence


def main(arguments: Sequence[str]) -> int:
    """Measure and print tables. Returns the exit code."""
    embedder, judge = load_embedder(SHIPPED_EMBEDDER), Entailment()
    lines = read(PAIRS)
    cases = []
    for line in lines:
        vectors = embedder.encode([line["sentence"], *line["evidence"]])
        evidence = [_item(text, vector) for text, vector in zip(line["evidence"], vectors[1:], strict=True)]
        judged = judge.judge(grounding.pairs_to_judge(line["sentence"], evidence))
        cases.append((line, vectors[0], evidence, judged))
    print(
        "| pairs | check | supported: shown (recall) | shown: supported (precision) | unsupported: shown wrongly |"
    )
    print("|---|---|---|---|---|")
    for split in ("dev", "test"):
        part = [case for case in cases if case[0]["split"] == split]
        for name, check in CHECKS.items():
            shown = [check(*case) for case in part]
            print(_row(f"{split} ({len(part)})", name, [case[0] for case in part], shown))
    print("\n| kind (test) | n | shown |\n|---|---|---|")
    part = [case for case in cases if case[0]["split"] == "test"]
    for kind in dict.fromkeys(case[0]["kind"] for case in part):
        shown = [_judged(*case) for case in part if case[0]["kind"] == kind]
        print(f"| {kind} | {len(shown)} | {sum(shown)} |")
    return 0


def _strict(line: dict[str, Any], vector: Vectors, evidence: list[EvidenceSentence], judged: Vectors) -> bool:
    return grounding.check_sentence(line["sentence"], vector, evidence, line["question"]).supported


def _judged(line: dict[str, Any], vector: Vectors, evidence: list[EvidenceSentence], judged: Vectors) -> bool:
    return grounding.check_sentence(line["sentence"], vector, evidence, line["question"], judged).supported


def _cosine(line: dict[str, Any], vector: Vectors, evidence: list[EvidenceSentence], judged: Vectors) -> bool:
    return max(float(vector @ item.vector) for item in evidence) >= BASELINE


CHECKS = {f"cosine {BASELINE}": _cosine, "rules alone": _strict, "rules and judge": _judged}


def _row(split: str, name: str, lines: list[dict[str, Any]], shown: list[bool]) -> str:
    supported = [float(s) for s, line in zip(shown, lines, strict=True) if line["label"] == "supported"]
    wrongly = [float(s) for s, line in zip(shown, lines, strict=True) if line["label"] != "supported"]
    right = [float(line["label"] == "supported") for s, line in zip(shown, lines, strict=True) if s]
    cells = [_share(values) for values in (supported, right, wrongly)]
    return f"| {split} | {name} | {' | '.join(cells)} |"


def _share(values: Sequence[float]) -> str:
    if not values:
        return "–"
    found = estimate(values)
    return with_interval(found.mean, found.low, found.high)


def _item(text: str, vector: Vectors) -> EvidenceSentence:
    sentence = Sentence(0, len(text), text)
    passage = Passage(
        0, 0, "bench", "page.md", "", (), 0, len(text), text, (sentence,), 1, 1.0, 1.0, 1.0, vector[None, :]
    )
    return EvidenceSentence(sentence, passage, 1.0, vector)
