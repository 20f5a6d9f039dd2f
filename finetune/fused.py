"""A layer and its low-rank adapter computed in one piece, for training on a processor.

peft computes W x, then B A x, scales it, casts and adds: each a pass over memory of its own, forth and back. There,
memory is what a processor waits for. Here the small product is added where the large one is written; the numbers are
the same but for rounding. A GPU has the memory, and quantised layers their own kernels: both keep peft's way.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn


class FusedLinear(Linear):
    """peft's LoRA layer, the same in every name and number; where it can't be computed in one piece, peft does it."""

    _half: Tensor | None = None  # the frozen weight in bfloat16, cast once

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        names = [name for name in self.active_adapters if name in self.lora_A]
        if len(names) != 1 or args or kwargs or not self._plain(names[0]):
            done: Tensor = super().forward(x, *args, **kwargs)
            return done
        name, layer = names[0], self.base_layer
        half = torch.is_autocast_enabled("cpu")
        done = _Fused.apply(
            x.bfloat16() if half else x,
            self._in_half() if half else layer.weight,
            layer.bias,
            self.lora_A[name].weight,
            self.lora_B[name].weight,
            self.scaling[name],
        )
        return done

    def _plain(self, name: str) -> bool:
        return (
            type(self.base_layer) is nn.Linear
            and self.base_layer.weight.device.type == "cpu"
            and isinstance(self.lora_dropout[name], nn.Identity)
            and name not in self.lora_variant
            and not (self.merged or self.disable_adapters)
        )

    def _in_half(self) -> Tensor:
        if self._half is None:
            self._half = self.base_layer.weight.detach().bfloat16()
        return self._half


class _Fused(torch.autograd.Function):
    """y = W x + bias + scale · B A x, of which A and B learn (LoRA, Hu et al. 2021)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        small_a, small_b = a.to(x.dtype), b.to(x.dtype)
        within = rows @ small_a.T
        y = torch.nn.functional.linear(rows, weight, None if bias is None else bias.to(x.dtype))
        y.addmm_(within, small_b.T, alpha=scale)
        ctx.save_for_backward(rows, weight, small_a, small_b, within)
        ctx.scale, ctx.shape = scale, x.shape
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, a, b, within = ctx.saved_tensors
        dy = gradients[0].reshape(len(rows), -1).to(rows.dtype)
        d_within = (dy @ b).mul_(ctx.scale)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (dy @ weight).addmm_(d_within, a).view(ctx.shape)
        d_a = (d_within.T @ rows).float()
        d_b = (dy.T @ within).float().mul_(ctx.scale)
        return dx, None, None, d_a, d_b, None
