"""Attention of one pass over a ``RowCache``: prompts being read, or one new token per row.

Shapes: N tokens of the pass, B rows, H key/value heads, G query heads per key/value head, S own columns, P prefix
tokens, D elements per head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from alpaca_tui.backends.kvcache import Prefix, Reading, RowCache, flat

ATTENTION = "shared_prefix"


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cache: RowCache, layer: int, scale: float
) -> torch.Tensor:
    """What the queries (N, H·G, D) see of their prefixes and of their rows' own columns; (N, H·G, D).

    ``key`` and ``value`` (N, H, D) are those of the same tokens; the cache holds them already.
    """
    if cache.reading is None:
        return _step(query * scale, cache, layer)
    own = _read_on_cpu if query.device.type == "cpu" else _read
    return own(query, key, value, cache.reading, layer, scale)


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


def _step(query: torch.Tensor, cache: RowCache, layer: int) -> torch.Tensor:
    """One new token per row: all rows behind a prefix meet it in one matrix product, one softmax spans both parts.

    The rows of a part read as many own columns as its longest has: rows of different stages differ by hundreds.
    ``query`` is scaled. The softmax takes and gives the model's type; it sums in fp32 all the same.
    """
    rows, query_heads, width = query.shape
    own = cache.row_layers[layer]
    keys, values = own.own_keys(), own.own_values()
    query = query.view(rows, keys.shape[1], -1, width)
    seen: list[torch.Tensor] = []
    assert cache.parts is not None
    for part in cache.parts:
        among = slice(part.first, part.last)
        asking = query[among]
        scores = torch.matmul(asking, keys[among, ..., part.skip :])
        if cache.mask is not None:
            scores = scores + cache.mask[among, ..., part.skip :]
        told = values[among, :, part.skip :]
        if part.prefix is None:
            seen.append(torch.matmul(torch.softmax(scores, dim=-1), told))
        else:
            weights, prefix = _behind(asking, scores, part.prefix, layer)
            seen.append(prefix + torch.matmul(weights, told))
    return (torch.cat(seen) if len(seen) > 1 else seen[0]).reshape(rows, query_heads, width)


def _behind(query: torch.Tensor, own: torch.Tensor, prefix: Prefix, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights of the own columns (n, H, G, S) and what n rows see of a prefix (n, H, G, D)."""
    rows, heads, group, width = query.shape
    key, value = prefix.keys[layer][0], prefix.values[layer][0]
    shared = key.shape[1]
    stacked = query.transpose(0, 1).reshape(heads, rows * group, width)
    scores = torch.cat(
        [torch.matmul(stacked, key.transpose(1, 2)), own.transpose(0, 1).reshape(heads, rows * group, -1)], dim=-1
    )
    weights = torch.softmax(scores, dim=-1)
    seen = torch.matmul(weights[..., :shared], value)
    return (
        weights[..., shared:].view(heads, rows, group, -1).transpose(0, 1),
        seen.view(heads, rows, group, width).transpose(0, 1),
    )


def _read_on_cpu(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, reading: Reading, layer: int, scale: float
) -> torch.Tensor:
    """The queries of all rows as one long row over the prefix, each row's own tokens apart, and the two weighed by what
    their softmaxes summed to.

    No row gets a copy of the prefix, and nothing needs a mask (Dao et al., arXiv 2205.14135, section 3.1: partial
    softmaxes are merged by their log-sum-exp).
    """
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    tokens, query_heads, width = query.shape
    heads = key.shape[1]
    group = query_heads // heads
    keys, values = (states.repeat_interleave(group, dim=1) if group > 1 else states for states in (key, value))
    own, own_sums = [], []
    for asking, asked, told in zip(*(each.split(reading.lengths) for each in (query, keys, values)), strict=True):
        row = (states.transpose(0, 1)[None] for states in (asking, asked, told))
        seen, sums = attention(*row, is_causal=True, scale=scale)
        own.append(seen[0].transpose(0, 1))
        own_sums.append(sums[0].transpose(0, 1))
    on_own = torch.cat(own) if len(own) > 1 else own[0]
    if reading.prefix is None:
        return on_own
    own_sum = torch.cat(own_sums)
    # (H, G, N, D): the query heads of a key/value head one behind the other.
    stacked = query.view(tokens, heads, group, width).permute(1, 2, 0, 3).reshape(1, heads, group * tokens, width)
    on_prefix, sums = attention(stacked, reading.prefix.keys[layer], reading.prefix.values[layer], scale=scale)
    on_prefix = on_prefix.view(heads, group, tokens, width).permute(2, 0, 1, 3).reshape(query.shape)
    prefix_sum = sums.view(heads, group, tokens).permute(2, 0, 1).reshape(tokens, query_heads)
    share = torch.sigmoid(prefix_sum - own_sum)[..., None]
    return torch.lerp(on_own.float(), on_prefix.float(), share.float()).to(query.dtype)


def _read(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, reading: Reading, layer: int, scale: float
) -> torch.Tensor:
    """Row by row with torch's own kernels. The copy of the prefix lives for this row and layer alone."""
    group = query.shape[1] // key.shape[1]
    seen: list[torch.Tensor] = []
    for asking, asked, told in zip(*(each.split(reading.lengths) for each in (query, key, value)), strict=True):
        queries, keys, values = (states.transpose(0, 1)[None] for states in (asking, asked, told))
        hidden = None
        if reading.prefix is not None:
            keys = torch.cat([reading.prefix.keys[layer], keys], dim=2)
            values = torch.cat([reading.prefix.values[layer], values], dim=2)
            shape = len(asking), keys.shape[2]
            # The last query sees everything, each one before it a token less.
            hidden = torch.ones(shape, dtype=torch.bool, device=query.device).tril(shape[1] - shape[0])
        if group > 1:
            keys, values = keys.repeat_interleave(group, dim=1), values.repeat_interleave(group, dim=1)
        out = scaled_dot_product_attention(queries, keys, values, hidden, is_causal=hidden is None, scale=scale)
        seen.append(out[0].transpose(0, 1))
    return torch.cat(seen)


AttentionInterface.register(ATTENTION, attend_in_transformers)
