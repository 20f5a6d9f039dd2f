"""The matrix products of a model, in the number format chosen for them.

`Int8` is what makes answers quick on a processor without a graphics card: weights in 8 bits with a scale for each
output, activations in 8 bits with a scale for each *token*. A token's numbers thus never depend on the tokens that
happen to be computed beside it, and the same prompt gives the same answer whatever was asked before it.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812  its usual name


class Linear(Protocol):
    """y = x W^T + b for x of shape [tokens, in], float32 in and out."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...


class Float:
    """The exact product, or in bfloat16 where asked."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        self._weight = weight.to(dtype)
        self._bias = None if bias is None else bias.to(dtype)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.to(self._weight.dtype), self._weight, self._bias).float()


class Int8:
    """Weights and activations in 8 bits, summed exactly in 32."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._scale = weight.abs().amax(1).clamp_min(1e-12) / 127
        quantised = torch.round(weight / self._scale[:, None]).to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(quantised, None)
        self._zero = torch.zeros(weight.shape[0], dtype=torch.int32)
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        scale = x.abs().amax(-1, keepdim=True).clamp_min_(1e-12).mul_(1 / 127)
        q = (x / scale).round_().add_(128).to(torch.uint8)
        y = torch.ops.onednn.qlinear_pointwise(
            q, 1.0, 128, self._packed, self._scale, self._zero, None, 1.0, 0, torch.float32, "none", [], ""
        ).mul_(scale)
        return y if self._bias is None else y.add_(self._bias)


class Int4:
    """Weights in 4 bits with a scale and an offset for each group of 32: no loss for weights that already are so.

    Products are taken in bfloat16.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        n, k = weight.shape
        groups = weight.reshape(n, k // 32, 32)
        low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
        scale = (high - low) / 15
        scale = torch.where(scale == 0, torch.ones_like(scale), scale)
        q = torch.round((groups - low) / scale).clamp_(0, 15)
        self.error = float((torch.addcmul(low, q, scale) - groups).abs().max())
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q.reshape(n, k).to(torch.int32), 1)
        self._scales = torch.cat([scale, low + 8 * scale], -1).transpose(0, 1).contiguous().bfloat16()
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(x.bfloat16(), self._packed, 32, self._scales).float()
        return y if self._bias is None else y.add_(self._bias)


def int8_works() -> bool:
    """Whether 8-bit products are quick and right here: x86 with the instructions made for them (VNNI).

    Without VNNI the sums of 8-bit products may overflow 16 bits on the way; there float32 is served.
    """
    try:
        if not torch.cpu._is_vnni_supported():
            return False
        weight = torch.tensor([[1.0, -2.0], [3.0, 127.0]])
        y = Int8(weight, None)(torch.tensor([[127.0, 1.0]]))
    except (AttributeError, RuntimeError):
        return False
    return bool(torch.allclose(y, torch.tensor([[125.0, 508.0]]), rtol=0.02))


def make_linear(weight: torch.Tensor, bias: torch.Tensor | None, precision: str) -> Linear:
    """`precision` is float32, bfloat16 or int8."""
    if precision == "int4":
        return Int4(weight, bias)
    if precision == "int8":
        return Int8(weight, bias)
    return Float(weight, bias, torch.bfloat16 if precision == "bfloat16" else torch.float32)
