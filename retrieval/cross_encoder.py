"""The network behind `entailment.py`: reads hypothesis and premise together and scores three classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from retrieval.adapted import AdaptedNetwork, compared, comparing_head

CLASSES = 3
MAX_TOKENS = 192


class CrossEncoder(AdaptedNetwork):
    """Reads (hypothesis, premise) together and scores three classes: neutral, stated, contradicted."""

    def __init__(self, folder: Path, *, rank: int, alpha: float) -> None:
        super().__init__(folder, rank=rank, alpha=alpha)
        self.head = comparing_head(self.width, CLASSES)

    def forward(self, hypotheses: Sequence[str], premises: Sequence[str]) -> Tensor:
        """Logits [n, 3]. Each text is averaged over its own tokens; the head sees both and how they differ."""
        read = self.tokenizer(
            list(hypotheses),
            list(premises),
            padding=True,
            truncation="only_second",
            max_length=MAX_TOKENS,
            return_tensors="pt",
        )
        states = self.backbone(**read).last_hidden_state
        second = read["token_type_ids"].unsqueeze(-1).float()
        every = read["attention_mask"].unsqueeze(-1).float()
        one, other = _mean(states, every * (1 - second)), _mean(states, every * second)
        return self.head(compared(one, other))


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask).sum(1) / mask.sum(1).clamp(min=1)
