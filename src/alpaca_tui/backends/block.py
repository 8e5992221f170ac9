"""Rows whose own keys and values share a buffer.

Shapes: N tokens of one pass, B rows, H key/value heads, C columns, D elements per head. A row's own tokens are the
first columns; the rest is masked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from alpaca_tui.backends.rows import Row

_COLUMNS = 32  # by which buffers grow, so that shapes, for which a CPU's kernels are prepared, change seldom
# Bytes of a layer that may be read in vain at a step: reading more takes longer than the calls for one block more.
_WASTE = {"cpu": 768 * 1024, "cuda": 24 * 1024 * 1024}


class Block:
    """Some rows' own columns, per layer (B, H, C, D).

    The buffers are read whole: a CPU's batched product copies an operand that is a part of something. What a row does
    not fill is finite, whatever it is: it is masked, and only NaN would get through a mask.
    """

    def __init__(self, lengths: Sequence[int], rows: Sequence[Row] = ()) -> None:
        self.lengths = list(lengths)
        self.rows = list(rows)
        self.mask = torch.empty(0)
        """To be added to the scores of a step, (B·H, 1, C)."""
        self.keys: list[torch.Tensor] = []
        """Per layer (B·H, C, D), as of the last step; ``values`` too."""
        self.values: list[torch.Tensor] = []
        self._places = torch.empty(0)  # (B,) of the rows' next columns
        self._lines = torch.empty(0)  # (B·H,) the same, in the buffers seen as lists of columns
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._settled = False  # mask and places fit the rows
        self._addresses: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def columns(self) -> int:
        """C."""
        return self._keys[0].shape[2]

    @property
    def heads(self) -> int:
        """H."""
        return self._keys[0].shape[1]

    @property
    def width(self) -> int:
        """D."""
        return self._keys[0].shape[3]

    def places(self) -> np.ndarray:
        """In a step, where kernels find what is a row's, per layer (B, 3): the addresses of its first key and of its
        first value, and how many numbers the next head is on."""
        if self._addresses is None:
            like = self._keys[0]
            rows = np.arange(len(self)) * like.stride(0) * like.itemsize
            self._addresses = np.empty((len(self._keys), len(self), 3), np.int64)
            for layer, (key, value) in enumerate(zip(self._keys, self._values, strict=True)):
                self._addresses[layer, :, 0] = key.data_ptr() + rows
                self._addresses[layer, :, 1] = value.data_ptr() + rows
            self._addresses[:, :, 2] = like.stride(1)
        return self._addresses

    def own(self, tokens: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """A copy of the first row's keys and values, per layer (1, H, tokens, D)."""
        first = ([layer[:1, :, :tokens].contiguous() for layer in kept] for kept in (self._keys, self._values))
        keys, values = first
        return keys, values

    def fill(self, key: torch.Tensor, value: torch.Tensor) -> None:
        """Takes the next layer's keys and values (N, H, D) of the rows' prompts, row after row."""
        _, heads, width = key.shape
        shape = len(self), heads, _rounded(max(self.lengths) + 1), width
        for states, kept in ((key, self._keys), (value, self._values)):
            buffer = states.new_zeros(shape)
            for row, own in enumerate(states.split(self.lengths)):
                buffer[row, :, : len(own)] = own.transpose(0, 1)
            kept.append(buffer)

    def append(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Takes the keys and values (B, H, D) of one token per row, for which ``begin_step`` made room."""
        width = key.shape[2]
        self.keys[layer].view(-1, width).index_copy_(0, self._lines, key.reshape(-1, width))
        self.values[layer].view(-1, width).index_copy_(0, self._lines, value.reshape(-1, width))

    @property
    def full(self) -> bool:
        """Whether the longest row has no column for another token."""
        return max(self.lengths) >= self.columns

    def begin_step(self) -> torch.Tensor:
        """Makes room for one token more per row; how many each has before (B,)."""
        if self.full:
            self._resize(len(self), self.columns + _COLUMNS)
        if self._settled:
            self._places += 1
            self._lines += 1
        else:
            self._settle()
        self.mask.view(-1).index_fill_(0, self._lines, 0)
        self.lengths = [length + 1 for length in self.lengths]
        return self._places

    def _settle(self) -> None:
        self._addresses = None
        like = self._keys[0]
        heads, columns = like.shape[1], self.columns
        self._places = torch.tensor(self.lengths, device=like.device)
        of_heads = self._places.repeat_interleave(heads)
        self._lines = torch.arange(len(of_heads), device=like.device) * columns + of_heads
        hidden = torch.arange(columns, device=like.device) >= of_heads[:, None]
        mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
        self.mask = mask.masked_fill_(hidden, float("-inf"))[:, None]
        self.keys = [layer[: len(self)].flatten(0, 1) for layer in self._keys]
        self.values = [layer[: len(self)].flatten(0, 1) for layer in self._values]
        self._settled = True

    def keep(self, kept: Sequence[int]) -> None:
        """Drops every row but ``kept``. The last rows take the places of those that leave, so nothing else moves."""
        places = list(range(len(self)))
        gone = sorted(set(places) - set(kept))
        if not gone:
            return
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
        self.rows = [self.rows[row] for row in places]
        self._settled = False
        needed = _rounded(max(self.lengths, default=0) + 1)
        if needed + 2 * _COLUMNS < self.columns:
            self._resize(len(self), needed)

    def take_in(self, other: Block) -> None:
        """Appends the rows of ``other``."""
        rows = len(self) + len(other)
        if rows > len(self._keys[0]) or other.columns > self.columns:
            self._resize(rows, max(self.columns, other.columns))
        fresh = slice(len(self), rows)
        for mine, theirs in zip((*self._keys, *self._values), (*other._keys, *other._values), strict=True):
            mine[fresh, :, : other.columns] = theirs[: len(other)]
        self.lengths += other.lengths
        self.rows += other.rows
        self._settled = False

    def suits(self, other: Block) -> bool:
        """Whether the rows of ``other`` are read with these at less cost than apart.

        At half the waste that parts a block, so that nothing goes to and fro.
        """
        fewer = min(len(block) for block in (self, other) if block.columns == min(self.columns, other.columns))
        return abs(self.columns - other.columns) * fewer * 2 <= self._waste()

    def longest(self) -> list[int]:
        """The rows that had better have a block of their own: the longest, while the others need fewer columns."""
        order = sorted(range(len(self)), key=lambda row: self.lengths[row], reverse=True)
        widths = [_rounded(self.lengths[row] + 1) for row in order]
        saved = [(widths[0] - width) * (len(self) - parted) for parted, width in enumerate(widths)]
        best = max(range(len(self)), key=lambda parted: saved[parted])
        return order[:best] if saved[best] > self._waste() else []

    def split_off(self, parted: Sequence[int]) -> Block:
        """Moves the rows ``parted`` to a block of their own."""
        other = Block([self.lengths[row] for row in parted], [self.rows[row] for row in parted])
        other._keys, other._values = ([layer[parted] for layer in kept] for kept in (self._keys, self._values))
        self.keep([row for row in range(len(self)) if row not in parted])
        return other

    def _waste(self) -> int:
        """How many columns may be read in vain."""
        like = self._keys[0]
        return _WASTE.get(like.device.type, 0) // (2 * like.shape[1] * like.shape[3] * like.itemsize)

    def _resize(self, rows: int, columns: int) -> None:
        for kept in (self._keys, self._values):
            for layer, old in enumerate(kept):
                most, heads, had, width = old.shape
                buffer = old.new_zeros(max(rows, most), heads, columns, width)
                buffer[: len(self), :, : min(columns, had)] = old[: len(self), :, :columns]
                kept[layer] = buffer
        self._settled = False


def _rounded(columns: int) -> int:
    return -(-columns // _COLUMNS) * _COLUMNS
