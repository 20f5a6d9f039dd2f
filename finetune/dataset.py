"""Feedback and exemplars -> one data set: checked against its notes, screened, split, hashed. Start at `build_dataset`.

An example's prompt is the messages exactly as they were sent, so training sees what inference saw. Every item of
feedback ends up in the data set or in `rejected` with a reason for the learner. Pure: what needs a model (is this
sentence supported by these notes?) comes in as `Checks`. What one item says is decided in `targets.py`, what many of
them may do together in `screening.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from finetune.config import FinetuneConfig
from tutor.generators.protocol import Message

if TYPE_CHECKING:
    from finetune.targets import Candidate, Item

PREFERRED = ("dpo", "kto")


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with what the assistant should have said (`completion`, without citation numbers).

    `group` stays on one side of the split. In `Dataset.preferences` an example has either `rejected`, a worse answer
    to the same prompt (DPO), or `label`, the thumb that `completion` got (KTO).
    """

    id: str  # "feedback-12", or the exemplar's id (+ "@n" for its further contexts)
    prompt: tuple[Message, ...]
    completion: str
    group: str
    kind: str  # "answer" | "abstain"
    feedback_id: int | None = None
    rejected: str | None = None
    label: bool | None = None

    def content(self) -> dict[str, Any]:
        """What is learned from it, without the ids of any database."""
        said = {"prompt": [dict(m) for m in self.prompt], "completion": self.completion, "kind": self.kind}
        return said | {"rejected": self.rejected, "label": self.label}


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a job trains on and is judged on. The same content has the same `sha256`, in whatever order it came."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    preferences: tuple[Example, ...]
    rejected: tuple[tuple[int, str], ...]
    sha256: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def feedback_ids(self) -> tuple[int, ...]:
        """Every item of feedback that is in it, on whichever side."""
        parts = (*self.train, *self.held_out, *self.preferences)
        return tuple(sorted({e.feedback_id for e in parts if e.feedback_id is not None}))

    def counts(self) -> dict[str, int]:
        """How many examples of each kind, for the registry and the Improve page."""
        pairs = sum(e.rejected is not None for e in self.preferences)
        return {
            "train": len(self.train),
            "held_out": len(self.held_out),
            "pairs": pairs,
            "thumbs": len(self.preferences) - pairs,
            "train_abstaining": sum(e.kind == "abstain" for e in self.train),
            "from_feedback": len(self.feedback_ids),
            "train_from_feedback": sum(e.feedback_id is not None for e in self.train),
            "rejected": len(self.rejected),
        }


@dataclass(frozen=True, slots=True)
class Checks:
    """What `build_dataset` can't know by itself.

    `against(sentence, notes, question)` gives the reasons why the notes do not support the sentence, () where they do.
    `common_words` are words that are nothing special anywhere; empty where no list is at hand.
    """

    against: Callable[[str, tuple[str, ...], str], tuple[str, ...]]
    common_words: frozenset[str] = frozenset()


def build_dataset(
    items: Sequence[Item],
    exemplars: Sequence[Example],
    config: FinetuneConfig,
    checks: Checks,
) -> Dataset:
    """All feedback and the exemplars' examples as one data set; the same input gives the same data set."""
    from finetune import screening
    from finetune.targets import candidate_of

    refused: dict[int, str] = {}
    candidates: list[Candidate] = []
    for item in sorted(items, key=lambda i: (i.at, i.feedback_id), reverse=True):
        made = candidate_of(item)
        if isinstance(made, str):
            refused[item.feedback_id] = made
        else:
            candidates.append(made)
    train, held_out = _sides(exemplars)
    screen = screening.Screen(candidates, refused)
    screen.latest_word()
    screen.near_duplicates()
    screen.triggers([*train, *held_out], checks.common_words)
    screen.supported(checks.against, limit=config.max_per_learner)
    screen.per_learner(config.max_per_learner, len(train))
    screen.one_sided([e.completion for e in train])
    screen.held_apart(train, held_out, config)
    return _assembled(screen.kept, train, held_out, refused, config)


def refusal(dataset: Dataset, config: FinetuneConfig) -> str | None:
    """Why no job should train on this data set; None where one may."""
    if len(dataset.train) < config.min_examples:
        return (
            f"There are {len(dataset.train)} examples to train on, and a job needs {config.min_examples}; "
            "rate or correct more answers."
        )
    if len({e.completion for e in dataset.train}) == 1:
        return "All examples have the same answer: a tutor trained on them would say nothing else."
    method = getattr(config, "method", "sft")
    if method == "dpo" and not any(e.rejected is not None for e in dataset.preferences):
        return "There is no corrected answer to compare with the one shown, and DPO learns from such pairs."
    if method == "kto" and len({e.label for e in dataset.preferences if e.label is not None}) < 2:
        return "KTO learns from liked and disliked answers, and there are none of one sort."
    return None


def is_held_out(group: str, config: FinetuneConfig) -> bool:
    """Does this group belong to the part that training never sees? By hash, so that it never changes sides."""
    digest = hashlib.sha256(f"{config.seed}:{group}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8]) / 2**64 < config.held_out_share


def content_hash(
    train: Sequence[Example], held_out: Sequence[Example], preferences: Sequence[Example]
) -> str:
    """SHA-256 over the content of the three parts, each sorted."""
    digest = hashlib.sha256()
    for name, part in (("train", train), ("held_out", held_out), ("preferences", preferences)):
        for line in sorted(_line(example) for example in part):
            digest.update(f"{name} {line}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _sides(exemplars: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    from finetune.exemplars import HELD_OUT_GROUPS

    held_out = [e for e in exemplars if e.group in HELD_OUT_GROUPS]
    return [e for e in exemplars if e.group not in HELD_OUT_GROUPS], held_out


def _assembled(
    kept: Sequence[Candidate],
    train: Sequence[Example],
    held_out: Sequence[Example],
    refused: Mapping[int, str],
    config: FinetuneConfig,
) -> Dataset:
    targets = sorted((c for c in kept if c.completion is not None), key=lambda c: _line(c.target_example()))
    corrected = {as_sent(c.prompt) for c in targets}
    # Where a learner has spoken on the very prompt of an exemplar, the learner's word counts.
    train = [e for e in train if as_sent(e.prompt) not in corrected]
    for candidate in targets:
        (held_out if candidate.held_out else train).append(candidate.target_example())  # type: ignore[attr-defined]
    preferences = [e for c in kept if not c.held_out for e in c.preference_examples()]
    preferences.sort(key=_line)
    return Dataset(
        train=tuple(train),
        held_out=tuple(held_out),
        preferences=tuple(preferences),
        rejected=tuple(sorted(refused.items())),
        sha256=content_hash(train, held_out, preferences),
        settings={
            "seed": config.seed,
            "held_out_share": config.held_out_share,
            "max_per_learner": config.max_per_learner,
        },
    )


def as_sent(prompt: Sequence[Message]) -> tuple[str, ...]:
    """The words of a prompt, to compare it by."""
    return tuple(message["content"] for message in prompt)


def _line(example: Example) -> str:
    return json.dumps(example.content(), ensure_ascii=False, sort_keys=True)
