"""Feedback -> training examples: cleaned, capped, split by conversation, hashed. Pure.

An example's prompt is the turn's messages exactly as they were sent, so training sees what inference saw. Every item of
feedback ends up in the data set or in `rejected` with the reason.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.config import FinetuneConfig

_CITATION_NUMBERS = re.compile(r"\s*\[\d+\]")


@dataclass(frozen=True, slots=True)
class Item:
    """One rating with what is needed to learn from it. `group` keeps a conversation on one side of the split."""

    feedback_id: int
    learner_id: int
    group: str
    messages: tuple[dict[str, str], ...]
    answer: str
    rating: str
    correction: str | None


@dataclass(frozen=True, slots=True)
class Example:
    """A conversational prompt/completion pair, the form that TRL and others read."""

    feedback_id: int
    prompt: tuple[dict[str, str], ...]
    completion: str

    def as_json(self) -> dict[str, object]:
        return {
            "prompt": list(self.prompt),
            "completion": [{"role": "assistant", "content": self.completion}],
        }


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a job would train and be judged on; `sha256` is over both parts in order."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    rejected: tuple[tuple[int, str], ...]
    sha256: str


def build_dataset(items: Sequence[Item], config: FinetuneConfig) -> Dataset:
    """Turn feedback into examples. The same items and configuration give the same data set."""
    rejected: list[tuple[int, str]] = []
    sides: dict[bool, list[Example]] = {False: [], True: []}
    seen: set[tuple[str, str]] = set()
    per_learner: Counter[int] = Counter()
    for item in sorted(items, key=lambda i: i.feedback_id):
        target = _target(item)
        key = (json.dumps(item.messages, sort_keys=True), target)
        if reason := _reason_against(item, target):
            rejected.append((item.feedback_id, reason))
        elif key in seen:
            rejected.append((item.feedback_id, "the same prompt and answer are in the data set already"))
        elif per_learner[item.learner_id] >= config.max_per_learner:
            rejected.append((item.feedback_id, f"more than {config.max_per_learner} items from one learner"))
        else:
            seen.add(key)
            per_learner[item.learner_id] += 1
            example = Example(item.feedback_id, item.messages, target)
            sides[is_held_out(item.group, config)].append(example)
    train, held_out = tuple(sides[False]), tuple(sides[True])
    return Dataset(train, held_out, tuple(rejected), _hash(train, held_out))


def is_held_out(group: str, config: FinetuneConfig) -> bool:
    """Does this conversation belong to the part that training never sees? By hash, so it never changes sides."""
    digest = hashlib.sha256(f"{config.seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 < config.held_out_share


def _target(item: Item) -> str:
    """What the tutor should have said: the correction, else the answer that was liked."""
    return (item.correction or "").strip() or _CITATION_NUMBERS.sub("", item.answer).strip()


def _reason_against(item: Item, target: str) -> str | None:
    if not item.messages:
        return "no model was asked in this turn, so there is no prompt to learn from"
    if item.rating == "down" and not (item.correction or "").strip():
        return "rated down without a correction: nothing says what would have been right"
    if not target:
        return "the answer is empty"
    return None


def _hash(train: Sequence[Example], held_out: Sequence[Example]) -> str:
    text = json.dumps(
        [[e.as_json() for e in part] for part in (train, held_out)], ensure_ascii=False, sort_keys=True
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
