"""How well the reader reads, and its training: `python -m tests.bench reading`, and the same with `--fit`.

It learns from passages on other subjects (`reading_passages.jsonl`) and from the course's development pages; no test
page, nor any question about one, is among what it sees. It is measured on `reading_unseen.jsonl`, passages of yet other
documents that nothing was trained or fitted on, beside the embedder's nearest sentence, which it has to beat.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.bench.fitting import ALPHA, RANK, fit, read, save

DATA = Path(__file__).parents[1] / "data"
PASSAGES = DATA / "reading_passages.jsonl"
UNSEEN = DATA / "reading_unseen.jsonl"
QUESTIONS = DATA / "course_questions.jsonl"
RATE = 1e-3
SMOOTHING = 0.02
POSITIVE = 2.0  # what a missed sentence costs, in wrongly taken ones
KEPT_BACK = 6  # every sixth passage
STRANGERS = 3  # questions of other passages that each passage is asked, most of them near in meaning
NEAREST = 12  # how many of the nearest questions a near stranger is drawn from

RESAMPLES = 300

# (question, heading, sentences, whether each answers)
Example = tuple[str, str, list[str], list[bool]]
# for each question of a passage, answered ones first, what each sentence is given
Scoring = Callable[[dict[str, Any], list[str]], Sequence[npt.NDArray[np.float32]]]


def main(argv: Sequence[str]) -> int:
    """Measure, or train and write the weights with their card."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench reading", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--weights", type=Path, default=None, metavar="FILE", help="measure these, not the shipped ones"
    )
    parser.add_argument("--fit", action="store_true", help="train, from nothing or --start")
    parser.add_argument(
        "--start", type=Path, default=None, metavar="FILE", help="go on from these weights, at half the rate"
    )
    parser.add_argument("--epochs", type=int, default=1, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--rank", type=int, default=RANK, metavar="N")
    parser.add_argument(
        "--out", type=Path, default=None, metavar="FILE", help="instead of the shipped weights"
    )
    options = parser.parse_args(argv)
    if not options.fit:
        measure(options.weights)
        return 0
    train(options.epochs, options.seed, options.rank, options.out, options.start)
    return 0


def train(epochs: int, seed: int, rank: int, out: Path | None, start: Path | None) -> None:
    import torch

    from retrieval.embedder import shipped_folder
    from retrieval.fitted import BACKBONE, sha256
    from retrieval.passage_reader import PassageReader
    from retrieval.reader import WEIGHTS

    torch.manual_seed(seed)
    chance = random.Random(seed)
    shape: dict[str, Any] = {"rank": rank, "alpha": ALPHA * rank / RANK}
    backbone = shipped_folder(BACKBONE)
    model = PassageReader.open(backbone, start, **shape) if start else PassageReader(backbone, **shape)
    data = examples(chance)
    rate = RATE / 2 if start else RATE
    losses = fit(model, data, _loss, epochs=epochs, rate=rate, chance=chance, length=_length, batch=24)
    checked = validation(model)
    print("after:", checked)
    about = {
        "kept_back": checked,
        "started_from_sha256": sha256(start) if start else None,
        "seed": seed,
        "examples": len(data),
        "epochs": epochs,
        "loss_by_epoch": losses,
    }
    save(model, out or WEIGHTS, [PASSAGES, QUESTIONS], about)


def measure(weights: Path | None) -> None:
    """Print how the reader and the embedder's nearest sentence do on the unseen passages, and how far they differ."""
    from retrieval.embedder import load_embedder, shipped_folder
    from retrieval.fitted import BACKBONE
    from retrieval.passage_reader import PassageReader
    from retrieval.reader import WEIGHTS
    from tutor.settings import SHIPPED_EMBEDDER

    embedder = load_embedder(SHIPPED_EMBEDDER)

    def nearest(p: dict[str, Any], asked: list[str]) -> Sequence[npt.NDArray[np.float32]]:
        return list(embedder.encode(asked) @ embedder.encode(p["sentences"]).T)

    model = PassageReader.load(shipped_folder(BACKBONE), weights or WEIGHTS, rank=RANK, alpha=ALPHA)
    passages = read(UNSEEN)
    ways = {"nearest sentence": judged(nearest, passages), "reader": judged(_reading(model), passages)}
    asked, silent = (sum(len(p[kind]) for p in passages) for kind in ("questions", "unanswered"))
    print(f"{len(passages)} passages, {asked} questions that they answer, {silent} that they don't")
    chance = np.random.default_rng(0)
    samples = [chance.integers(len(passages), size=len(passages)) for _ in range(RESAMPLES)]
    # Of each way the rates on all passages, then those on every sample.
    found = {
        name: [rates(given), *(rates([given[i] for i in sample]) for sample in samples)]
        for name, given in ways.items()
    }
    reader, likeness = found["reader"], found["nearest sentence"]
    found["difference"] = [
        {kind: one[kind] - other[kind] for kind in one} for one, other in zip(reader, likeness, strict=True)
    ]
    for name, (whole, *drawn) in found.items():
        print(f"{name}: {', '.join(_shown(kind, whole[kind], [d[kind] for d in drawn]) for kind in whole)}")


def _shown(kind: str, value: float, drawn: Sequence[float]) -> str:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return f"{kind} {value:.3f} ({low:.3f} to {high:.3f})"


@dataclass(frozen=True)
class Judged:
    """One passage: whether the favourite sentence of each answered question answers it, and the best number that each
    question, answered or not, got."""

    first: list[bool]
    answered: list[float]
    silent: list[float]


def judged(scoring: Scoring, passages: Sequence[dict[str, Any]]) -> list[Judged]:
    """What a way of scoring sentences makes of every passage's questions."""
    found = []
    for p in passages:
        rows = scoring(p, [q["q"] for q in p["questions"]] + p["unanswered"])
        best = [float(row.max()) for row in rows]
        first = [int(row.argmax()) in q["a"] for q, row in zip(p["questions"], rows, strict=False)]
        found.append(Judged(first, best[: len(first)], best[len(first) :]))
    return found


def validation(model: Any) -> dict[str, float]:
    """On the passages kept back from training, as in `rates`."""
    model.eval()
    found = rates(judged(_reading(model), kept_back()))
    model.train()
    return {name: round(rate, 3) for name, rate in found.items()}


def _reading(model: Any) -> Scoring:
    import torch

    from retrieval.embedder import computes_in_half

    half = computes_in_half()  # as when it serves

    def score(p: dict[str, Any], asked: list[str]) -> Sequence[npt.NDArray[np.float32]]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            rows = model(asked, [(_heading(p), p["sentences"])] * len(asked))
        return [row.float().numpy() for row in rows]

    return score


def rates(judgements: Sequence[Judged]) -> dict[str, float]:
    """How often the favourite sentence is one that answers, and how often a question that is answered gets a higher
    best number than one that is not (the area under the ROC curve)."""
    from sklearn.metrics import roc_auc_score

    first = [right for j in judgements for right in j.first]
    answered = [best for j in judgements for best in j.answered]
    silent = [best for j in judgements for best in j.silent]
    auc = roc_auc_score([1] * len(answered) + [0] * len(silent), answered + silent)
    return {"first_answers": sum(first) / len(first), "auc": float(auc)}


def _heading(p: dict[str, Any]) -> str:
    return " › ".join(dict.fromkeys(name for name in (p["title"], p["heading"]) if name))


def _loss(model: Any, part: list[Example]) -> Any:
    import torch

    logits = model([e[0] for e in part], [(e[1], e[2]) for e in part])
    wanted = torch.cat([torch.tensor(e[3], dtype=torch.float32) for e in part])
    wanted = wanted * (1 - 2 * SMOOTHING) + SMOOTHING
    return torch.nn.functional.binary_cross_entropy_with_logits(
        torch.cat(logits), wanted, pos_weight=torch.tensor(POSITIVE)
    )


def _length(example: Example) -> int:
    return len(example[0]) + len(example[1]) + sum(map(len, example[2]))


def examples(chance: random.Random) -> list[Example]:
    """Every written question with its passage, whole, cut to a window, or without its answer; and with strangers."""
    passages = [p for i, p in enumerate(read(PASSAGES)) if i % KEPT_BACK]
    found: list[Example] = []
    for p, strangers in zip(passages, _strangers(passages, chance), strict=True):
        heading, sentences = _heading(p), p["sentences"]
        for q in p["questions"]:
            labels = [i in q["a"] for i in range(len(sentences))]
            found.append((q["q"], heading, *_window(sentences, labels, chance)))
            if chance.random() < 0.5:
                found.append((q["q"], heading, *_without(sentences, labels)))
        for question in p["unanswered"]:
            found.append((question, heading, *_window(sentences, [False] * len(sentences), chance)))
        found += [(question, heading, sentences, [False] * len(sentences)) for question in strangers]
    return found + course_examples(chance)


def _strangers(passages: Sequence[dict[str, Any]], chance: random.Random) -> list[list[str]]:
    """For each passage questions that another document answers: one from anywhere, the others as near as search finds
    them, since what search finds for a question is mostly near and silent."""
    from retrieval.embedder import load_embedder
    from tutor.settings import SHIPPED_EMBEDDER

    asked = [(q["q"], p["title"]) for p in passages for q in p["questions"]]
    embedder = load_embedder(SHIPPED_EMBEDDER)
    texts = [f"{_heading(p)}. {' '.join(p['sentences'])}" for p in passages]
    likeness = embedder.encode(texts) @ embedder.encode([question for question, _ in asked]).T
    found = []
    for p, row in zip(passages, likeness, strict=True):
        others = [int(i) for i in (-row).argsort() if asked[int(i)][1] != p["title"]]
        chosen = [*chance.sample(others[:NEAREST], STRANGERS - 1), chance.choice(others)]
        found.append([asked[i][0] for i in dict.fromkeys(chosen)])
    return found


def kept_back() -> list[dict[str, Any]]:
    """The passages that training never sees: what follows from the reader's numbers is fitted on them."""
    return read(PASSAGES)[::KEPT_BACK]


def _window(sentences: list[str], labels: list[bool], chance: random.Random) -> tuple[list[str], list[bool]]:
    """Half of the time the whole; else a run of sentences around the answer, as chunks begin and end anywhere."""
    if chance.random() < 0.5 or len(sentences) < 5:
        return sentences, labels
    marked = [i for i, label in enumerate(labels) if label] or [chance.randrange(len(sentences))]
    start = chance.randint(0, min(marked))
    end = chance.randint(max(marked), len(sentences) - 1) + 1
    if end - start < 3:
        start, end = max(0, start - 1), min(len(sentences), end + 1)
    return sentences[start:end], labels[start:end]


def _without(sentences: list[str], labels: list[bool]) -> tuple[list[str], list[bool]]:
    """The same passage with its answer taken out: near in every word, and silent."""
    kept = [s for s, label in zip(sentences, labels, strict=True) if not label]
    return kept, [False] * len(kept)


def course_examples(chance: random.Random) -> list[Example]:
    """The questions about the training pages with the passages that search finds, those of test pages left out."""
    from retrieval.reader import as_read
    from tests.bench.evidence import course_cases

    found: list[Example] = []
    for_tests = {question["page"] for question in read(QUESTIONS) if question["split"] == "test"}
    for case in course_cases("train", None):
        for passage in case.passages:
            if passage.document in for_tests:
                continue
            heading, sentences = as_read(passage)
            labels = [case.is_gold(passage, i) for i in range(len(passage.sentences))]
            if any(labels) or chance.random() < 0.5:
                found.append((case.question["question"], heading, sentences, labels))
    return found
