"""What LLaMA computes between products with weights, by torch's operations: ``kernels`` for other devices and types.

Shapes: N tokens, S numbers of a token's hidden state, M numbers inside its perceptron, D elements per head.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def add_norm(
    hidden: torch.Tensor, more: torch.Tensor | None, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """``hidden`` (N, S) with ``more``, and that over the root of its mean square, times ``weight`` (S,)."""
    if more is not None:
        hidden = hidden + more
    return hidden, F.rms_norm(hidden, (hidden.shape[-1],), weight, eps)


def turn(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int) -> None:
    """Turns the first ``heads`` heads of ``states`` (N, heads and more, D) in place by the angles (N, D) of rotary
    positions: a head's halves (a, b) become (a·cos - b·sin, b·cos + a·sin)."""
    turning, half = states[:, :heads], states.shape[-1] // 2
    signed = torch.cat((-sin[:, :half], sin[:, half:]), dim=-1)
    turning.copy_(torch.addcmul(turning * cos[:, None], turning.roll(half, dims=-1), signed[:, None]))


def gated(both: torch.Tensor) -> torch.Tensor:
    """SwiGLU: SiLU of the first half of ``both`` (N, 2·M), times the second half; (N, M)."""
    gate, up = both.chunk(2, dim=-1)
    return F.silu(gate).mul_(up)
