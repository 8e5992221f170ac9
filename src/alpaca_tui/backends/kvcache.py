"""Keys and values of a batch: prefixes that rows share, each held once, and what each row adds to its own.

Shapes: N tokens of one pass, B rows of a group, H key/value heads, C columns, P prefix tokens, D elements per head. A
row's own tokens are the first columns of its group's buffer; the rest is masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_BLOCK = 32  # columns by which buffers grow, so that shapes, for which a CPU's kernels are prepared, change seldom
_WASTE = 512  # columns read in vain at a step: about as long as the calls for one more group take


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
    """Rows behind one prefix, or behind none: their own columns, per layer (B, H, C, D).

    The buffers are read whole: a CPU's batched product copies an operand that is a part of something. What a row does
    not fill is finite, whatever it is: it is masked, and only NaN would get through a mask.
    """

    def __init__(self, prefix: Prefix | None, lengths: Sequence[int]) -> None:
        self.prefix = prefix
        self.lengths = list(lengths)
        self.mask = torch.empty(0)
        """To be added to the scores of a step, (B, 1, 1, C)."""
        self._places = torch.empty(0)  # (B,) of the rows' next columns
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._settled = False  # mask and places fit the rows

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def columns(self) -> int:
        """C."""
        return self._keys[0].shape[2]

    @property
    def shared(self) -> int:
        """P."""
        return len(self.prefix) if self.prefix is not None else 0

    def keys(self, layer: int) -> torch.Tensor:
        return self._keys[layer][: len(self)]

    def values(self, layer: int) -> torch.Tensor:
        return self._values[layer][: len(self)]

    def fill(self, key: torch.Tensor, value: torch.Tensor) -> None:
        """Takes the next layer's keys and values (N, H, D) of the rows' prompts, row after row."""
        _, heads, width = key.shape
        shape = len(self), heads, _blocks(max(self.lengths) + 1), width
        for states, kept in ((key, self._keys), (value, self._values)):
            buffer = states.new_zeros(shape)
            for row, own in enumerate(states.split(self.lengths)):
                buffer[row, :, : len(own)] = own.transpose(0, 1)
            kept.append(buffer)

    def append(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Takes the keys and values (B, H, D) of one token per row, for which ``begin_step`` made room."""
        rows = torch.arange(len(self), device=key.device)
        self._keys[layer][rows, :, self._places] = key
        self._values[layer][rows, :, self._places] = value

    def begin_step(self) -> torch.Tensor:
        """Makes room for one token more per row; their positions (B,)."""
        if max(self.lengths) >= self.columns:
            self._resize(len(self), self.columns + _BLOCK)
        if self._settled:
            self._places += 1
        else:
            self._settle()
        self.mask[torch.arange(len(self), device=self.mask.device), 0, 0, self._places] = 0
        self.lengths = [length + 1 for length in self.lengths]
        return self._places + self.shared

    def _settle(self) -> None:
        like = self._keys[0]
        self._places = torch.tensor(self.lengths, device=like.device)
        hidden = torch.arange(self.columns, device=like.device) >= self._places[:, None]
        mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
        self.mask = mask.masked_fill_(hidden, float("-inf"))[:, None, None]
        self._settled = True

    def keep(self, kept: Sequence[int]) -> list[int]:
        """Drops every row but ``kept``; the row that then stands at each place.

        The last rows take the places of those that leave, so nothing else moves.
        """
        places = list(range(len(self)))
        gone = sorted(set(places) - set(kept))
        while gone:
            last = len(places) - 1
            if gone[-1] == last:
                gone.pop()
            else:
                hole = gone.pop(0)
                places[hole] = places[last]
                for buffer in (*self._keys, *self._values):
                    buffer[hole] = buffer[last]
            places.pop()
        self.lengths = [self.lengths[row] for row in places]
        self._settled = False
        needed = _blocks(max(self.lengths, default=0) + 1)
        if needed + 2 * _BLOCK < self.columns:
            self._resize(len(self), needed)
        return places

    def suits(self, other: Group) -> bool:
        """Whether the rows of ``other`` are read with these at less cost than apart."""
        if self.prefix is not other.prefix:
            return False
        # Behind a prefix there are few own columns, and one product with the prefix serves all rows.
        narrow = min(self, other, key=lambda group: group.columns)
        return self.prefix is not None or abs(self.columns - other.columns) * len(narrow) <= _WASTE

    def take_in(self, other: Group) -> None:
        """Appends the rows of ``other``."""
        rows = len(self) + len(other)
        if rows > len(self._keys[0]) or other.columns > self.columns:
            self._resize(rows, max(self.columns, other.columns))
        fresh = slice(len(self), rows)
        for mine, theirs in zip((*self._keys, *self._values), (*other._keys, *other._values), strict=True):
            mine[fresh, :, : other.columns] = theirs[: len(other)]
        self.lengths += other.lengths
        self._settled = False

    def _resize(self, rows: int, columns: int) -> None:
        for kept in (self._keys, self._values):
            for layer, old in enumerate(kept):
                most, heads, had, width = old.shape
                buffer = old.new_zeros(max(rows, most), heads, columns, width)
                buffer[: len(self), :, : min(columns, had)] = old[: len(self), :, :columns]
                kept[layer] = buffer
        self._settled = False

    def first_row(self, ids: tuple[int, ...]) -> Prefix:
        """A copy of what the first row, whose tokens are ``ids``, holds of its own."""
        keys, values = (
            [layer[:1, :, : len(ids)].contiguous() for layer in kept] for kept in (self._keys, self._values)
        )
        return Prefix(ids, keys, values)


class RowCache(Cache):
    """The cache that a pass through the model fills: groups of rows, in the order of the pass's tokens.

    It begins with groups whose prompts the first pass reads, row after row without padding.
    """

    def __init__(self, layers: int, groups: list[Group]) -> None:
        super().__init__(layers=[_Layer(self, at) for at in range(layers)])
        self.groups = groups
        self.reading = True
        """Whether a pass reads prompts; else it is a step of one token per row."""

    def begin_step(self) -> torch.Tensor:
        """The next pass is a step; the positions (B,) of its tokens."""
        self.reading = False
        return torch.cat([group.begin_step() for group in self.groups])

    def spans(self) -> list[tuple[Group, int, int]]:
        """The groups, with the first and the last (exclusive) of the pass's tokens that are theirs."""
        ends = [0]
        for group in self.groups:
            ends.append(ends[-1] + (sum(group.lengths) if self.reading else len(group)))
        return [(group, *span) for group, span in zip(self.groups, pairwise(ends), strict=True)]

    def store(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Takes the keys and values (N, H, D) of a pass's tokens in ``layer``."""
        for group, first, last in self.spans():
            if self.reading:
                group.fill(key[first:last], value[first:last])
            else:
                group.append(layer, key[first:last], value[first:last])

    def longest(self) -> int:
        """The most own tokens that a row has."""
        return max(max(group.lengths) for group in self.groups)


class _Layer(CacheLayerMixin):
    """Hands what transformers' model code gives one layer to the cache."""

    def __init__(self, cache: RowCache, layer: int) -> None:
        super().__init__()
        self._cache, self._layer = cache, layer

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


def _blocks(columns: int) -> int:
    return -(-columns // _BLOCK) * _BLOCK
