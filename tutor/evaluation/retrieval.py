"""How well search finds the passages that answer: every stage beside plain full text and plain vectors, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from retrieval.evaluate import (
    Estimate,
    estimate,
    ndcg_at,
    paired,
    ranks_of,
    recall_at,
    reciprocal_rank,
    with_interval,
)
from retrieval.retriever import Retriever, Stages
from tutor.agreement import quantile
from tutor.evaluation.questions import Question
from tutor.wire import Json

if TYPE_CHECKING:
    from db.session import Database
    from retrieval.records import Embedder, Passage, Vectors
    from retrieval.retriever import PassageReading, PassageScoring

K = 10  # passages asked for; recall is also given at 1, 3 and 5
FULL = "all stages"
_NONE = Stages(*[False] * len(fields(Stages)))
BASELINES = {
    "full text alone (BM25)": replace(_NONE, fulltext=True),
    "vectors alone": replace(_NONE, dense=True),
    "both, fused by rank": replace(_NONE, dense=True, fulltext=True),
}
STAGE_NAMES = {
    "dense": "vectors",
    "fulltext": "full text",
    "closer_look": "the closer look",
    "reranker": "the reranker",
    "reader": "the reader",
    "neighbours": "joining neighbours",
    "spelling": "mending slips",
    "abbreviations": "spelling out abbreviations",
}


def retrieval_report(
    questions: Sequence[Question],
    database: Database,
    embedder: Embedder,
    reader: PassageReading | None,
    reranker: PassageScoring | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Json:
    """Everything `eval retrieval` prints: for each split and each way to search, its measures; and differences to
    the baselines, question by question. Unanswerable questions have nothing to find and are left out."""
    asked = [question for question in questions if question.answerable and question.gold]
    remembered = RememberedReading(reader) if reader else None
    ways = {**BASELINES, FULL: Stages()}
    ways |= {f"without {STAGE_NAMES[f.name]}": replace(Stages(), **{f.name: False}) for f in fields(Stages)}
    for name, there in (("reader", reader), ("reranker", reranker)):
        if there is None:
            ways.pop(f"without {STAGE_NAMES[name]}")
    found: dict[str, list[list[int]]] = {}
    spent: dict[str, list[float]] = {}
    for number, (name, stages) in enumerate(ways.items()):
        if on_progress:
            on_progress(name, number, len(ways))
        searched = Retriever(database, embedder, reader=remembered, reranker=reranker, stages=stages)
        found[name], spent[name] = _search(searched, asked, embedder)
    return {
        "n": len(asked),
        "embedder": embedder.name,
        "reader": reader.name if reader else None,
        "splits": {split: _split(asked, found, split) for split in dict.fromkeys(q.split for q in asked)},
        "timings_ms": {name: _times(values) for name, values in spent.items()},
    }


class RememberedReading:
    """A reader that reads each passage for a question once, so that the stages beside it are measured quickly."""

    def __init__(self, reader: PassageReading) -> None:
        self._reader = reader
        self._known: dict[tuple[str, int], Vectors] = {}

    @property
    def name(self) -> str:
        return self._reader.name

    def read(self, question: str, passages: Sequence[Passage]) -> list[Vectors]:
        new = [p for p in passages if (question, p.chunk_id) not in self._known]
        for passage, reading in zip(new, self._reader.read(question, new), strict=True):
            self._known[question, passage.chunk_id] = reading
        return [self._known[question, passage.chunk_id] for passage in passages]


def _search(
    retriever: Retriever, questions: Sequence[Question], embedder: Embedder
) -> tuple[list[list[int]], list[float]]:
    ranks, spent = [], []
    for question in questions:
        began = time.perf_counter()
        searched = retriever.rewrite(question.question)
        vector = embedder.encode([searched])[0]
        passages = retriever.retrieve(searched, K, vector=vector)
        spent.append(1000 * (time.perf_counter() - began))
        ranks.append(ranks_of(passages, question.gold))
    return ranks, spent


def _split(asked: Sequence[Question], found: dict[str, list[list[int]]], split: str) -> Json:
    places = [place for place, question in enumerate(asked) if question.split == split]
    relevant = [len({(g.document, g.quote) for g in asked[place].gold}) for place in places]
    ranks = {name: [every[place] for place in places] for name, every in found.items()}
    full = ranks[FULL]

    def against(baseline: str) -> Json:
        theirs = ranks[baseline]
        return {
            "recall@5": estimate_json(paired(_recalls(full, 5), _recalls(theirs, 5))),
            "mrr": estimate_json(paired(*([reciprocal_rank(r) for r in each] for each in (full, theirs)))),
        }

    return {
        "n": len(places),
        "ways": {
            name: {
                **{f"recall@{k}": estimate_json(estimate(_recalls(each, k))) for k in (1, 3, 5, K)},
                "mrr": estimate_json(estimate([reciprocal_rank(r) for r in each])),
                f"ndcg@{K}": estimate_json(
                    estimate([ndcg_at(r, K, n) for r, n in zip(each, relevant, strict=True)])
                ),
            }
            for name, each in ranks.items()
        },
        "all stages minus": {baseline: against(baseline) for baseline in BASELINES},
    }


def _recalls(ranks: Sequence[Sequence[int]], k: int) -> list[float]:
    return [recall_at(found, k) for found in ranks]


def estimate_json(found: Estimate) -> Json:
    """{mean, interval, n}"""
    return {
        "mean": round(found.mean, 4),
        "interval": [round(found.low, 4), round(found.high, 4)],
        "n": found.n,
    }


def _times(values: Sequence[float]) -> Json:
    ordered = sorted(values)
    return {"median": round(quantile(ordered, 0.5), 1), "p95": round(quantile(ordered, 0.95), 1)}


def retrieval_tables(report: Json) -> list[tuple[str, list[str], list[list[str]]]]:
    """The report as (title, headings, rows), for the terminal and for Markdown."""
    tables = []
    for split, part in report["splits"].items():
        measures = ["recall@1", "recall@3", "recall@5", f"recall@{K}", "mrr", f"ndcg@{K}"]
        rows = [[name, *(shown(way[m]) for m in measures)] for name, way in part["ways"].items()]
        tables.append((f"{split}: {part['n']} questions", ["search", *measures], rows))
        rows = [
            [f"all stages − {baseline}", shown(found["recall@5"], sign=True), shown(found["mrr"], sign=True)]
            for baseline, found in part["all stages minus"].items()
        ]
        tables.append((f"{split}: differences, question by question", ["", "recall@5", "mrr"], rows))
    return tables


def shown(found: Json | None, *, sign: bool = False) -> str:
    """What `estimate_json` gave, as the tables have it."""
    return "–" if found is None else with_interval(found["mean"], *found["interval"], sign=sign)
