"""The network behind `entailment.py`: a BERT backbone that reads both texts together, low-rank adapters, a head.

Importing it imports torch, so only `entailment.py` (when first asked) and the script that trains it do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

CLASSES = 3
MAX_TOKENS = 192
_ADAPTED = ("query", "key", "value", "dense")


class LowRank(nn.Module):
    """A frozen linear layer plus a low-rank change: y = Wx + b + (alpha/rank) B A x (LoRA, Hu et al. 2021)."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base
        self.a = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + (x @ self.a.T @ self.b.T) * self.scale


class CrossEncoder(nn.Module):
    """Reads (hypothesis, premise) together and scores three classes: neutral, stated, contradicted."""

    def __init__(
        self, folder: Path, *, rank: int, alpha: float, hidden: int = 192, dropout: float = 0.1
    ) -> None:
        """`folder` holds the backbone (config, tokenizer, safetensors); it stays frozen."""
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder), **options)
        self.backbone = AutoModel.from_pretrained(str(folder), use_safetensors=True, **options)
        self.backbone.requires_grad_(False)
        self.rank, self.alpha = rank, alpha
        for name, layer in self._linear_layers():
            parent = self.backbone.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], LowRank(layer, rank, alpha))
        width = self.backbone.config.hidden_size
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(4 * width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, CLASSES),
        )

    @classmethod
    def open(cls, folder: Path, weights: Path, *, rank: int, alpha: float) -> CrossEncoder:
        """The trained network as training left it. Raises ValueError for weights of another network."""
        model = cls(folder, rank=rank, alpha=alpha)
        try:
            state = {name: value.float() for name, value in load_file(str(weights)).items()}
        except SafetensorError as error:
            raise ValueError(f"{weights.name} is damaged: {error}") from None
        if wrong := sorted(state.keys() ^ model.trained().keys()):
            raise ValueError(f"{weights.name} doesn't fit this network: {wrong[0]}")
        if not all(value.isfinite().all() for value in state.values()):
            raise ValueError(f"{weights.name} holds values that are no numbers")
        model.load_state_dict(state, strict=False)
        return model

    @classmethod
    def load(cls, folder: Path, weights: Path, *, rank: int, alpha: float) -> CrossEncoder:
        """The same with its adapters merged into the backbone for speed, ready to judge."""
        model = cls.open(folder, weights, rank=rank, alpha=alpha)
        model.merge()
        return model.eval()

    def trained(self) -> dict[str, Tensor]:
        """What training changes and the weights file holds: adapters and head."""
        return {name: value.detach() for name, value in self.named_parameters() if value.requires_grad}

    def merge(self) -> None:
        """Add each low-rank change to its layer, once."""
        for name, module in [*self.backbone.named_modules()]:
            if isinstance(module, LowRank):
                module.base.weight.data += module.scale * (module.b.data @ module.a.data)
                parent = self.backbone.get_submodule(name.rpartition(".")[0])
                setattr(parent, name.rpartition(".")[2], module.base)

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
        return self.head(torch.cat([one, other, (one - other).abs(), one * other], dim=-1))

    def _linear_layers(self) -> list[tuple[str, nn.Linear]]:
        return [
            (name, layer)
            for name, layer in self.backbone.encoder.named_modules(prefix="encoder")
            if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in _ADAPTED
        ]


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask).sum(1) / mask.sum(1).clamp(min=1)
