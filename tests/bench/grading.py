"""Fits the grader: `python -m tests.bench grading --fit`. How well it grades is what `study-tutor eval grading` says.

Three parts of the labelled data never meet: the adapter is trained on statements and on one half of the development
questions; how its judgements are weighed is fitted on the other half; the test questions are looked at by the
evaluation only. Parts are whole questions, taken by page, so no key point is in two of them.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench.fitting import ALPHA, RANK, fit, read, save

DATA = Path(__file__).parents[1] / "data"
ANSWERS = DATA / "graded_answers.jsonl"
STATEMENTS = DATA / "grading_statements.jsonl"
RESTATEMENTS = DATA / "grading_restatements.jsonl"
FILES = (ANSWERS, STATEMENTS, RESTATEMENTS)
LABELS = ("miss", "hit", "contradicted")  # in the order of retrieval.entailment's classes
SMOOTHING = 0.05
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

    from retrieval.cross_encoder import CrossEncoder
    from retrieval.embedder import shipped_folder
    from retrieval.entailment import WEIGHTS
    from retrieval.fitted import BACKBONE

    torch.manual_seed(seed)
    model = CrossEncoder(shipped_folder(BACKBONE), rank=RANK, alpha=ALPHA)
    data = training_pairs(seed)
    chance = random.Random(seed)
    losses = fit(model, data, _loss, epochs=epochs, rate=1e-3, chance=chance, length=_length)
    stage = {"pairs": len(data), "loss_by_epoch": losses}
    save(model, WEIGHTS, FILES, {"seed": seed, "stages": [stage]})


def refine(seed: int) -> None:
    """The second stage: plain restatements, which the first one took for keywords or for the opposite, with as many
    pairs of the first stage so that they are not forgotten. The result is the mean of the weights before and after,
    which keeps more of both (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"). Minutes."""
    import torch

    from retrieval.cross_encoder import CrossEncoder
    from retrieval.embedder import shipped_folder
    from retrieval.entailment import WEIGHTS
    from retrieval.fitted import BACKBONE, card

    torch.manual_seed(seed + 1)
    chance = random.Random(seed + 1)
    model = CrossEncoder.open(shipped_folder(BACKBONE), WEIGHTS, rank=RANK, alpha=ALPHA)
    plain = [
        (line["key_point"], statement, number)
        for line in read(RESTATEMENTS)
        for number, label in enumerate(LABELS)
        for statement in line[label]
    ]
    first = training_pairs(seed + 1)
    data = plain + chance.sample(first, min(len(plain), len(first)))
    start = {name: value.clone() for name, value in model.trained().items()}
    losses = fit(model, data, _loss, epochs=2, rate=4e-4, chance=chance, length=_length)
    for name, value in model.trained().items():  # detached views: this changes the model
        value.copy_((start[name] + value) / 2)
    before = card(WEIGHTS)
    stage = {"pairs": len(data), "loss_by_epoch": losses}
    save(model, WEIGHTS, FILES, {"seed": before["seed"], "stages": [*before["stages"], stage]})


def _loss(model: Any, pairs: list[Pair]) -> Any:
    import torch

    logits = model([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    labels = torch.tensor([pair[2] for pair in pairs])
    return torch.nn.functional.cross_entropy(logits, labels, label_smoothing=SMOOTHING)


def _length(pair: Pair) -> int:
    return len(pair[0]) + len(pair[1])


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
    from retrieval.fitted import BACKBONE
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
