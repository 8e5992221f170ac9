"""Keys and values of a batch: prefixes that rows share, each held once, and what each row adds to its own.

Shapes: N tokens of one pass, B rows, H key/value heads, S own columns, P prefix tokens, D elements per head. Own
columns are left-padded: row b's first ``pad[b]`` columns are masked. Own keys lie transposed, (B, H, D, S): a decoding
step multiplies a few queries with them, which takes less than half the time so (CPU, bfloat16).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_GROWTH = 64  # columns; a buffer grows by half its size, at least by this


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
        """The first ``length`` tokens, as views of the same memory; one object for each length."""
        if length == len(self):
            return self
        if length not in self._heads:
            keys = [key[:, :, :length] for key in self.keys]
            values = [value[:, :, :length] for value in self.values]
            self._heads[length] = Prefix(self.ids[:length], keys, values)
        return self._heads[length]

    def joined(self, ids: tuple[int, ...], own: RowCache) -> Prefix:
        """This prefix followed by the single row of ``own``, whose tokens are ``ids``."""
        fresh = own.first_row(ids)
        keys = [torch.cat(pair, dim=2) for pair in zip(self.keys, fresh.keys, strict=True)]
        values = [torch.cat(pair, dim=2) for pair in zip(self.values, fresh.values, strict=True)]
        return Prefix(self.ids + ids, keys, values)


class RowLayer(CacheLayerMixin):
    """One layer's own columns: a window of a buffer with room for more rows and columns.

    So a token, a row that leaves and a row that comes move only what is theirs. What lies outside the window or under
    padding is finite, whatever it is: it is masked, and only NaN would get through a mask.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        super().__init__()
        self.lengths = lengths
        self.rows = len(lengths)
        self.begin = self.end = 0

    @property
    def length(self) -> int:
        """S, the number of own columns."""
        return self.end - self.begin

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        _, heads, _, width = key_states.shape
        self._allocate(heads, width, key_states)

    def _allocate(self, heads: int, width: int, like: torch.Tensor) -> None:
        self.end = max(self.lengths)
        self.keys = like.new_zeros(self.rows, heads, width, self.end)
        self.values = like.new_zeros(self.rows, heads, self.end, width)
        self.is_initialized = True

    def store(self, key: torch.Tensor, value: torch.Tensor) -> None:
        """Takes the keys and values (N, H, D) of a pass: those of the prompts, row after row, or one token per row."""
        if self.is_initialized:
            self.reserve(self.rows, 0, 1)
            self.keys[: self.rows, :, :, self.end] = key
            self.values[: self.rows, :, self.end] = value
            self.end += 1
            return
        self._allocate(key.shape[1], key.shape[2], key)
        for row, (keys, values) in enumerate(zip(key.split(self.lengths), value.split(self.lengths), strict=True)):
            first = self.end - len(keys)
            self.keys[row, :, :, first:] = keys.permute(1, 2, 0)
            self.values[row, :, first:] = values.transpose(0, 1)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``store`` as transformers' model code calls it: prompts as one long row, (1, H, N, D), or (B, H, 1, D)."""
        self.store(flat(key_states), flat(value_states))
        return key_states, value_states

    def own_keys(self) -> torch.Tensor:
        """(B, H, D, S)."""
        return self.keys[: self.rows, :, :, self.begin : self.end]

    def own_values(self) -> torch.Tensor:
        """(B, H, S, D)."""
        return self.values[: self.rows, :, self.begin : self.end]

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def move(self, source: int, target: int) -> None:
        """Copies row ``source`` over row ``target``."""
        keys, values = self.own_keys(), self.own_values()
        keys[target] = keys[source]
        values[target] = values[source]

    def arrange(self, targets: torch.Tensor, sources: torch.Tensor) -> None:
        """Puts the rows ``sources`` into the places ``targets``, which are the same rows in another order."""
        keys, values = self.own_keys(), self.own_values()
        keys[targets] = keys[sources]
        values[targets] = values[sources]

    def reserve(self, rows: int, left: int, right: int) -> None:
        """Makes the window's buffer hold ``rows`` rows, ``left`` columns before the window and ``right`` after it."""
        most, heads, columns, width = self.values.shape
        if rows <= most and left <= self.begin and self.end + right <= columns:
            return
        keys, values, length = self.own_keys(), self.own_values(), self.length
        columns = left + length + right + max(_GROWTH, (left + length + right) // 2)
        most = max(rows, most)
        self.keys = keys.new_zeros(most, heads, width, columns)
        self.values = values.new_zeros(most, heads, columns, width)
        self.begin, self.end = left, left + length
        self.own_keys().copy_(keys)
        self.own_values().copy_(values)

    def take_in(self, other: RowLayer) -> None:
        """Appends the rows of ``other``, both right-aligned; the window grows to the left where ``other`` is longer."""
        more = max(0, other.length - self.length)
        self.reserve(self.rows + other.rows, more, 1)
        self.begin -= more
        fresh = slice(self.rows, self.rows + other.rows)
        self.keys[fresh, :, :, self.end - other.length : self.end] = other.own_keys()
        self.values[fresh, :, self.end - other.length : self.end] = other.own_values()
        self.rows += other.rows


def flat(states: torch.Tensor) -> torch.Tensor:
    """(N, H, D) from what transformers' model code hands over: prompts in one long row, or a token per row."""
    return states[0].transpose(0, 1) if states.shape[0] == 1 else states[:, :, 0]


@dataclass(frozen=True, slots=True)
class Part:
    """The rows ``first`` to ``last`` (exclusive), behind one prefix or none; ``skip`` leading columns hide in all."""

    prefix: Prefix | None
    first: int
    last: int
    skip: int


@dataclass(frozen=True, slots=True)
class Reading:
    """Prompts read in one pass, row after row without padding: the tokens of each, all behind one prefix or none."""

    prefix: Prefix | None
    lengths: tuple[int, ...]


def contiguous(prefixes: Sequence[Prefix | None]) -> list[int]:
    """An order of rows in which those behind the same prefix stand together, and as few as possible move.

    The row of index ``order[place]`` goes to ``place``.
    """
    ids = [id(prefix) for prefix in prefixes]
    order = [-1] * len(ids)
    begin = 0
    for key in dict.fromkeys(ids):
        rows = [row for row, other in enumerate(ids) if other == key]
        span = range(begin, begin + len(rows))
        begin = span.stop
        misplaced = [row for row in rows if row not in span]
        for place in span:
            order[place] = place if ids[place] == key else misplaced.pop()
    return order


class RowCache(Cache):
    """The cache that a pass through the model fills: own columns per row, each row behind a shared prefix or none.

    It begins with the prompts of rows behind one prefix, of ``lengths`` tokens each, which the first pass reads.
    """

    def __init__(self, layers: int, prefix: Prefix | None, lengths: Sequence[int]) -> None:
        self.row_layers = [RowLayer(lengths) for _ in range(layers)]
        super().__init__(layers=list(self.row_layers))
        self.prefixes: list[Prefix | None] = [prefix] * len(lengths)
        self.reading: Reading | None = Reading(prefix, tuple(lengths))
        """What the next pass reads; None for a step of one token per row."""
        self.parts: tuple[Part, ...] | None = None
        """The rows by their prefix; None where that has to be found anew."""
        self.mask: torch.Tensor | None = None
        """To be added to a step's scores, (B, 1, 1, S); None where no column is padding."""

    @property
    def length(self) -> int:
        """S, the number of own columns."""
        return self.row_layers[0].length

    @property
    def prefix_lengths(self) -> list[int]:
        """P of every row, the number of shared tokens in front of its own columns."""
        return [len(prefix) if prefix is not None else 0 for prefix in self.prefixes]

    def first_row(self, ids: tuple[int, ...]) -> Prefix:
        """A copy of what the first row, whose tokens are ``ids``, holds of its own."""
        keys = [layer.own_keys()[:1].transpose(2, 3).contiguous() for layer in self.row_layers]
        return Prefix(ids, keys, [layer.own_values()[:1].clone() for layer in self.row_layers])

    def begin_step(self, pads: Sequence[int]) -> None:
        """The next pass is a step of one token per row, whose padding columns are ``pads``.

        The rows behind a prefix stand together.
        """
        self.reading = None
        if self.parts is None:
            prefixes = self.prefixes
            starts = [row for row in range(len(prefixes)) if row == 0 or prefixes[row] is not prefixes[row - 1]]
            spans = zip(starts, [*starts[1:], len(prefixes)], strict=True)
            self.parts = tuple(Part(prefixes[first], first, last, min(pads[first:last])) for first, last in spans)
        self.mask = None
        if any(pads):
            like = self.row_layers[0].keys
            columns = torch.arange(self.length + 1, device=like.device)
            hidden = columns < torch.tensor(pads, device=like.device)[:, None]
            mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
            self.mask = mask.masked_fill_(hidden, float("-inf"))[:, None, None]

    def arrange(self, order: Sequence[int]) -> None:
        """Puts the row ``order[place]`` at ``place``; rows that stay are not touched."""
        moved = [place for place, row in enumerate(order) if place != row]
        device = self.row_layers[0].keys.device
        targets = torch.tensor(moved, device=device)
        sources = torch.tensor([order[place] for place in moved], device=device)
        for layer in self.row_layers:
            layer.arrange(targets, sources)
        self.prefixes = [self.prefixes[row] for row in order]
        self.parts = None

    def replace(self, source: int, target: int) -> None:
        """Puts the row ``source`` in the place of the row ``target``, which is finished."""
        for layer in self.row_layers:
            layer.move(source, target)
        self.prefixes[target] = self.prefixes[source]
        self.parts = None

    def cut(self, rows: int) -> None:
        """Keeps the first ``rows`` rows only."""
        for layer in self.row_layers:
            layer.rows = rows
        del self.prefixes[rows:]
        self.parts = None

    def trim(self, columns: int) -> None:
        """Drops leading columns that are padding in every row."""
        for layer in self.row_layers:
            layer.begin += columns
        self.parts = None

    def take_in(self, other: RowCache) -> None:
        """Appends the rows of ``other``."""
        for layer, more in zip(self.row_layers, other.row_layers, strict=True):
            layer.take_in(more)
        self.prefixes += other.prefixes
        self.parts = None
