"""The network behind `entailment.py`: reads hypothesis and premise together and scores three classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from retrieval.adapted import AdaptedNetwork, compared, comparing_head

CLASSES = 3
MAX_TOKENS = 192
LONGEST_HYPOTHESIS = 160  # tokens that are read of one: the premise has to find room beside it


class CrossEncoder(AdaptedNetwork):
    """Reads (hypothesis, premise) together and scores three classes: neutral, stated, contradicted."""

    def __init__(self, folder: Path, *, rank: int, alpha: float) -> None:
        super().__init__(folder, rank=rank, alpha=alpha)
        self.head = comparing_head(self.width, CLASSES)

    def forward(self, hypotheses: Sequence[str], premises: Sequence[str]) -> Tensor:
        """Logits [n, 3]. Each text is averaged over its own tokens; the head sees both and how they differ."""
        read = self.tokenizer(
            [self._cut(hypothesis) for hypothesis in hypotheses],
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

    def _cut(self, text: str) -> str:
        if len(text) <= LONGEST_HYPOTHESIS:  # a token is at least one character
            return text
        places = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return text if len(places) <= LONGEST_HYPOTHESIS else text[: places[LONGEST_HYPOTHESIS - 1][1]]


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask).sum(1) / mask.sum(1).clamp(min=1)
