"""Causal attention over examples laid end to end, each seeing only itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface

FLATTENED = "flattened_sdpa"
"""The name under which models load this attention (``attn_implementation``)."""


def flattened_sdpa(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sequence_lengths: Sequence[int] | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a flattened batch: query (1, H, T, D), key and value (1, H_kv, T, D), T = sum(sequence_lengths).

    One causal call per example: the scores of T tokens then take the sum of the squared lengths, not T squared, no
    mask is built, and nothing can leak between examples. The fused kernels of every device take this shape, Volta's
    memory-efficient one and the CPU's included. Returns (1, T, H, D) and no weights.

    Raises ValueError where the lengths are missing: the batch was then not made for this attention.
    """
    if sequence_lengths is None or sum(sequence_lengths) != query.shape[2] or query.shape[0] != 1:
        raise ValueError("flattened attention needs one row and the lengths of the examples in it")
    lengths = list(sequence_lengths)
    if query.device.type == "cpu":
        return _on_cpu(query, key, value, lengths, dropout, scaling), None
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        # Repeated rather than enable_gqa: the memory-efficient kernel, the only fused one on Volta, lacks it.
        key = key.repeat_interleave(groups, dim=1)
        value = value.repeat_interleave(groups, dim=1)
    parts = [
        torch.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling, is_causal=True)
        for q, k, v in zip(
            query.split(lengths, dim=2), key.split(lengths, dim=2), value.split(lengths, dim=2), strict=True
        )
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _on_cpu(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: list[int],
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """The same in fp32: the CPU's kernel takes twice as long for the backward pass in bf16 (256 tokens and fewer)."""
    with torch.autocast("cpu", enabled=False):
        parts = [
            torch.nn.functional.scaled_dot_product_attention(
                q, k, v, dropout_p=dropout, scale=scaling, is_causal=True, enable_gqa=q.shape[1] != k.shape[1]
            )
            for q, k, v in zip(*(states.float().split(lengths, dim=2) for states in (query, key, value)), strict=True)
        ]
        return torch.cat(parts, dim=2).transpose(1, 2).to(query.dtype).contiguous()


# An attention that has no entry among transformers' mask functions is given no mask at all, which is meant here.
AttentionInterface.register(FLATTENED, flattened_sdpa)
