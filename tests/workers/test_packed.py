"""Weights packed for the CPU's kernels: the same numbers, and nothing where a kernel is not to be had."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from alpaca_tui.backends.packed import PackedLinear, can_pack, pack_linears

packs = pytest.mark.skipif(
    not can_pack(torch.bfloat16, torch.device("cpu")), reason="this torch has no packed linear layers here"
)


@packs
@pytest.mark.parametrize("rows", [(1,), (7,), (3, 5)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_packed_layer_computes_what_the_plain_one_does(rows: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(3)
    linear = nn.Linear(96, 160, bias=bias, dtype=torch.bfloat16)
    inputs = torch.randn(*rows, 96).bfloat16()
    with torch.inference_mode():
        expected, packed = linear(inputs), PackedLinear(linear)(inputs)
    assert packed.shape == expected.shape
    # The order of a sum may differ between two kernels: a few units in the last of bfloat16's eight bits.
    torch.testing.assert_close(packed, expected, rtol=2e-2, atol=2e-2)


@packs
def test_every_linear_layer_of_a_model_is_replaced() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 4), nn.ReLU())).to(torch.bfloat16)
    assert pack_linears(model) == 2
    assert not list(model.parameters())


def test_only_what_gains_is_packed() -> None:
    assert not can_pack(torch.float32, torch.device("cpu"))
    assert not can_pack(torch.bfloat16, torch.device("cuda"))
