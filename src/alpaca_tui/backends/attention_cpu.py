"""Attention on a CPU: matrix products with what many queries share, kernels of our own for what each has to itself.

Shapes as in ``attention``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import torch

from alpaca_tui.backends import kernels
from alpaca_tui.backends.kernels import Own
from alpaca_tui.backends.kvcache import Group, Prefix, RowCache

_AT_ONCE = 512  # queries of a row that meet its keys at once
_BEHIND = 128  # queries that meet a prefix at once: their scores stay in the processor's cache


@dataclass(slots=True)
class Plan:
    """What the layers of a step have in common: buffers for the scores (H, B·G, P) on the prefixes, each with its first
    and its last row (exclusive), and where they are: ``shared`` (B, 3), see ``kernels.see``."""

    behind: list[tuple[Prefix, int, int, torch.Tensor]]
    shared: np.ndarray

    @staticmethod
    def of(query: torch.Tensor, heads: int, groups: list[tuple[Group, int, int]]) -> Plan:
        behind, shared = [], np.zeros((len(query), 3), np.int64)
        for group, first, last in groups:
            if group.prefix is not None:
                scores = query.new_empty(heads, (last - first) * query.shape[1] // heads, len(group.prefix))
                behind.append((group.prefix, first, last, scores))
                shared[first:last] = _lines(scores, last - first)
        return Plan(behind, shared)


def step(query: torch.Tensor, heads: int, cache: RowCache, layer: int, scale: float) -> torch.Tensor:
    """One new token per row."""
    plan = cache.plan
    if plan is None:
        cache.plan = plan = Plan.of(query, heads, cache.spans)
    for prefix, first, last, scores in plan.behind:
        torch.bmm(_by_head(query[first:last], heads), prefix.keys[layer][0].transpose(1, 2), out=scores)
    seen = kernels.see(query, heads, cache.own(layer), plan.shared, scale)
    for prefix, first, last, scores in plan.behind:
        seen.merge(torch.bmm(scores, prefix.values[layer][0]), first, last)
    return seen.out


def read(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, group: Group, layer: int, scale: float
) -> torch.Tensor:
    """Prompts, row after row."""
    rows = list(pairwise(accumulate(group.blocks[0].lengths, initial=0)))
    if group.prefix is None:
        parts = [
            (begin, first, min(first + _AT_ONCE, end)) for begin, end in rows for first in range(begin, end, _AT_ONCE)
        ]
        return torch.cat(
            [_among(query[first:last], key[begin:last], value[begin:last], scale) for begin, first, last in parts]
        )
    keys, values = group.prefix.keys[layer][0], group.prefix.values[layer][0]
    key, value = kernels.alike(key, value)
    own, heads = _own_in_prompts(key, value, rows), key.shape[1]
    parts = []
    for first in range(0, len(query), _BEHIND):
        among = slice(first, first + _BEHIND)
        asking = query[among]
        scores = torch.bmm(_by_head(asking, heads), keys.transpose(1, 2))
        mine = Own(own.places[among], own.lengths[among], own.column)
        seen = kernels.see(asking, heads, mine, _lines(scores, len(asking)), scale)
        seen.merge(torch.bmm(scores, values), 0, len(asking))
        parts.append(seen.out)
    return torch.cat(parts)


def _among(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """What the last tokens of a row see of those before them and of each other."""
    tokens, lines, width = query.shape
    heads = key.shape[1]
    key, value = (states.transpose(0, 1).contiguous() for states in (key, value))
    weights = kernels.future_softmax(torch.bmm(_by_head(query, heads), key.transpose(1, 2)), lines // heads, scale)
    return torch.bmm(weights, value).view(heads, tokens, -1, width).transpose(0, 1).reshape(query.shape)


def _by_head(query: torch.Tensor, heads: int) -> torch.Tensor:
    """(H, N·G, D) of (N, H·G, D)."""
    tokens, _, width = query.shape
    return query.view(tokens, heads, -1, width).transpose(0, 1).reshape(heads, -1, width)


def _lines(scores: torch.Tensor, tokens: int) -> np.ndarray:
    """(N, 3): where each of so many tokens finds its part of ``scores`` (H, N·G, P), see ``kernels.see``."""
    _, lines, shared = scores.shape
    found = np.empty((tokens, 3), np.int64)
    found[:, 0] = scores.data_ptr() + np.arange(tokens) * (lines // tokens * shared * scores.itemsize)
    found[:, 1:] = lines * shared, shared
    return found


def _own_in_prompts(key: torch.Tensor, value: torch.Tensor, rows: list[tuple[int, int]]) -> Own:
    """A token's keys and values begin where its row does and end with itself."""
    lengths = np.concatenate([np.arange(1, 1 + end - begin) for begin, end in rows])
    begins = (np.arange(len(lengths)) + 1 - lengths) * (key.stride(0) * key.itemsize)
    places = np.empty((len(lengths), 3), np.int64)
    places[:, 0], places[:, 1], places[:, 2] = key.data_ptr() + begins, value.data_ptr() + begins, key.stride(1)
    return Own(places, lengths, key.stride(0))
