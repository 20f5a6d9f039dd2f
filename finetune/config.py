"""Everything that decides what a job makes of its data, frozen: the same feedback and configuration give the same
data set and, on the same machine, the same adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from tutor.wire import InputError

Method = Literal["sft", "dpo", "kto"]
Precision = Literal["auto", "float32", "bfloat16"]

# What may change between a checkpoint and its continuation: where and how fast, not what is computed.
_HARMLESS = {
    "checkpoint_seconds",
    "threads",
    "max_minutes",
    "held_out_share",
    "max_per_learner",
    "min_examples",
}


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """`held_out_share` is the part of the conversations kept for evaluation; `max_per_learner` caps one voice.

    The defaults of training are what was measured to work for the shipped model on two cores. A row is what the
    model reads at once: `row_tokens` bounds the memory, `rows_per_step` rows make one step of the optimizer.
    The last two are those of dpo and kto, which need smaller steps; `beta` says how far they may lead from the start.
    `max_minutes` ends training early, the learning rate falling to nothing by then; waiting does not count.
    """

    seed: int = 0
    held_out_share: float = 0.2
    max_per_learner: int = 20
    min_examples: int = 20

    method: Method = "sft"
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: str = "all-linear"
    learning_rate: float = 7e-4
    warmup_steps: int = 8
    weight_decay: float = 0.0
    clip: float = 1.0
    epochs: float = 1.5
    max_minutes: float | None = 12.0
    row_tokens: int = 1024
    rows_per_step: int = 1
    precision: Precision = "auto"
    threads: int | None = None
    checkpoint_seconds: float = 30.0
    gradient_checkpointing: bool = False
    preference_learning_rate: float = 5e-5
    beta: float = 0.1

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, right in {
                "method": self.method in get_args(Method),
                "precision": self.precision in get_args(Precision),
                "held_out_share": 0 <= self.held_out_share < 1,
                "rank": self.rank >= 1,
                "alpha": self.alpha >= 1,
                "dropout": 0 <= self.dropout < 1,
                "learning_rate": 0 < self.learning_rate < 1,
                "preference_learning_rate": 0 < self.preference_learning_rate < 1,
                "beta": self.beta > 0,
                "warmup_steps": self.warmup_steps >= 0,
                "weight_decay": self.weight_decay >= 0,
                "clip": self.clip > 0,
                "epochs": self.epochs > 0,
                "max_minutes": self.max_minutes is None or self.max_minutes > 0,
                "row_tokens": self.row_tokens >= 64,
                "rows_per_step": self.rows_per_step >= 1,
                "threads": self.threads is None or self.threads >= 1,
                "checkpoint_seconds": 0 < self.checkpoint_seconds <= 60,
            }.items()
            if not right
        ]
        if wrong:
            raise InputError(f"the setting {wrong[0]} of training can't be {getattr(self, wrong[0])!r}")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FinetuneConfig:
        """The configuration that `as_json` gave; what is missing has its default. Raises InputError."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise InputError(f"there is no setting {unknown[0]!r} of training")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"a setting of training has the wrong type ({error})") from None

    def training_json(self) -> dict[str, Any]:
        """The part that the trained weights depend on: a checkpoint with another one is not continued."""
        return {name: value for name, value in self.as_json().items() if name not in _HARMLESS}
