"""Attention of one pass over a ``RowCache``: prompts being read, or one new token per row.

Shapes: N tokens of the pass, B rows of a group, H key/value heads, G query heads per key/value head, P prefix tokens,
D elements per head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

from alpaca_tui.backends import attention_cpu, kernels
from alpaca_tui.backends.kvcache import Group, RowCache, flat

ATTENTION = "shared_prefix"


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cache: RowCache, layer: int, scale: float
) -> torch.Tensor:
    """What the queries (N, H·G, D) see of their prefixes and of their rows' own columns; (N, H·G, D).

    ``key`` and ``value`` (N, H, D) are those of the same tokens; the cache holds them already.
    """
    fused = kernels.can_fuse(query.dtype, query.device)
    if fused and not cache.reading:
        return attention_cpu.step(query, key.shape[1], cache, layer, scale)
    read = attention_cpu.read if fused else _read
    seen = []
    for group, first, last in cache.spans:
        among = slice(first, last)
        if cache.reading:
            seen.append(read(query[among], key[among], value[among], group, layer, scale))
        else:
            seen.append(_step(query[among], group, layer, scale))
    return _all(seen)


def attend_in_transformers(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    kv: RowCache | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """``attend`` as transformers' model code calls it: prompts as one long row (1, H·G, N, D), or (B, H·G, 1, D).

    Returns (1, N, H·G, D) or (B, 1, H·G, D).
    """
    assert kv is not None
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    layer: int = module.layer_idx
    seen = attend(flat(query), flat(key), flat(value), kv, layer, scale)
    return (seen[None] if query.shape[0] == 1 else seen[:, None]), None


def _step(query: torch.Tensor, group: Group, layer: int, scale: float) -> torch.Tensor:
    """One new token per row: all rows meet the prefix in one matrix product, one softmax spans it and the own columns.

    The softmax takes and gives the model's type; it sums in fp32 all the same.
    """
    rows, query_heads, width = query.shape
    heads = len(group.blocks[0].mask) // len(group.blocks[0])
    # (B·H, G, D), of which a block's rows are some; few and large operations, for each costs a call of every layer.
    asking = query.reshape(rows * heads, query_heads // heads, width)
    scores = [
        torch.baddbmm(block.mask, asking[first * heads : last * heads], block.keys[layer].transpose(1, 2), alpha=scale)
        for block, first, last in group.spans
    ]
    if group.prefix is None:
        told = [
            torch.bmm(torch.softmax(own, dim=-1), block.values[layer])
            for own, (block, _, _) in zip(scores, group.spans, strict=True)
        ]
        return _all(told).view(query.shape)
    key, value = group.prefix.keys[layer][0], group.prefix.values[layer][0]

    def by_head(states: torch.Tensor) -> torch.Tensor:
        """(H, B·G, ...): the queries of all rows to one head of the prefix, or back."""
        return states.view(rows, heads, -1, states.shape[-1]).transpose(0, 1).reshape(heads, -1, states.shape[-1])

    on_prefix = torch.bmm(by_head(asking), key.transpose(1, 2)).mul_(scale)
    weights = torch.softmax(torch.cat([on_prefix, by_head(_beside(scores))], dim=-1), dim=-1)
    shared, own = weights.split([group.shared, weights.shape[-1] - group.shared], dim=-1)
    seen = torch.bmm(shared, value).view(heads, rows, -1, width).transpose(0, 1).reshape(asking.shape)
    own = own.reshape(heads, rows, -1, own.shape[-1]).transpose(0, 1).reshape(*asking.shape[:2], -1)
    told = [
        torch.bmm(own[first * heads : last * heads, :, : block.columns], block.values[layer])
        for block, first, last in group.spans
    ]
    return seen.add_(_all(told)).view(query.shape)


def _beside(scores: list[torch.Tensor]) -> torch.Tensor:
    """The scores of several blocks (B·H, G, C), as wide as the widest; nothing is seen beyond a block's own."""
    if len(scores) == 1:
        return scores[0]
    widest = max(own.shape[-1] for own in scores)
    return torch.cat([pad(own, (0, widest - own.shape[-1]), value=float("-inf")) for own in scores])


def _all(parts: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _future(queries: int, keys: int, like: torch.Tensor) -> torch.Tensor:
    """To be added to scores (..., queries, keys): nobody sees what comes after it, the last query sees all."""
    hidden = torch.full((queries, keys), float("-inf"), dtype=like.dtype, device=like.device)
    return hidden.triu_(1 + keys - queries)


def _read(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, group: Group, layer: int, scale: float
) -> torch.Tensor:
    """Row by row with torch's own kernels. The copy of the prefix lives for this row and layer alone."""
    share = query.shape[1] // key.shape[1]
    seen: list[torch.Tensor] = []
    for asking, asked, told in zip(*(each.split(group.blocks[0].lengths) for each in (query, key, value)), strict=True):
        queries, keys, values = (states.transpose(0, 1)[None] for states in (asking, asked, told))
        hidden = None
        if group.prefix is not None:
            keys = torch.cat([group.prefix.keys[layer], keys], dim=2)
            values = torch.cat([group.prefix.values[layer], values], dim=2)
            hidden = _future(len(asking), keys.shape[2], query)
        if share > 1:
            keys, values = keys.repeat_interleave(share, dim=1), values.repeat_interleave(share, dim=1)
        out = scaled_dot_product_attention(queries, keys, values, hidden, is_causal=hidden is None, scale=scale)
        seen.append(out[0].transpose(0, 1))
    return _all(seen)


AttentionInterface.register(ATTENTION, attend_in_transformers)
