"""What a CPU computes between the products with the weights, each in one pass over memory, compiled at first use.

Torch does the same in dozens of short operations per layer, each with a call, a buffer and a handing over between
threads; together they take longer than the products (``benchmarks/kernels.py``). Numbers are read and written in
bfloat16 or float32 and computed in float32.

Shapes: N tokens, S numbers of a token's hidden state, H key/value heads, G query heads per key/value head, D elements
per head, P prefix tokens. Functions of tensors are public; those that numba compiles take addresses, for a step calls
them a hundred times. With GNU's OpenMP, on Linux, torch and numba share their threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

_F32, _I32, _I16 = ir.FloatType(), ir.IntType(32), ir.IntType(16)
_LIKE = {torch.bfloat16: np.uint16(0), torch.float32: np.float32(0)}  # numba has no bfloat16: its bits are an integer
_ALONE = 64  # tokens up to which one thread is as fast as several


def can_fuse(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether there are kernels for numbers of this type on this device."""
    return device.type == "cpu" and dtype in _LIKE


def begin() -> None:
    """Before a pass: makes the kernels use as many threads as torch."""
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))


def _compiled(function: Callable[..., Any], parallel: bool = False, **more: Any) -> Any:
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp"}, **more}
    try:
        return njit(cache=True, parallel=parallel, **options)(function)
    except RuntimeError:  # no folder that can be written
        return njit(parallel=parallel, **options)(function)


# Reading and writing: a float32 of the ``index``-th number at ``address``, which are bfloat16 bits or float32 as ``like``
# is. Own instructions, since an array's index is checked for being negative, which keeps loops from becoming vectors.


