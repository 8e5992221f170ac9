"""Keys and values of a batch: prefixes that rows share, each held once, and what each row adds to its own.

Shapes: N tokens of one pass, B rows, H key/value heads, P prefix tokens, D elements per head.
"""

from __future__ import annotations

import weakref
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from alpaca_tui.backends import kernels
from alpaca_tui.backends.block import Block
from alpaca_tui.backends.kernels import Own

T = TypeVar("T")


class Prefix:
    """The keys and values of a token sequence, per layer (1, H, P, D), computed once for all rows."""

    def __init__(self, ids: tuple[int, ...], keys: list[torch.Tensor], values: list[torch.Tensor]) -> None:
        self.ids = ids
        self.keys = keys
        self.values = values
        self._heads: dict[int, Prefix] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def head(self, length: int) -> Prefix:
        """The first ``length`` tokens, in memory of their own; one object for each length."""
        if length == len(self):
            return self
        if length not in self._heads:
            # Contiguous: a CPU's batched product copies any other operand, at every step.
            keys = [key[:, :, :length].contiguous() for key in self.keys]
            values = [value[:, :, :length].contiguous() for value in self.values]
            self._heads[length] = Prefix(self.ids[:length], keys, values)
        return self._heads[length]

    def joined(self, more: Prefix) -> Prefix:
        """This prefix followed by ``more``, which was read behind it."""
        keys = [torch.cat(pair, dim=2) for pair in zip(self.keys, more.keys, strict=True)]
        values = [torch.cat(pair, dim=2) for pair in zip(self.values, more.values, strict=True)]
        return Prefix(self.ids + more.ids, keys, values)


class Group:
    """The rows behind one prefix, or behind none, in blocks of rows that are about as long."""

    def __init__(self, prefix: Prefix | None, blocks: list[Block]) -> None:
        self.prefix = prefix
        self.blocks = blocks
        self.spans: list[tuple[Block, int, int]] = []
        """In a step, the blocks, with the first and the last (exclusive) of the group's rows that are theirs."""

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def shared(self) -> int:
        """P."""
        return len(self.prefix) if self.prefix is not None else 0

    def begin_step(self) -> list[torch.Tensor]:
        """Makes room for one token more per row; the positions of these tokens, block by block."""
        self.spans = _spans([(block, len(block)) for block in self.blocks])
        return [block.begin_step() + self.shared for block in self.blocks]

    def unite(self) -> None:
        """Drops empty blocks and joins those that are read together at less cost than apart."""
        united: list[Block] = []
        for block in filter(len, self.blocks):
            home = next((other for other in united if other.suits(block)), None)
            if home is None:
                united.append(block)
            else:
                home.take_in(block)
        self.blocks = united


class RowCache(Cache):
    """The cache that a pass through the model fills: groups of rows, in the order of the pass's tokens.

    It begins with groups of one block, whose prompts the first pass reads, row after row without padding.
    """

    def __init__(self, layers: int, groups: list[Group]) -> None:
        super().__init__(layers=[_Layer(self, at) for at in range(layers)])
        self.groups = groups
        self._own: list[Own] = []
        self.plan: Any = None
        """In a step on a CPU, what its layers have in common (``attention_cpu.Plan``)."""
        self.reading = True
        """Whether a pass reads prompts; else it is a step of one token per row."""
        self.spans = _spans([(group, sum(group.blocks[0].lengths)) for group in groups])
        """The groups, with the first and the last (exclusive) of the pass's tokens that are theirs."""

    def part(self) -> bool:
        """Gives rows that have become much longer than their neighbours blocks of their own; whether rows moved."""
        moved = False
        for group in self.groups:
            for block in list(group.blocks):
                if block.full and (parted := block.longest()):
                    group.blocks.append(block.split_off(parted))
                    moved = True
        return moved

    def begin_step(self) -> torch.Tensor:
        """The next pass is a step; the positions (B,) of its tokens."""
        self.reading = False
        self._own, self.plan = [], None
        self.spans = _spans([(group, len(group)) for group in self.groups])
        return torch.cat([places for group in self.groups for places in group.begin_step()])

    def store(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Takes the keys and values (N, H, D) of a pass's tokens in ``layer``."""
        if not self.reading and kernels.can_fuse(key.dtype, key.device):
            kernels.append(key, value, self.own(layer))
            return
        for group, first, last in self.spans:
            if self.reading:
                group.blocks[0].fill(key[first:last], value[first:last])
                continue
            for block, begin, end in group.spans:
                among = slice(first + begin, first + end)
                block.append(layer, key[among], value[among])

    def own(self, layer: int) -> Own:
        """In a step on a CPU, where the rows' own columns of ``layer`` are."""
        if not self._own:
            blocks = [block for group in self.groups for block in group.blocks]
            lengths = np.array([length for block in blocks for length in block.lengths])
            places = np.concatenate([block.places() for block in blocks], axis=1)
            self._own = [Own(of_layer, lengths, blocks[0].width) for of_layer in places]
        return self._own[layer]

    def longest(self) -> int:
        """The most own tokens that a row has."""
        return max(max(block.lengths) for group in self.groups for block in group.blocks)


class _Layer(CacheLayerMixin):
    """Hands what transformers' model code gives one layer to the cache."""

    def __init__(self, cache: RowCache, layer: int) -> None:
        super().__init__()
        # Weak: a ring of references would keep every read's buffers until the garbage collector comes by.
        self._cache = weakref.proxy(cache)
        self._layer = layer

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing: a group's buffers come with its first keys."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self._cache.store(self._layer, flat(key_states), flat(value_states))
        return key_states, value_states

    def get_seq_length(self) -> int:
        return 0 if self._cache.reading else self._cache.longest()

    def get_max_length(self) -> int:
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0


def flat(states: torch.Tensor) -> torch.Tensor:
    """(N, H, D) from the layouts of transformers' model code: prompts in one long row (1, H, N, D), or (B, H, 1, D)."""
    return states[0].transpose(0, 1) if states.shape[0] == 1 else states[:, :, 0]


def _spans(sizes: list[tuple[T, int]]) -> list[tuple[T, int, int]]:
    ends = accumulate((size for _, size in sizes), initial=0)
    return [(item, *span) for (item, _), span in zip(sizes, pairwise(ends), strict=True)]
