"""The matrix products of a model, in the number format chosen for them.

Writing a token means reading every weight once, so fewer bits a weight are more words a second. `Int4` loses nothing
for weights that were rounded to 4 bits before, as the shipped ones were; `Int8` rounds. Each token is rounded for
itself, never by a scale shared with its neighbours, so an answer does not depend on what was computed beside it
(but for the last digits of sums, which can tip a choice between two equally likely words).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812  its usual name

LowRank = tuple[torch.Tensor, torch.Tensor]  # an adapter's (A, B, scale included): y += x A^T B^T
Linear = Callable[[torch.Tensor], torch.Tensor]  # [tokens, in] -> [tokens, out], float32 both

GROUP = 32
_SLICE = 4096  # rows
_FEW = 4  # up to so many tokens the 8-bit kernel is quicker than unpacking the weights


class Float:
    """The plain product, in float32 or bfloat16."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        self._weight = weight.to(dtype)
        self._bias = None if bias is None else bias.to(dtype)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.to(self._weight.dtype), self._weight, self._bias).float()


class Int8:
    """Weights in 8 bits with a scale for each output; products in bfloat16."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight, scale = _in_8_bits(weight)
        self._scale = scale.bfloat16()
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = x.bfloat16()
        if x.shape[0] <= _FEW:
            y = torch.ops.aten._weight_int8pack_mm(x, self._weight, self._scale).float()
        else:
            y = F.linear(x, self._weight.bfloat16()).float().mul_(self._scale)
        return y if self._bias is None else y.add_(self._bias)


class Int4:
    """Weights in 4 bits with a scale and an offset for each group of 32; products in bfloat16.

    `low_rank` is added unmerged: the sum with it would not fit in 4 bits.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, low_rank: LowRank | None = None
    ) -> None:
        q, scale, low = _groups(weight)
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q.view(weight.shape).int(), 1)
        self._scales = torch.cat([scale, low + 8 * scale], -1).transpose(0, 1).contiguous().bfloat16()
        self._bias = bias
        self._low_rank = low_rank

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x.bfloat16(), self._packed, GROUP, self._scales
        ).float()
        if self._low_rank is not None:
            y.add_(F.linear(F.linear(x, self._low_rank[0]), self._low_rank[1]))
        return y if self._bias is None else y.add_(self._bias)


class Int8Scores:
    """Weights and inputs in 8 bits, summed exactly in 32: the quickest way to find the likeliest of many tokens.

    The input has one scale a token. For x86 with VNNI: elsewhere the sums may overflow 16 bits on the way.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        quantised, self._scale = _in_8_bits(weight)
        self._packed = torch.ops.onednn.qlinear_prepack(quantised, None)
        self._zero = torch.zeros(weight.shape[0], dtype=torch.int32)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        scale = x.abs().amax(-1, keepdim=True).clamp_min_(1e-12).mul_(1 / 127)
        q = (x / scale).round_().add_(128).to(torch.uint8)
        return torch.ops.onednn.qlinear_pointwise(
            q, 1.0, 128, self._packed, self._scale, self._zero, None, 1.0, 0, torch.float32, "none", [], ""
        ).mul_(scale)


def make_linear(
    weight: torch.Tensor, bias: torch.Tensor | None, low_rank: LowRank | None, precision: str
) -> Linear:
    """`precision` is float32, bfloat16, int8 or int4. An adapter is merged, except into 4 bits."""
    if precision == "int4":
        return Int4(weight, bias, low_rank)
    if low_rank is not None:
        weight = weight + low_rank[1] @ low_rank[0]
    if precision == "int8":
        return Int8(weight, bias)
    return Float(weight, bias, torch.bfloat16 if precision == "bfloat16" else torch.float32)


def make_scores(weight: torch.Tensor, precision: str) -> Linear:
    """The product with the token table. In 8 bits for int4 and int8: whoever asks computes the best again."""
    if precision not in ("int4", "int8"):
        return make_linear(weight.float(), None, None, precision)
    vnni = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    return Int8Scores(weight) if vnni() else Int8(weight, None)


def packed_is_quick() -> bool:
    """Whether torch has kernels for packed weights on this processor; without them it takes ten times longer."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def in_4_bits(weight: torch.Tensor) -> bool:
    """Whether 4 bits hold these weights to the last digit."""
    if weight.shape[0] % 16 or weight.shape[1] % GROUP:
        return False
    q, scale, low = _groups(weight)
    groups = weight.reshape(q.shape)
    off = (torch.addcmul(low, q, scale) - groups).abs()
    return bool((off <= 1e-6 * groups.abs().amax(-1, keepdim=True)).all())


def _groups(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(numbers from 0 to 15, scale, lowest) of each group, such that weight = lowest + number x scale."""
    groups = weight.reshape(weight.shape[0], weight.shape[1] // GROUP, GROUP)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    scale = (high - low) / 15
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return torch.round((groups - low) / scale).clamp_(0, 15), scale, low


def _in_8_bits(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(whole numbers, scale of each row); in slices, because a token table as float32 is most of the model."""
    numbers = torch.empty(weight.shape, dtype=torch.int8)
    scale = torch.empty(weight.shape[0])
    for begin in range(0, len(weight), _SLICE):
        part = weight[begin : begin + _SLICE].float()
        scale[begin : begin + _SLICE] = s = part.abs().amax(1).clamp_min_(1e-12).div_(127)
        numbers[begin : begin + _SLICE] = torch.round(part / s[:, None])
    return numbers, scale
