"""Attention on a CPU: products with what many queries share, and kernels of our own for what each has to itself.

Shapes as in ``attention``.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import torch

from alpaca_tui.backends import kernels
from alpaca_tui.backends.kvcache import Group

_AT_ONCE = 512  # queries of a row that meet its keys at once
_BEHIND = 128  # queries that meet a prefix at once: their scores stay in the processor's cache


def step(query: torch.Tensor, group: Group, layer: int, scale: float) -> torch.Tensor:
    """One new token per row."""
    places, lengths = group.places()
    heads, width = group.blocks[0].heads, query.shape[2]
    prefix = None if group.prefix is None else (group.prefix.keys[layer][0], group.prefix.values[layer][0])
    return kernels.see(query, heads, places[layer], lengths, width, scale, prefix)


def read(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, group: Group, layer: int, scale: float
) -> torch.Tensor:
    """Prompts, row after row."""
    ends = list(accumulate(group.blocks[0].lengths, initial=0))
    if group.prefix is None:
        return torch.cat(
            [
                _among(query[first : first + _AT_ONCE][: end - first], key[begin:end], value[begin:end], first - begin, scale)
                for begin, end in pairwise(ends)
                for first in range(begin, end, _AT_ONCE)
            ]
        )
    prefix = group.prefix.keys[layer][0], group.prefix.values[layer][0]
    lengths = np.concatenate([np.arange(1, 1 + end - begin) for begin, end in pairwise(ends)])
    begins = np.repeat(np.array(ends[:-1]), np.diff(ends))
    # A token's keys begin where its row does.
    step = key.stride(0) * key.itemsize
    places = np.empty((len(begins), 3), np.int64)
    places[:, 0], places[:, 1], places[:, 2] = key.data_ptr() + begins * step, value.data_ptr() + begins * step, key.stride(1)
    heads = key.shape[1]
    return torch.cat(
        [
            kernels.see(query[among], heads, places[among], lengths[among], key.stride(0), scale, prefix)
            for among in (slice(first, first + _BEHIND) for first in range(0, len(query), _BEHIND))
        ]
    )


def _among(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, before: int, scale: float) -> torch.Tensor:
    """What some tokens of a row see of those ``before`` them and of each other."""
    tokens, lines, width = query.shape
    heads = key.shape[1]
    key, value = (states[: before + tokens].transpose(0, 1).contiguous() for states in (key, value))
    asking = query.view(tokens, heads, -1, width).transpose(0, 1).reshape(heads, -1, width)
    weights = kernels.future_softmax(torch.bmm(asking, key.transpose(1, 2)), lines // heads, scale)
    return torch.bmm(weights, value).view(heads, tokens, -1, width).transpose(0, 1).reshape(query.shape)