@intrinsic
def _get(_: Any, address: Any, index: Any, like: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        kind = _I16 if like == types.uint16 else _F32
        found = builder.load(builder.gep(builder.inttoptr(given[0], kind.as_pointer()), [given[1]]))
        if kind is _F32:
            return found
        return builder.bitcast(builder.shl(builder.zext(found, _I32), ir.Constant(_I32, 16)), _F32)

    return types.float32(types.int64, types.int64, like), build


@intrinsic
def _put(_: Any, address: Any, index: Any, value: Any, like: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        kind = _I16 if like == types.uint16 else _F32
        value = given[2]
        if kind is _I16:  # to the nearest, ties to even
            bits = builder.bitcast(value, _I32)
            odd = builder.and_(builder.lshr(bits, ir.Constant(_I32, 16)), ir.Constant(_I32, 1))
            rounded = builder.add(builder.add(bits, ir.Constant(_I32, 0x7FFF)), odd)
            value = builder.trunc(builder.lshr(rounded, ir.Constant(_I32, 16)), _I16)
        builder.store(value, builder.gep(builder.inttoptr(given[0], kind.as_pointer()), [given[1]]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32, like), build


@intrinsic
def _float_of(_: Any, bits: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.bitcast(given[0], _F32)

    return types.float32(types.int32), build


@intrinsic
def _larger(_: Any, one: Any, other: Any) -> Any:
    """The larger, NaN if one is: a comparison would keep loops from becoming vectors."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        maximum = builder.module.declare_intrinsic("llvm.maximum", [_F32], ir.FunctionType(_F32, [_F32, _F32]))
        return builder.call(maximum, given)

    return types.float32(types.float32, types.float32), build


def _exponential(x: Any) -> Any:
    """e to the power of x ≤ 88, to 1e-7 of it for x near 0 and 4e-6 far below; numba's own takes one x at a time."""
    power = max(x * np.float32(1.442695041), np.float32(-126.0))
    whole = np.float32(math.floor(power + np.float32(0.5)))
    rest = power - whole
    # 2 to the power of -0.5 to 0.5 as a polynomial, fitted to the least relative error.
    found = np.float32(1.326697039e-3)
    found = found * rest + np.float32(9.675459746e-3)
    found = found * rest + np.float32(5.550742616e-2)
    found = found * rest + np.float32(2.402212175e-1)
    found = found * rest + np.float32(6.931469492e-1)
    found = found * rest + np.float32(1.0)
    return found * _float_of((np.int32(whole) + np.int32(127)) << np.int32(23))


_exp = _compiled(_exponential, inline="always")


def _adding_norm(like: Any, hidden: int, more: int, weight: int, eps: Any, out: int, tokens: int, size: int) -> None:
    for token in prange(tokens):
        begin = token * size
        squares = np.float32(0.0)
        if more != 0:
            for at in range(begin, begin + size):
                _put(hidden, at, _get(hidden, at, like) + _get(more, at, like), like)
        for at in range(begin, begin + size):
            number = _get(hidden, at, like)
            squares += number * number
        factor = np.float32(1.0) / np.float32(math.sqrt(squares / np.float32(size) + eps))
        for at in range(size):
            _put(out, begin + at, _get(hidden, begin + at, like) * factor * _get(weight, at, like), like)


def _turning(like: Any, states: int, stride: int, cos: int, sin: int, tokens: int, heads: int, width: int) -> None:
    half = width // 2
    for token in prange(tokens):
        angle = token * width
        for head in range(heads):
            begin = token * stride + head * width
            for at in range(half):
                low, high = _get(states, begin + at, like), _get(states, begin + half + at, like)
                turned = low * _get(cos, angle + at, like) - high * _get(sin, angle + at, like)
                other = high * _get(cos, angle + half + at, like) + low * _get(sin, angle + half + at, like)
                _put(states, begin + at, turned, like)
                _put(states, begin + half + at, other, like)


def _gating(like: Any, both: int, out: int, tokens: int, size: int) -> None:
    for token in prange(tokens):
        gate, up, begin = token * 2 * size, token * 2 * size + size, token * size
        for at in range(size):
            number = _get(both, gate + at, like)
            # Beyond 80 the sigmoid is 0 within float32, and its exponential would overflow.
            sigmoid = np.float32(1.0) / (np.float32(1.0) + _exp(min(-number, np.float32(80.0))))
            _put(out, begin + at, number * sigmoid * _get(both, up + at, like), like)


def _future_softmax(like: Any, scores: int, heads: int, queries: int, groups: int, keys: int, scale: Any) -> None:
    for line in prange(heads * queries * groups):
        seen = keys - queries + 1 + line // groups % queries
        begin = line * keys
        best = np.float32(-np.inf)
        for at in range(begin, begin + seen):
            best = _larger(best, _get(scores, at, like))
        total = np.float32(0.0)
        for at in range(begin, begin + seen):
            total += _exp((_get(scores, at, like) - best) * scale)
        share = np.float32(1.0) / total
        for at in range(begin, begin + seen):
            _put(scores, at, _exp((_get(scores, at, like) - best) * scale) * share, like)
        for at in range(begin + seen, begin + keys):
            _put(scores, at, np.float32(0.0), like)


def _seeing(
    like: Any,
    query: int,
    stride: int,
    places: Any,
    lengths: Any,
    column: int,
    shared: Any,
    scale: Any,
    out: int,
    seen: Any,
    totals: Any,
    heads: int,
    threads: int,
) -> None:
    tokens, lines, width = seen.shape
    groups = lines // heads
    costs = np.zeros(tokens + 1, np.int64)
    for token in range(tokens):
        costs[token + 1] = costs[token] + heads * (lengths[token] + shared[token, 2] // 4 + 8)
    longest = lengths.max()
    for thread in prange(threads):
        asked = np.empty((groups, width), np.float32)
        told = np.empty((groups, width), np.float32)
        weights = np.empty((groups, longest), np.float32)
        for task in range(tokens * heads):
            token, head = task // heads, task % heads
            # Every thread works through a stretch of about the same cost.
            cost = costs[token] + (costs[token + 1] - costs[token]) // heads * head
            if cost * threads // costs[tokens] != thread:
                continue
            length, keys, values, first = lengths[token], places[token, 0], places[token, 1], places[token, 2] * head
            on_prefix, prefix = shared[token, 0], shared[token, 2]
            for group in range(groups):
                begin = token * stride + (head * groups + group) * width
                for at in range(width):
                    asked[group, at] = _get(query, begin + at, like) * scale
                    told[group, at] = np.float32(0.0)
            for place in range(length):
                begin = first + place * column
                for group in range(groups):
                    score = np.float32(0.0)
                    for at in range(width):
                        score += asked[group, at] * _get(keys, begin + at, like)
                    weights[group, place] = score
            for group in range(groups):
                best = np.float32(-np.inf)
                for place in range(length):
                    best = _larger(best, weights[group, place])
                begin = shared[token, 1] * head + group * prefix
                for at in range(begin, begin + prefix):
                    best = _larger(best, _get(on_prefix, at, like) * scale)
                total = np.float32(0.0)
                for place in range(length):
                    weight = _exp(weights[group, place] - best)
                    weights[group, place] = weight
                    total += weight
                for at in range(begin, begin + prefix):
                    weight = _exp(_get(on_prefix, at, like) * scale - best)
                    _put(on_prefix, at, weight, like)
                    total += weight
                totals[token, head * groups + group] = total
            for place in range(length):
                begin = first + place * column
                for group in range(groups):
                    weight = weights[group, place]
                    for at in range(width):
                        told[group, at] += weight * _get(values, begin + at, like)
            for group in range(groups):
                line = head * groups + group
                if prefix > 0:
                    for at in range(width):
                        seen[token, line, at] = told[group, at]
                else:
                    share = np.float32(1.0) / totals[token, line]
                    for at in range(width):
                        _put(out, (token * lines + line) * width + at, told[group, at] * share, like)


def _merging(like: Any, seen: Any, totals: Any, told: int, out: int, heads: int) -> None:
    tokens, lines, width = seen.shape
    groups = lines // heads
    for token in prange(tokens):
        for line in range(lines):
            share = np.float32(1.0) / totals[token, line]
            begin = ((line // groups * tokens + token) * groups + line % groups) * width
            to = (token * lines + line) * width
            for at in range(width):
                _put(out, to + at, (seen[token, line, at] + _get(told, begin + at, like)) * share, like)


def _appending(
    like: Any, key: int, value: int, stride: int, places: Any, lengths: Any, column: int, heads: int, width: int
) -> None:
    for token in range(len(lengths)):
        for head in range(heads):
            begin = token * stride + head * width
            to = places[token, 2] * head + (lengths[token] - 1) * column
            for at in range(width):
                _put(places[token, 0], to + at, _get(key, begin + at, like), like)
                _put(places[token, 1], to + at, _get(value, begin + at, like), like)


class _Kernel:
    """A function of ``tokens`` that one thread works through, or several where there are many."""

    def __init__(self, function: Callable[..., None]) -> None:
        self._alone = _compiled(function)
        self._together = _compiled(function, parallel=True)

    def __call__(self, tokens: int, *given: Any) -> None:
        (self._alone if tokens <= _ALONE else self._together)(*given)


_norms = _Kernel(_adding_norm)
_turns = _Kernel(_turning)
_gates = _Kernel(_gating)
_merges = _Kernel(_merging)
_softmaxes = _compiled(_future_softmax, parallel=True)
_sees = _compiled(_seeing, parallel=True)
_appends = _compiled(_appending)


def add_norm(
    hidden: torch.Tensor, more: torch.Tensor | None, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Adds ``more`` to ``hidden`` (N, S) in place, and divides by the root of the mean square, times ``weight`` (S,)."""
    out = torch.empty_like(hidden)
    tokens, size = hidden.shape
    _norms(
        tokens,
        _LIKE[hidden.dtype],
        hidden.data_ptr(),
        0 if more is None else more.data_ptr(),
        weight.data_ptr(),
        np.float32(eps),
        out.data_ptr(),
        tokens,
        size,
    )
    return hidden, out


def turn(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int) -> None:
    """Turns the first ``heads`` heads of ``states`` (N, heads and more, D) in place by the angles (N, D) of rotary
    positions."""
    tokens, _, width = states.shape
    _turns(
        tokens,
        _LIKE[states.dtype],
        states.data_ptr(),
        states.stride(0),
        cos.data_ptr(),
        sin.data_ptr(),
        tokens,
        heads,
        width,
    )


def gated(both: torch.Tensor) -> torch.Tensor:
    """SwiGLU: SiLU of the first half of ``both`` (N, 2·M), times the second half; (N, M)."""
    tokens, size = both.shape[0], both.shape[1] // 2
    out = both.new_empty(tokens, size)
    _gates(tokens, _LIKE[both.dtype], both.data_ptr(), out.data_ptr(), tokens, size)
    return out


def future_softmax(scores: torch.Tensor, groups: int, scale: float) -> torch.Tensor:
    """Softmax in place of ``scores`` (H, queries·G, keys) times ``scale``: the last query sees all keys, the one before
    it all but one, and so on."""
    heads, lines, keys = scores.shape
    _softmaxes(
        _LIKE[scores.dtype], scores.data_ptr(), heads, lines // groups, groups, keys, np.float32(scale)
    )
    return scores


@dataclass(frozen=True, slots=True)
class Own:
    """Where the keys and values are that queries have to themselves.

    ``places`` (N, 3): the addresses of a query's first key and of its first value, and how many numbers the next head is
    on. ``lengths`` (N,) are there, each ``column`` numbers after the one before.
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
        out, tokens = self.out[first:last], last - first
        given = _LIKE[out.dtype], self.own[first:last], self.totals[first:last], told.data_ptr(), out.data_ptr()
        _merges(tokens, *given, told.shape[0])


def append(key: torch.Tensor, value: torch.Tensor, own: Own) -> None:
    """Writes the keys and values (N, H, D) of one token per row where the row's last column is."""
    _, heads, width = key.shape
    _appends(
        _LIKE[key.dtype],
        key.data_ptr(),
        value.data_ptr(),
        key.stride(0),
        own.places,
        own.lengths,
        own.column,
        heads,
        width,
    )


def see(query: torch.Tensor, heads: int, own: Own, shared: np.ndarray, scale: float) -> Seen:
    """What each query (N, H·G, D) sees of its own, beside a prefix where it has one.

    ``shared`` (N, 3): the address of a query's products with the prefix's keys, which become its weights in place; how
    many numbers the next of the ``heads`` is on; and their number, P or 0.
    """
    out = query.new_empty(query.shape)
    own_seen, totals = np.empty(query.shape, np.float32), np.empty(query.shape[:2], np.float32)
    _sees(
        _LIKE[query.dtype],
        query.data_ptr(),
        query.stride(0),
        own.places,
        own.lengths,
        own.column,
        shared,
        np.float32(scale),
        out.data_ptr(),
        own_seen,
        totals,
        heads,
        torch.get_num_threads(),
    )
    return Seen(out, own_seen, totals)
