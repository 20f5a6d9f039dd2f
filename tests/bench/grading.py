"""Fits the grader: `python -m tests.bench grading --fit`. How well it grades is what `study-tutor eval grading` says.

Three parts of the labelled data never meet: the adapter is trained on statements and on one half of the development
questions; how its judgements are weighed is fitted on the other half; the test questions are looked at by the
evaluation only. Parts are whole questions, taken by page, so no key point is in two of them.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data"
ANSWERS = DATA / "graded_answers.jsonl"
STATEMENTS = DATA / "grading_statements.jsonl"
RESTATEMENTS = DATA / "grading_restatements.jsonl"
LABELS = ("miss", "hit", "contradicted")  # in the order of retrieval.entailment's classes
RANK, ALPHA = 16, 32.0
BATCH, SMOOTHING, DECAY = 32, 0.05, 0.01
SIBLINGS, NEAR = 2, 3

_SMALL = frozenset("a an the of is are that its their in to by".split())

Pair = tuple[str, str, int]


def main(argv: Sequence[str]) -> int:
    """Train, calibrate, write the weights and their cards."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench grading", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--fit", action="store_true", required=True, help="train in both stages, then weigh")
    parser.add_argument("--start", choices=("statements", "restatements", "weigh"), default="statements")
    parser.add_argument("--epochs", type=int, default=3, metavar="N", help="of the first stage")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    options = parser.parse_args(argv)
    if options.start == "statements":
        train(options.epochs, options.seed)
    if options.start != "weigh":
        refine(options.seed)
    weigh()
    return 0


def train(epochs: int, seed: int) -> None:
    """The first stage: adapter and head from nothing, on free wordings. A quarter of an hour on two cores."""
    import torch

    from retrieval import entailment
    from retrieval.cross_encoder import CrossEncoder
    from retrieval.embedder import shipped_folder

    torch.manual_seed(seed)
    model = CrossEncoder(shipped_folder(entailment.BACKBONE), rank=RANK, alpha=ALPHA)
    data = training_pairs(seed)
    losses = _fit(model, data, epochs, random.Random(seed), rate=1e-3)
    _save(model, {"seed": seed, "stages": [{"pairs": len(data), "loss_by_epoch": losses}]})


def refine(seed: int) -> None:
    """The second stage: plain restatements, which the first one took for keywords or for the opposite, with as many
    pairs of the first stage so that they are not forgotten. The result is the mean of the weights before and after,
    which keeps more of both (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"). Minutes."""
    import torch

    from retrieval import entailment
    from retrieval.cross_encoder import CrossEncoder
    from retrieval.embedder import shipped_folder

    torch.manual_seed(seed + 1)
    chance = random.Random(seed + 1)
    model = CrossEncoder.open(shipped_folder(entailment.BACKBONE), entailment.WEIGHTS, rank=RANK, alpha=ALPHA)
    plain = [
        (line["key_point"], statement, number)
        for line in read(RESTATEMENTS)
        for number, label in enumerate(LABELS)
        for statement in line[label]
    ]
    first = training_pairs(seed + 1)
    data = plain + chance.sample(first, min(len(plain), len(first)))
    start = {name: value.clone() for name, value in model.trained().items()}
    losses = _fit(model, data, 2, chance, rate=4e-4)
    for name, value in model.trained().items():  # detached views: this changes the model
        value.copy_((start[name] + value) / 2)
    before = {name: entailment.card()[name] for name in ("seed", "stages")}
    stage = {"pairs": len(data), "loss_by_epoch": losses}
    _save(model, before | {"stages": [*before["stages"], stage]})


