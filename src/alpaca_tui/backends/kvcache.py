"""Keys and values of a batch: prefixes that rows share, each held once, and what each row adds to its own.

Shapes: B rows, H key/value heads, G query heads per key/value head, S own columns, P prefix tokens,
D elements per head. Own columns are left-padded: row b's first ``pad[b]`` columns are masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

ATTENTION = "shared_prefix"
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
        pairs = list(zip(self.keys, self.values, own.row_layers, strict=True))
        keys = [torch.cat([key, layer.own_keys()], dim=2) for key, _, layer in pairs]
        values = [torch.cat([value, layer.own_values()], dim=2) for _, value, layer in pairs]
        return Prefix(self.ids + ids, keys, values)


class RowLayer(CacheLayerMixin):
    """One layer's own columns (B, H, S, D): a window of a buffer with room for more rows and columns.

    So a token, a row that leaves and a row that comes move only what is theirs. What lies outside the window or under
    padding is finite, whatever it is: it is masked, and only NaN would get through a mask.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows = self.begin = self.end = 0

    @property
    def length(self) -> int:
        """S, the number of own columns."""
        return self.end - self.begin

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        rows, heads, length, width = key_states.shape
        self.keys = key_states.new_zeros(rows, heads, length, width)
        self.values = value_states.new_zeros(rows, heads, length, width)
        self.rows = rows
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.end + key_states.shape[-2]
        if end > self.keys.shape[2]:
            self.reserve(self.rows, 0, key_states.shape[-2])
            end = self.end + key_states.shape[-2]
        self.keys[: self.rows, :, self.end : end] = key_states
        self.values[: self.rows, :, self.end : end] = value_states
        self.end = end
        return self.own_keys(), self.own_values()

    def own_keys(self) -> torch.Tensor:
        return self.keys[: self.rows, :, self.begin : self.end]

    def own_values(self) -> torch.Tensor:
        return self.values[: self.rows, :, self.begin : self.end]

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def move(self, source: int, target: int) -> None:
        """Copies row ``source`` over row ``target``."""
        self.keys[target, :, self.begin : self.end] = self.keys[source, :, self.begin : self.end]
        self.values[target, :, self.begin : self.end] = self.values[source, :, self.begin : self.end]

    def arrange(self, targets: torch.Tensor, sources: torch.Tensor) -> None:
        """Puts the rows ``sources`` into the places ``targets``, which are the same rows in another order."""
        window = slice(self.begin, self.end)
        self.keys[targets, :, window] = self.keys[sources, :, window]
        self.values[targets, :, window] = self.values[sources, :, window]

    def reserve(self, rows: int, left: int, right: int) -> None:
        """Makes the window's buffer hold ``rows`` rows, ``left`` columns before the window and ``right`` after it."""
        most, _, columns, _ = self.keys.shape
        if rows <= most and left <= self.begin and self.end + right <= columns:
            return
        keys, values, length = self.own_keys(), self.own_values(), self.length
        spare = max(_GROWTH, (left + length + right) // 2)
        shape = (max(rows, most), keys.shape[1], left + length + right + spare, keys.shape[3])
        self.keys, self.values = keys.new_zeros(shape), values.new_zeros(shape)
        self.begin, self.end = left, left + length
        self.own_keys().copy_(keys)
        self.own_values().copy_(values)

    def take_in(self, other: RowLayer) -> None:
        """Appends the rows of ``other``, both right-aligned; the window grows to the left where ``other`` is longer."""
        more = max(0, other.length - self.length)
        self.reserve(self.rows + other.rows, more, 1)
        self.begin -= more
        fresh = slice(self.rows, self.rows + other.rows)
        self.keys[fresh, :, self.end - other.length : self.end] = other.own_keys()
        self.values[fresh, :, self.end - other.length : self.end] = other.own_values()
        self.rows += other.rows


@dataclass(frozen=True, slots=True)
class Part:
    """The rows ``first`` to ``last`` (exclusive), behind one prefix or none; ``skip`` leading columns hide in all."""

    prefix: Prefix | None
    first: int
    last: int
    skip: int


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
    """The cache that the model's forward fills: own columns per row, each row behind a shared prefix or none."""

    def __init__(self, layers: int, prefix: Prefix | None = None, rows: int = 1) -> None:
        self.row_layers = [RowLayer() for _ in range(layers)]
        super().__init__(layers=list(self.row_layers))
        self.prefixes: list[Prefix | None] = [prefix] * rows
        self.parts: tuple[Part, ...] | None = None
        """The rows by their prefix; None where that has to be found anew."""

    @property
    def length(self) -> int:
        """S, the number of own columns."""
        return self.row_layers[0].length

    @property
    def prefix(self) -> Prefix | None:
        """What every row stands behind, as the rows of one read do."""
        return self.prefixes[0]

    @property
    def prefix_lengths(self) -> list[int]:
        """P of every row, the number of shared tokens in front of its own columns."""
        return [len(prefix) if prefix is not None else 0 for prefix in self.prefixes]

    def group(self, pads: Sequence[int]) -> None:
        """Find the parts; the rows behind a prefix stand together. ``pads`` are the rows' padding columns."""
        if self.parts is None:
            prefixes = self.prefixes
            starts = [row for row in range(len(prefixes)) if row == 0 or prefixes[row] is not prefixes[row - 1]]
            spans = zip(starts, [*starts[1:], len(prefixes)], strict=True)
            self.parts = tuple(Part(prefixes[first], first, last, min(pads[first:last])) for first, last in spans)

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


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    kv: RowCache | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over the shared prefixes and a row's own columns; torch's own SDPA where prompts share nothing.

    Several queries per row are a read, whose rows all stand behind one prefix. ``attention_mask`` is additive and
    covers the own columns: (B, 1, queries, S), or None where nothing is hidden (several queries: where they are
    causal). Returns (B, queries, H·G, D).
    """
    if kv is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    layer: int = module.layer_idx
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    if query.shape[2] == 1:
        # A read of one column each has no parts yet: its rows all stand behind one prefix.
        parts = kv.parts or (Part(kv.prefix, 0, query.shape[0], 0),)
        return _decode_step(query * scale, key, value, parts, layer, attention_mask), None
    if kv.prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    prefix = kv.prefix.keys[layer], kv.prefix.values[layer]
    if query.device.type == "cpu" and attention_mask is not None:
        return _read_behind(query, key, value, prefix, attention_mask, scale), None
    rows = query.shape[0]
    # Only while prompts are read: the copy of the prefix per row lives for this layer alone.
    key = torch.cat([prefix[0].expand(rows, -1, -1, -1), key], dim=2)
    value = torch.cat([prefix[1].expand(rows, -1, -1, -1), value], dim=2)
    if attention_mask is not None:
        attention_mask = torch.nn.functional.pad(attention_mask, (prefix[0].shape[2], 0))
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)


def _decode_step(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    parts: Sequence[Part],
    layer: int,
    mask: torch.Tensor | None,
) -> torch.Tensor:
    """One new token per row: all rows behind a prefix meet it in one matrix product, one softmax spans both parts.

    The rows of a part read as many own columns as its longest has: rows of different stages differ by hundreds.
    ``query`` (B, H·G, 1, D) is scaled. The softmax takes and gives the model's type; it sums in fp32 all the same.
    """
    rows, query_heads, _, width = query.shape
    heads = key.shape[1]
    query = query.reshape(rows, heads, query_heads // heads, width)
    seen: list[torch.Tensor] = []
    for part in parts:
        among = slice(part.first, part.last)
        asking = query[among]
        scores = torch.matmul(asking, key[among, :, part.skip :].transpose(2, 3))
        if mask is not None:
            scores = scores + mask[among, ..., part.skip :]
        own = value[among, :, part.skip :]
        if part.prefix is None:
            seen.append(torch.matmul(torch.softmax(scores, dim=-1), own))
        else:
            weights, prefix = _behind(asking, scores, part.prefix.keys[layer][0], part.prefix.values[layer][0])
            seen.append(prefix + torch.matmul(weights, own))
    return (torch.cat(seen) if len(seen) > 1 else seen[0]).reshape(rows, 1, query_heads, width)


def _behind(
    query: torch.Tensor, own: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights of the own columns (n, H, G, S) and what n rows see of a prefix (n, H, G, D)."""
    rows, heads, group, width = query.shape
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


def _read_behind(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    prefix: tuple[torch.Tensor, torch.Tensor],
    mask: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Several new tokens per row on a CPU: the queries of all rows as one long row over the prefix, each row's own
    columns apart, and the two weighed by what their softmaxes summed to.

    No row gets a copy of the prefix, and no mask spans it (Dao et al., arXiv 2205.14135, section 3.1: partial
    softmaxes are merged by their log-sum-exp).
    """
    rows, query_heads, length, width = query.shape
    heads = key.shape[1]
    group = query_heads // heads
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    grouped = query.view(rows, heads, group, length, width)
    stacked = grouped.permute(1, 2, 0, 3, 4).reshape(1, heads, group * rows * length, width)
    on_prefix, prefix_sum = attention(stacked, *prefix, scale=scale)
    on_prefix = on_prefix.view(heads, group, rows, length, width).permute(2, 0, 1, 3, 4)
    prefix_sum = prefix_sum.view(heads, group, rows, length).permute(2, 0, 1, 3)
    hidden = mask.expand(rows, group, length, -1).reshape(rows, 1, group * length, -1)
    flat = grouped.reshape(rows, heads, group * length, width)
    on_own, own_sum = attention(flat, key, value, attn_mask=hidden, scale=scale)
    on_own, own_sum = on_own.view(grouped.shape), own_sum.view(rows, heads, group, length)
    share = torch.sigmoid(prefix_sum - own_sum)[..., None]
    out = torch.lerp(on_own.float(), on_prefix.float(), share.float()).to(query.dtype)
    return out.view(rows, query_heads, length, width).transpose(1, 2)


AttentionInterface.register(ATTENTION, attend)
