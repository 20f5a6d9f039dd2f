"""Trains the reader: `python -m tests.bench reading --fit`. How well it selects is what `eval` and `evidence` say.

It learns from passages on other subjects (`reading_passages.jsonl`) and from the course's development pages; no test
page, nor any question about one, is among what it sees.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.fitting import ALPHA, RANK, fit, read, save

DATA = Path(__file__).parents[1] / "data"
PASSAGES = DATA / "reading_passages.jsonl"
QUESTIONS = DATA / "course_questions.jsonl"
RATE = 1e-3
SMOOTHING = 0.02
POSITIVE = 2.0  # what a missed sentence costs, in wrongly taken ones
KEPT_BACK = 6  # every sixth passage
STRANGERS = 3  # questions of other passages that each passage is asked, most of them near in meaning
NEAREST = 12  # how many of the nearest questions a near stranger is drawn from

# (question, heading, sentences, whether each answers)
Example = tuple[str, str, list[str], list[bool]]


def main(argv: Sequence[str]) -> int:
    """Train and write the weights with their card."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench reading", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--fit", action="store_true", required=True, help="train, from nothing or --start")
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


def validation(model: Any) -> dict[str, float]:
    """On the passages kept back: how often the first sentence is one that answers, and how often a question that is
    answered gets a higher best number than one that is not (the area under the ROC curve)."""
    import torch

    model.eval()
    first, answered, silent = [], [], []
    with torch.inference_mode():
        for p in kept_back():
            asked = [q["q"] for q in p["questions"]] + p["unanswered"]
            passage = (_heading(p), p["sentences"])
            rows = model(asked, [passage] * len(asked))
            for q, row in zip(p["questions"], rows, strict=False):
                first.append(int(row.argmax()) in q["a"])
            answered += [float(row.max()) for row in rows[: len(p["questions"])]]
            silent += [float(row.max()) for row in rows[len(p["questions"]) :]]
    model.train()
    above = [(a > s) + 0.5 * (a == s) for a in answered for s in silent]
    return {"first_answers": round(sum(first) / len(first), 3), "auc": round(sum(above) / len(above), 3)}


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
