"""What a data set is built with, frozen, so that the same feedback and the same configuration give the same hash."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """`held_out_share` is the part of the conversations kept for evaluation; `max_per_learner` caps one voice."""

    seed: int = 0
    held_out_share: float = 0.2
    max_per_learner: int = 200
    min_examples: int = 20
