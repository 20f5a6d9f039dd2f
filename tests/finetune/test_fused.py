"""A layer with its adapter in one piece is peft's layer, to the last digits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from finetune.fused import FusedLinear


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def adapted(*, fused: bool, dropout: float = 0.0) -> Any:
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules=["layer"])
    if fused:
        config._register_custom_module({nn.Linear: FusedLinear})
    model = get_peft_model(Base(), config)
    torch.manual_seed(4)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_()  # peft begins with nothing there
    return model.train()


def taught(model: Any, *, half: bool = False) -> list[torch.Tensor]:
    """What comes out of it for some input, and the gradients of input and adapter."""
    torch.manual_seed(5)
    x = torch.randn(2, 3, 12, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        out = model(x)
    (out.float() ** 2).sum().backward()
    return [out.float(), x.grad, *(p.grad for _, p in sorted(model.named_parameters()) if p.requires_grad)]


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_it_computes_and_learns_as_peft_does(half: bool) -> None:
    ours, theirs = adapted(fused=True), adapted(fused=False)
    assert type(ours.base_model.model.layer) is FusedLinear
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    close = {"rtol": 0.03, "atol": 0.6} if half else {"rtol": 1e-5, "atol": 1e-4}
    for mine, wanted in zip(taught(ours, half=half), taught(theirs, half=half), strict=True):
        assert wanted.abs().max() > 1
        assert mine.dtype == wanted.dtype
        torch.testing.assert_close(mine, wanted, **close)


def test_only_the_adapter_learns() -> None:
    model = adapted(fused=True)
    taught(model)
    assert {n.rpartition("layer.")[2] for n, p in model.named_parameters() if p.grad is not None} == {
        "lora_A.default.weight",
        "lora_B.default.weight",
    }


def test_the_adapter_can_still_be_turned_off_merged_and_made_to_forget() -> None:
    model = adapted(fused=True)
    x = torch.ones(1, 12)
    with_it = model(x)
    with model.disable_adapter():
        without = model(x)
    plain = torch.nn.functional.linear(
        x, model.base_model.model.layer.base_layer.weight, model.base_model.model.layer.base_layer.bias
    )
    torch.testing.assert_close(without, plain)
    assert not torch.allclose(with_it, without)
    model.merge_adapter()
    torch.testing.assert_close(model(x), with_it, rtol=1e-4, atol=1e-4)
    forgetful = adapted(fused=True, dropout=0.5)
    assert not torch.equal(forgetful(x), forgetful(x))
