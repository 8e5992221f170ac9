"""What a CPU computes between the products with the weights, each in one pass over memory.

Torch does the same in dozens of short operations per layer, each with a call, a buffer and a handing over between
threads; together they take as long as the products (``benchmarks/fused.py``). Numbers are read and written in
bfloat16 or float32 and computed in float32.

Shapes: N tokens, S numbers of a token's hidden state, M numbers inside its perceptron, H key/value heads, G query heads
per key/value head, D elements per head, P prefix tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import torch

from alpaca_tui.backends import compiled

_LIKE = {torch.bfloat16: np.uint16(0), torch.float32: np.float32(0)}
_ALONE = 64  # tokens up to which one thread is faster than two of which one must be woken


def can_fuse(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether there are kernels for numbers of this type on this device."""
    return device.type == "cpu" and dtype in _LIKE


def prepare(dtype: torch.dtype) -> None:
    """Calls every kernel once: what was never compiled on this machine takes seconds here and not in the first pass."""
    states = torch.zeros(_ALONE + 1, 3, 2, dtype=dtype)
    tokens, (query, key, value) = len(states), states.split(1, dim=1)
    for some in (states[:1].flatten(1), states.flatten(1)):
        add_norm(some, None, some[0], 1e-6)
        gated(some)
    turn(states, states[:, 0].contiguous(), states[:, 0].contiguous(), 1)
    future_softmax(torch.zeros(1, 1, 1, dtype=dtype), 1, 1.0)
    far = np.arange(tokens) * key.stride(0) * key.itemsize
    places = np.stack([key.data_ptr() + far, value.data_ptr() + far, np.full(tokens, 2)], axis=1)
    own = Own(places, np.ones(tokens, np.int64), 2)
    append(key, value, own)
    see(query, 1, own, np.zeros((tokens, 3), np.int64), 1.0).merge(torch.zeros(1, tokens, 2, dtype=dtype), 0, tokens)


def _threads() -> int:
    """As many as torch has, which on Linux are the same ones: both run on GNU's OpenMP."""
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    if numba.get_num_threads() != threads:
        numba.set_num_threads(threads)
    return int(threads)


def add_norm(
    hidden: torch.Tensor, more: torch.Tensor | None, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """``hidden`` (N, S) plus ``more``, in place, and that over the root of its mean square, times ``weight`` (S,)."""
    out = torch.empty_like(hidden)
    tokens, size = hidden.shape
    added = 0 if more is None else more.data_ptr()
    given = _LIKE[hidden.dtype], hidden.data_ptr(), added, weight.data_ptr(), np.float32(eps), out.data_ptr()
    if tokens <= _ALONE:
        compiled.norm_some(*given, 0, tokens, size)
    else:
        compiled.norm_many(*given, tokens, size, _threads())
    return hidden, out


def turn(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int) -> None:
    """Turns the first ``heads`` heads of ``states`` (N, heads and more, D) in place by the angles (N, D) of rotary
    positions: a head's halves (a, b) become (a·cos - b·sin, b·cos + a·sin)."""
    tokens, _, width = states.shape
    if cos.shape != (tokens, width) or sin.shape != cos.shape:
        raise ValueError(f"{tuple(cos.shape)} angles for {tokens} tokens of {width} elements a head")
    angles = cos.data_ptr(), sin.data_ptr()
    compiled.turn(_LIKE[states.dtype], states.data_ptr(), states.stride(0), *angles, tokens, heads, width)


def gated(both: torch.Tensor) -> torch.Tensor:
    """SwiGLU: SiLU of the first half of ``both`` (N, 2·M), times the second half; (N, M)."""
    tokens, size = both.shape[0], both.shape[1] // 2
    out = both.new_empty(tokens, size)
    given = _LIKE[both.dtype], both.data_ptr(), out.data_ptr()
    if tokens <= _ALONE:
        compiled.gate_some(*given, 0, tokens, size)
    else:
        compiled.gate_many(*given, tokens, size, _threads())
    return out


def future_softmax(scores: torch.Tensor, groups: int, scale: float) -> torch.Tensor:
    """Softmax in place of ``scores`` (H, queries·G, keys) times ``scale``: the last query sees all keys, the one before
    it all but one, and so on."""
    heads, lines, keys = scores.shape
    compiled.softmax(_LIKE[scores.dtype], scores.data_ptr(), heads, lines // groups, groups, keys, np.float32(scale))
    return scores


@dataclass(frozen=True, slots=True)
class Own:
    """Where the keys and values are that queries have to themselves.

    ``places`` (N, 3): the addresses of a query's first key and of its first value, and how many numbers the next head
    is on. ``lengths`` (N,) are there, each ``column`` numbers after the one before.
    """

    places: np.ndarray
    lengths: np.ndarray
    column: int


@dataclass(slots=True)
class Seen:
    """What queries see of their own: ``out`` (N, H·G, D), where they have no prefix; else the weighted values in
    float32, ``own``, and the ``totals`` (N, H·G) of all weights, which are still to be divided by."""

    out: torch.Tensor
    own: np.ndarray
    totals: np.ndarray

    def merge(self, told: torch.Tensor, first: int, last: int) -> None:
        """Adds what the queries from ``first`` to ``last`` (exclusive) see of a prefix, (H, N·G, D)."""
        out = self.out[first:last]
        given = _LIKE[out.dtype], self.own[first:last], self.totals[first:last], told.data_ptr(), out.data_ptr()
        compiled.merge(*given, told.shape[0])


def append(key: torch.Tensor, value: torch.Tensor, own: Own) -> None:
    """Writes the keys and values (N, H, D) of one token per row where the row's last column is."""
    key, value = alike(key, value)
    _, heads, width = key.shape
    given = key.data_ptr(), value.data_ptr(), key.stride(0), own.places, own.lengths, own.column
    compiled.append(_LIKE[key.dtype], *given, heads, width)


def see(query: torch.Tensor, heads: int, own: Own, shared: np.ndarray, scale: float) -> Seen:
    """What each query (N, H·G, D) sees of its own, beside a prefix where it has one.

    ``shared`` (N, 3): the address of a query's products with the prefix's keys, which become its weights in place; how
    many numbers the next of the ``heads`` is on; and their number, P or 0.
    """
    (query,) = alike(query)
    out = query.new_empty(query.shape)
    own_seen, totals = np.empty(query.shape, np.float32), np.empty(query.shape[:2], np.float32)
    asked = _LIKE[query.dtype], query.data_ptr(), query.stride(0)
    told = out.data_ptr(), own_seen, totals
    compiled.see(*asked, own.places, own.lengths, own.column, shared, np.float32(scale), *told, heads, _threads())
    return Seen(out, own_seen, totals)


def alike(*states: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """``states`` (N, heads, D) with a token's heads one behind the other, and all as far from token to token."""
    width = states[0].shape[2]
    far = states[0].stride(0)
    if all(each.stride() == (far, width, 1) for each in states):
        return states
    return tuple(each.contiguous() for each in states)