def _fit(model: Any, data: list[Pair], epochs: int, chance: random.Random, *, rate: float) -> list[float]:
    """Cross-entropy with AdamW, a short warm-up, then linear decay; the mean loss of each epoch."""
    import torch
    from torch import nn

    changed = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(changed, lr=rate, weight_decay=DECAY)
    steps = epochs * math.ceil(len(data) / BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / (0.06 * steps)) * max(0.02, 1 - step / steps)
    )
    began, losses = time.monotonic(), []
    print(f"{len(data)} pairs", flush=True)
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for number, batch in enumerate(_batches(data, chance)):
            if number % 50 == 0:
                print(f"epoch {epoch + 1}, step {number}, {time.monotonic() - began:.0f} s", flush=True)
            logits = model([pair[0] for pair in batch], [pair[1] for pair in batch])
            loss = nn.functional.cross_entropy(
                logits, torch.tensor([pair[2] for pair in batch]), label_smoothing=SMOOTHING
            )
            if not math.isfinite(loss.item()):
                raise RuntimeError(f"the loss is {loss.item()} in epoch {epoch + 1}; nothing was written")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(changed, 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        losses.append(round(total / len(data), 4))
        print(f"epoch {epoch + 1}: loss {losses[-1]}, {time.monotonic() - began:.0f} s", flush=True)
    return losses


def _save(model: Any, about: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    from retrieval import entailment
    from retrieval.embedder import shipped_folder, weights_sha256

    save_file(
        {name: value.half().contiguous() for name, value in model.trained().items()}, entailment.WEIGHTS
    )
    card = {
        "weights_sha256": entailment.sha256(entailment.WEIGHTS),
        "backbone": entailment.BACKBONE,
        "backbone_sha256": weights_sha256(shipped_folder(entailment.BACKBONE)),
        "rank": RANK,
        "alpha": ALPHA,
        "data_sha256": {file.name: entailment.sha256(file) for file in (ANSWERS, STATEMENTS, RESTATEMENTS)},
        **about,
    }
    entailment.CARD.write_text(json.dumps(card, indent=2) + "\n", "utf-8")
    entailment.card.cache_clear()


def training_pairs(seed: int = 0) -> list[Pair]:
    """(key point, statement or answer, class) of everything the adapter may see.

    Written for each key point: statements of the three classes. Made of those: what makes one point of a question
    makes no other one (SIBLINGS of them for each point), answers of several statements (one for each point), and the
    point in nearly its own words (NEAR times): without those, sharing words with a point speaks against an answer,
    because people turn a point around by changing one word of it.
    """
    chance = random.Random(seed)
    pairs: list[Pair] = []
    questions: dict[str, list[dict[str, Any]]] = {}
    for line in read(STATEMENTS):
        questions.setdefault(line["question"], []).append(line)
        for number, label in enumerate(LABELS):
            pairs += [(line["key_point"], statement, number) for statement in line[label]]
    for points in questions.values():
        for point in points:
            others = [statement for other in points if other is not point for statement in other["hit"]]
            taken = chance.sample(others, min(SIBLINGS, len(others)))
            pairs += [(point["key_point"], statement, 0) for statement in taken]
            pairs += [(point["key_point"], _nearly(point["key_point"], chance), 1) for _ in range(NEAR)]
            pairs.append(_composed(point, points, chance))
    for answer in read(ANSWERS):
        if answer["part"] == "train":
            judged = zip(answer["key_points"], answer["points"]["a"], strict=True)
            pairs += [(point, answer["answer"], LABELS.index(label)) for point, label in judged]
            if answer["id"].endswith("-01"):  # once a question
                pairs += [
                    (point, text, 1)
                    for point in answer["key_points"]
                    for text in (answer["reference"], point)
                ]
    return pairs


def _nearly(point: str, chance: random.Random) -> str:
    """The key point as someone types it who remembers it well: a small word dropped, other case, a phrase before it."""
    words = point.split()
    small = [i for i, word in enumerate(words) if word.lower() in _SMALL]
    for i in sorted(chance.sample(small, min(len(small), chance.randint(0, 2))), reverse=True):
        del words[i]
    text = " ".join(words)
    if chance.random() < 0.5:
        text = text[:1].lower() + text[1:].rstrip(".")
    return chance.choice(("", "", "", "I think ", "because ", "It is that ", "well, ")) + text


def _composed(point: dict[str, Any], points: list[dict[str, Any]], chance: random.Random) -> Pair:
    """An answer that says something, true or not, about several points of a question, judged for one of them."""
    said, label = [], 0
    for other in points:
        kind = chance.choices((None, *LABELS), (0.2, 0.2, 0.4, 0.2))[0]
        if kind is not None:
            near = kind == "hit" and chance.random() < 0.4
            said.append(_nearly(other["key_point"], chance) if near else chance.choice(other[kind]).strip())
        if other is point:
            label = LABELS.index(kind) if kind else 0
    if not said:
        said.append(chance.choice(point["miss"]))
    chance.shuffle(said)
    answer = " ".join(text if text[-1] in ".!?" else f"{text}." for text in said)
    return point["key_point"], answer, label


def read(file: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def _batches(data: list[Pair], chance: random.Random) -> Iterator[list[Pair]]:
    """All pairs once, in random order, batches of like length so that little is padded."""
    mixed = data[:]
    chance.shuffle(mixed)
    groups = [mixed[i : i + 8 * BATCH] for i in range(0, len(mixed), 8 * BATCH)]
    sorted_groups = [sorted(group, key=lambda pair: len(pair[0]) + len(pair[1])) for group in groups]
    batches = [group[i : i + BATCH] for group in sorted_groups for i in range(0, len(group), BATCH)]
    chance.shuffle(batches)
    return iter(batches)


def weighed_answers() -> Iterator[tuple[str, list[str], str, list[int]]]:
    """(question, key points, answer, class of each point): what the adapter never saw, and for the same questions the
    plainest answers there are, which learners' own wordings hold too few of."""
    for line in read(ANSWERS):
        if line["part"] != "weigh":
            continue
        points = line["key_points"]
        yield line["question"], points, line["answer"], [LABELS.index(label) for label in line["points"]["a"]]
        if line["id"].endswith("-01"):  # once a question
            every = [1] * len(points)
            yield line["question"], points, line["reference"], every
            yield line["question"], points, " ".join(points), every
            for alone in (0, len(points) - 1):
                text = points[alone].lower().rstrip(".") if alone else points[alone]
                yield line["question"], points, text, [int(i == alone) for i in range(len(points))]


def weigh() -> None:
    """Fit how a point's judgements are weighed, on answers that the adapter never saw."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from retrieval.embedder import load_embedder
    from retrieval.entailment import BACKBONE
    from tutor import quiz

    quiz_grader = quiz.Grader(load_embedder(BACKBONE))
    rows, labels = [], []
    for question, points, answer, judged_as in weighed_answers():
        parts = quiz.parts_of(answer, question)
        if parts:
            rows += [*quiz.features(*quiz_grader.compare(points, parts))]
            labels += judged_as
    model = LogisticRegression(C=0.1, max_iter=5000).fit(np.array(rows), labels)
    right = float((model.predict(np.array(rows)) == labels).mean())
    about = {
        "features": quiz.FEATURES,
        "classes": ["neutral", "stated", "contradicted"],
        "coefficients": [[round(float(c), 4) for c in row] for row in model.coef_],
        "intercepts": [round(float(c), 4) for c in model.intercept_],
        "points": len(labels),
        "right_on_these": round(right, 3),
    }
    quiz.FITTED.write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    print(f"weighed on {len(labels)} points, right on {right:.0%} of them")
