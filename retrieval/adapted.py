"""Networks on the shipped embedder's backbone: low-rank adapters in every layer, and whatever head a task needs.

Trained offline by `tests/bench`, shipped as small safetensors files, merged once when loaded. Importing this imports
torch, so only `fitted.py` (when a network is first asked) and the scripts that train do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

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


class AdaptedNetwork(nn.Module):
    """A frozen backbone with adapters, and the tokenizer that goes with it. Subclasses add a head and `forward`."""

    def __init__(self, folder: Path, *, rank: int, alpha: float) -> None:
        """`folder` holds the backbone (config, tokenizer, safetensors); it stays frozen."""
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder), **options)
        # Without dropout on the attention, torch can use its fused kernel: training is 1.9 times as fast.
        self.backbone = AutoModel.from_pretrained(
            str(folder), use_safetensors=True, attention_probs_dropout_prob=0.0, **options
        )
        self.backbone.requires_grad_(False)
        self.rank, self.alpha = rank, alpha
        for name, layer in self._linear_layers():
            self._put(name, LowRank(layer, rank, alpha))

    @property
    def width(self) -> int:
        """Numbers a token's state has."""
        return int(self.backbone.config.hidden_size)

    @classmethod
    def open(cls, folder: Path, weights: Path, *, rank: int, alpha: float) -> Self:
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
    def load(cls, folder: Path, weights: Path, *, rank: int, alpha: float) -> Self:
        """The same with its adapters merged into the backbone for speed, ready to be asked."""
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
                self._put(name, module.base)

    def _put(self, name: str, layer: nn.Module) -> None:
        parent, _, last = name.rpartition(".")
        setattr(self.backbone.get_submodule(parent), last, layer)

    def _linear_layers(self) -> list[tuple[str, nn.Linear]]:
        return [
            (name, layer)
            for name, layer in self.backbone.encoder.named_modules(prefix="encoder")
            if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in _ADAPTED
        ]


def comparing_head(width: int, classes: int, *, hidden: int = 192, dropout: float = 0.1) -> nn.Sequential:
    """A classifier of `compared` pairs of vectors."""
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(4 * width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, classes),
    )


def compared(one: Tensor, other: Tensor) -> Tensor:
    """Two vectors, how they differ and where they agree: [..., d] -> [..., 4d] (Conneau et al. 2017, InferSent)."""
    return torch.cat([one, other, (one - other).abs(), one * other], dim=-1)
