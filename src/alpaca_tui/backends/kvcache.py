"""Keys and values of a batch: a prefix that all rows share, held once, and what each row adds to it.

Shapes: B rows, H key/value heads, G query heads per key/value head, S own columns, P prefix tokens,
D elements per head. Own columns are left-padded: row b's first ``pad[b]`` columns are masked.
"""

from __future__ import annotations

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

    def __len__(self) -> int:
        return len(self.ids)

    def head(self, length: int) -> Prefix:
        """The first ``length`` tokens, as views of the same memory."""
        if length == len(self):
            return self
        keys = [key[:, :, :length] for key in self.keys]
        values = [value[:, :, :length] for value in self.values]
        return Prefix(self.ids[:length], keys, values)

    def joined(self, ids: tuple[int, ...], own: RowCache) -> Prefix:
        """This prefix followed by the single row of ``own``, whose tokens are ``ids``."""
        pairs = list(zip(self.keys, self.values, own.row_layers, strict=True))
        keys = [torch.cat([key, layer.own_keys()], dim=2) for key, _, layer in pairs]
        values = [torch.cat([value, layer.own_values()], dim=2) for _, value, layer in pairs]
        return Prefix(self.ids + ids, keys, values)


class RowLayer(CacheLayerMixin):
    """One layer's own columns (B, H, S, D) in a buffer that grows ahead of need: no copy per token."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        rows, heads, length, _ = key_states.shape
        capacity = length + _GROWTH
        self.keys = key_states.new_empty(rows, heads, capacity, key_states.shape[-1])
        self.values = value_states.new_empty(rows, heads, capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        if end > self.keys.shape[-2]:
            self._resize(0, end + max(_GROWTH, end // 2))
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.own_keys(), self.own_values()

    def own_keys(self) -> torch.Tensor:
        return self.keys[:, :, : self.length]

    def own_values(self) -> torch.Tensor:
        return self.values[:, :, : self.length]

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def keep(self, rows: torch.Tensor) -> None:
        """Drops every row but ``rows``."""
        self.keys = self.keys[rows]
        self.values = self.values[rows]

    def trim(self, columns: int) -> None:
        """Drops the first ``columns`` columns, which are padding in every row."""
        self.keys = self.keys[:, :, columns:]
        self.values = self.values[:, :, columns:]
        self.length -= columns

    def unshare(self, keys: torch.Tensor, values: torch.Tensor, pads: list[int]) -> None:
        """Puts ``keys`` and ``values`` (1, H, K, D) between every row's padding and its own columns."""
        extra, old_keys, old_values = keys.shape[2], self.own_keys(), self.own_values()
        self._resize(extra, self.length + extra + _GROWTH)
        for buffer, tail, old in ((self.keys, keys, old_keys), (self.values, values, old_values)):
            for row, pad in enumerate(pads):
                buffer[row, :, :pad] = 0
                buffer[row, :, pad : pad + extra] = tail[0]
                buffer[row, :, pad + extra : self.length] = old[row, :, pad:]

    def join(self, other: RowLayer) -> None:
        """Appends the rows of ``other``; the shorter of the two is padded on the left."""
        length = max(self.length, other.length)
        self._resize(length - self.length, length + _GROWTH)
        other._resize(length - other.length, length + _GROWTH)
        self.keys = torch.cat([self.keys, other.keys])
        self.values = torch.cat([self.values, other.values])

    def _resize(self, left: int, capacity: int) -> None:
        """Makes room for ``capacity`` columns with ``left`` new ones in front, zeroed: NaN there would spread."""
        keys, values = self.own_keys(), self.own_values()
        end = left + self.length
        self.keys = keys.new_empty(*keys.shape[:2], capacity, keys.shape[-1])
        self.values = values.new_empty(*values.shape[:2], capacity, values.shape[-1])
        for buffer, old in ((self.keys, keys), (self.values, values)):
            buffer[:, :, :left] = 0
            buffer[:, :, left:end] = old
        self.length = end


