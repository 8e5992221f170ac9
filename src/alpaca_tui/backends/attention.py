"""Attention of one pass over a ``RowCache``: prompts being read, or one new token per row.

Shapes: N tokens of the pass, B rows of a group, H key/value heads, G query heads per key/value head, P prefix tokens,
D elements per head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

from alpaca_tui.backends.kvcache import Group, RowCache, flat

ATTENTION = "shared_prefix"
_ALONE = 512  # queries of a row that meet its keys at once
_BEHIND = 128  # queries that meet a prefix at once


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cache: RowCache, layer: int, scale: float
) -> torch.Tensor:
    """What the queries (N, H·G, D) see of their prefixes and of their rows' own columns; (N, H·G, D).

    ``key`` and ``value`` (N, H, D) are those of the same tokens; the cache holds them already.
    """
    read = _read_on_cpu if query.device.type == "cpu" else _read
    seen = []
    for group, first, last in cache.spans:
        among = slice(first, last)
        if not cache.reading:
            seen.append(_step(query[among], group, layer, scale))
        else:
            seen.append(read(query[among], key[among], value[among], group, layer, scale))
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


def _read_on_cpu(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, group: Group, layer: int, scale: float
) -> torch.Tensor:
    """A few queries at a time: the prefix is never copied, no mask spans it, and the scores stay in the cache."""
    query = query * scale
    if group.prefix is None:
        repeats = query.shape[1] // key.shape[1]
        if repeats > 1:
            key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
        seen = [_among(query, key, value, piece) for piece in _pieces(group.blocks[0].lengths, _ALONE)]
    else:
        shared = group.prefix.keys[layer][0], group.prefix.values[layer][0]
        runs = _runs(_pieces(group.blocks[0].lengths, _BEHIND), _BEHIND)
        seen = [_behind(query, key, value, shared, run) for run in runs]
    return _all(seen)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Queries ``first`` to ``last`` (exclusive) of the row from ``begin`` to ``end``."""

    begin: int
    first: int
    last: int
    end: int

    @property
    def whole(self) -> bool:
        return self.first == self.begin and self.last == self.end


def _pieces(lengths: Sequence[int], tokens: int) -> list[_Piece]:
    """The rows in pieces of at most so many tokens."""
    begins = [0, *accumulate(lengths)]
    return [
        _Piece(begin, first, min(first + tokens, end), end)
        for begin, end in pairwise(begins)
        for first in range(begin, end, tokens)
    ]


def _runs(pieces: Sequence[_Piece], tokens: int) -> list[list[_Piece]]:
    """``pieces`` in runs of whole rows with at most so many tokens; a part of a row stays alone."""
    runs: list[list[_Piece]] = []
    for piece in pieces:
        last = runs[-1] if runs else None
        if last is None or not piece.whole or not last[-1].whole or piece.last - last[0].first > tokens:
            runs.append([piece])
        else:
            last.append(piece)
    return runs


def _among(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, piece: _Piece) -> torch.Tensor:
    """What a row's tokens see of each other; as many heads of keys as of queries."""
    queries = query[piece.first : piece.last].transpose(0, 1)
    keys, values = (states[piece.begin : piece.last].transpose(0, 1) for states in (key, value))
    scores = torch.matmul(queries, keys.transpose(1, 2))
    scores += _future(scores.shape[1], scores.shape[2], query)
    return torch.matmul(torch.softmax(scores, dim=-1), values).transpose(0, 1)


def _behind(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    prefix: tuple[torch.Tensor, torch.Tensor],
    run: Sequence[_Piece],
) -> torch.Tensor:
    """Some pieces behind a prefix, keys and values (H, P, D): all queries meet it in one matrix product, and their own
    rows' tokens in another, for which rows are padded; one softmax spans both."""
    first, last, rows = run[0].first, run[-1].last, len(run)
    tokens = last - first
    heads, shared, width = prefix[0].shape
    # (H·G, N, D): the query heads of a key/value head one behind the other.
    asking = query[first:last].transpose(0, 1).contiguous()
    stacked = asking.view(heads, -1, width)
    on_prefix = torch.matmul(stacked, prefix[0].transpose(1, 2)).view(-1, tokens, shared)
    own_key, own_value = (states[run[0].begin : last].transpose(0, 1) for states in (key, value))
    if rows > 1:
        widths = tuple(piece.last - piece.first for piece in run)
        real = _real(widths)
        asking, own_key, own_value = (
            _padded(states, real, rows * max(widths)) for states in (asking, own_key, own_value)
        )
    # (H, B, G, L, D), where all rows have L queries and as many keys, or one row has L queries and more keys.
    asking = asking.view(heads, -1, rows, asking.shape[1] // rows, width).transpose(1, 2)
    own_key, own_value = (states.reshape(heads, rows, 1, -1, width) for states in (own_key, own_value))
    scores = torch.matmul(asking.flatten(2, 3), own_key[:, :, 0].transpose(2, 3)).view(*asking.shape[:4], -1)
    own = (scores + _future(scores.shape[3], scores.shape[4], query)).transpose(1, 2).flatten(0, 1).flatten(1, 2)
    if rows > 1:
        own = own[:, real]
    weights = torch.softmax(torch.cat([on_prefix, own], dim=-1), dim=-1)
    seen = torch.matmul(weights[..., :shared].reshape(heads, -1, shared), prefix[1]).view(-1, tokens, width)
    mine = weights[..., shared:]
    if rows > 1:
        mine = _padded(mine, real, rows * max(widths))
    mine = mine.view(heads, -1, rows, mine.shape[1] // rows, mine.shape[2]).transpose(1, 2)
    told = torch.matmul(mine.flatten(2, 3), own_value[:, :, 0]).view(*mine.shape[:4], width)
    told = told.transpose(1, 2).flatten(0, 1).flatten(1, 2)
    seen += told[:, real] if rows > 1 else told
    return seen.transpose(0, 1)


def _padded(states: torch.Tensor, real: torch.Tensor, places: int) -> torch.Tensor:
    """(heads, places, D) with ``states`` (heads, N, D) in the places ``real``, zeros in the others."""
    return states.new_zeros(states.shape[0], places, states.shape[2]).index_copy_(1, real, states)


@lru_cache(maxsize=8)
def _real(widths: tuple[int, ...]) -> torch.Tensor:
    """The places of rows of such widths in a matrix of rows that are padded on the right."""
    longest = max(widths)
    return torch.tensor([row * longest + at for row, width in enumerate(widths) for at in range(width)])


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