class RowCache(Cache):
    """The cache that the model's forward fills: own columns per row, behind a shared prefix or none."""

    def __init__(self, layers: int, prefix: Prefix | None = None) -> None:
        self.row_layers = [RowLayer() for _ in range(layers)]
        super().__init__(layers=list(self.row_layers))
        self.prefix = prefix

    @property
    def length(self) -> int:
        """S, the number of own columns."""
        return self.row_layers[0].length

    @property
    def prefix_length(self) -> int:
        """P, the number of shared tokens in front of them."""
        return len(self.prefix) if self.prefix is not None else 0

    def keep(self, rows: list[int]) -> None:
        """Drops every row but ``rows``, which keep their order."""
        index = torch.tensor(rows, device=self.row_layers[0].keys.device)
        for layer in self.row_layers:
            layer.keep(index)

    def trim(self, columns: int) -> None:
        """Drops leading columns that are padding in every row."""
        for layer in self.row_layers:
            layer.trim(columns)

    def shorten_prefix(self, length: int, pads: list[int]) -> None:
        """Shares the first ``length`` tokens of the prefix only; the others become columns of every row.

        They go behind the row's padding: where a key stands doesn't matter, its position is in it already.
        """
        assert self.prefix is not None
        for layer, key, value in zip(self.row_layers, self.prefix.keys, self.prefix.values, strict=True):
            layer.unshare(key[:, :, length:], value[:, :, length:], pads)
        self.prefix = self.prefix.head(length)

    def join(self, other: RowCache) -> None:
        """Appends the rows of ``other``, which must stand behind the same prefix."""
        for layer, more in zip(self.row_layers, other.row_layers, strict=True):
            layer.join(more)


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
    """Attention over the shared prefix and a row's own columns; torch's own SDPA where prompts share nothing.

    ``attention_mask`` is additive and covers the own columns: (B, 1, queries, S), or None where nothing is hidden
    (several queries: where they are causal). Returns (B, queries, H·G, D).
    """
    if kv is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    prefix: tuple[torch.Tensor, torch.Tensor] | None = None
    if kv.prefix is not None:
        layer: int = module.layer_idx
        prefix = kv.prefix.keys[layer], kv.prefix.values[layer]
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    if query.shape[2] == 1:
        return _decode_step(query * scale, key, value, prefix, attention_mask), None
    if prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    if query.device.type == "cpu":
        assert attention_mask is not None
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
    prefix: tuple[torch.Tensor, torch.Tensor] | None,
    mask: torch.Tensor | None,
) -> torch.Tensor:
    """One new token per row: all rows meet the prefix in one matrix product, and one softmax spans both parts.

    ``query`` (B, H·G, 1, D) is scaled. The softmax takes and gives the model's type; it sums in fp32 all the same.
    """
    rows, query_heads, _, width = query.shape
    heads = key.shape[1]
    group = query_heads // heads
    query = query.reshape(rows, heads, group, width)
    scores = torch.matmul(query, key.transpose(2, 3))
    if mask is not None:
        scores = scores + mask
    if prefix is None:
        return torch.matmul(torch.softmax(scores, dim=-1), value).reshape(rows, 1, query_heads, width)
    prefix_key, prefix_value = prefix[0][0], prefix[1][0]
    shared = prefix_key.shape[1]
    stacked = query.transpose(0, 1).reshape(heads, rows * group, width)
    on_prefix = torch.matmul(stacked, prefix_key.transpose(1, 2))
    own = scores.transpose(0, 1).reshape(heads, rows * group, -1)
    weights = torch.softmax(torch.cat([on_prefix, own], dim=-1), dim=-1)
    out = torch.matmul(weights[..., :shared], prefix_value).view(heads, rows, group, width).transpose(0, 1)
    to_own = weights[..., shared:].view(heads, rows, group, -1).transpose(0, 1)
    out = out + torch.matmul(to_own, value)
    return out.reshape(rows, 1, query_heads, width)


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
