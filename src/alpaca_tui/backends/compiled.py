"""Loops over bare memory that numba compiles at their first use and keeps on the disk; ``kernels`` says what they do.

A ``like`` of uint16 says that numbers are bfloat16, which numba does not have: its bits are an integer. Of float32 it
says float32. An address is a whole number; numbers of tokens, heads and so on are of those one behind the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

_F32, _I32, _I16 = ir.FloatType(), ir.IntType(32), ir.IntType(16)


def _compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp"}, **options}

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # there is no folder for the cache that can be written
            return njit(**options)(function)

    return compiled


# Reading and writing the ``index``-th number at ``address``, bfloat16 bits or float32 as ``like`` is, as a float32. Own
# instructions, since an array's index is checked for being negative, which keeps loops from becoming vectors.


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


@_compiled(inline="always")
def _exp(x: Any) -> Any:
    """e to the power of x ≤ 88, to 1e-7 of it for x near 0 and 4e-6 far below; numba's own takes one x at a time."""
    power = _larger(x * np.float32(1.442695041), np.float32(-126.0))
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


@_compiled()
def norm_some(
    like: Any, hidden: int, more: int, weight: int, eps: Any, out: int, first: int, last: int, size: int
) -> None:
    for begin in range(first * size, last * size, size):
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


@_compiled(parallel=True)
def norm_many(
    like: Any, hidden: int, more: int, weight: int, eps: Any, out: int, tokens: int, size: int, threads: int
) -> None:
    for thread in prange(threads):
        first, last = tokens * thread // threads, tokens * (thread + 1) // threads
        norm_some(like, hidden, more, weight, eps, out, first, last, size)


@_compiled()
def turn(like: Any, states: int, stride: int, cos: int, sin: int, tokens: int, heads: int, width: int) -> None:
    half = width // 2
    for token in range(tokens):
        angle = token * width
        for head in range(heads):
            begin = token * stride + head * width
            for at in range(half):
                low, high = _get(states, begin + at, like), _get(states, begin + half + at, like)
                turned = low * _get(cos, angle + at, like) - high * _get(sin, angle + at, like)
                other = high * _get(cos, angle + half + at, like) + low * _get(sin, angle + half + at, like)
                _put(states, begin + at, turned, like)
                _put(states, begin + half + at, other, like)


@_compiled()
def gate_some(like: Any, both: int, out: int, first: int, last: int, size: int) -> None:
    for token in range(first, last):
        gate, up, begin = token * 2 * size, token * 2 * size + size, token * size
        for at in range(size):
            number = _get(both, gate + at, like)
            # Beyond 80 the sigmoid is 0 within float32, and its exponential would overflow.
            sigmoid = np.float32(1.0) / (np.float32(1.0) + _exp(min(-number, np.float32(80.0))))
            _put(out, begin + at, number * sigmoid * _get(both, up + at, like), like)


@_compiled(parallel=True)
def gate_many(like: Any, both: int, out: int, tokens: int, size: int, threads: int) -> None:
    for thread in prange(threads):
        gate_some(like, both, out, tokens * thread // threads, tokens * (thread + 1) // threads, size)


@_compiled(parallel=True)
def softmax(like: Any, scores: int, heads: int, queries: int, groups: int, keys: int, scale: Any) -> None:
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


@_compiled()
def _meet_own(like: Any, asked: Any, keys: int, begin: int, column: int, weights: Any, length: int) -> None:
    groups, width = asked.shape
    for place in range(length):
        for group in range(groups):
            score = np.float32(0.0)
            for at in range(width):
                score += asked[group, at] * _get(keys, begin + place * column + at, like)
            weights[group, place] = score


@_compiled()
def _weigh(like: Any, own: Any, shared: int, begin: int, end: int, scale: Any) -> Any:
    """Turns scores, one's own and those of the prefix, into weights in place; their total."""
    best = np.float32(-np.inf)
    for place in range(len(own)):
        best = _larger(best, own[place])
    for at in range(begin, end):
        best = _larger(best, _get(shared, at, like) * scale)
    total = np.float32(0.0)
    for place in range(len(own)):
        weight = _exp(own[place] - best)
        own[place] = weight
        total += weight
    for at in range(begin, end):
        weight = _exp(_get(shared, at, like) * scale - best)
        _put(shared, at, weight, like)
        total += weight
    return total


@_compiled()
def _tell_own(like: Any, weights: Any, values: int, begin: int, column: int, told: Any, length: int) -> None:
    groups, width = told.shape
    told[:] = np.float32(0.0)
    for place in range(length):
        for group in range(groups):
            weight = weights[group, place]
            for at in range(width):
                told[group, at] += weight * _get(values, begin + place * column + at, like)


@_compiled(parallel=True)
def see(
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
    # Every thread works through a stretch of about the same cost: own columns, prefix and what each takes anyway.
    costs, longest = np.empty(tokens + 1, np.int64), 0
    costs[0] = 0
    for token in range(tokens):
        costs[token + 1] = costs[token] + heads * (lengths[token] + shared[token, 2] // 4 + 8)
        longest = max(longest, lengths[token])
    for thread in prange(threads):
        asked = np.empty((groups, width), np.float32)
        told = np.empty((groups, width), np.float32)
        weights = np.empty((groups, longest), np.float32)
        for task in range(tokens * heads):
            token, head = task // heads, task % heads
            cost = costs[token] + (costs[token + 1] - costs[token]) // heads * head
            if cost * threads // costs[tokens] != thread:
                continue
            line, length, prefix = head * groups, lengths[token], shared[token, 2]
            for group in range(groups):
                begin = token * stride + (line + group) * width
                for at in range(width):
                    asked[group, at] = _get(query, begin + at, like) * scale
            _meet_own(like, asked, places[token, 0], places[token, 2] * head, column, weights, length)
            for group in range(groups):
                begin = shared[token, 1] * head + group * prefix
                own = weights[group, :length]
                totals[token, line + group] = _weigh(like, own, shared[token, 0], begin, begin + prefix, scale)
            _tell_own(like, weights, places[token, 1], places[token, 2] * head, column, told, length)
            for group in range(groups):
                share = np.float32(1.0) / totals[token, line + group]
                begin = (token * lines + line + group) * width
                for at in range(width):
                    if prefix > 0:
                        seen[token, line + group, at] = told[group, at]
                    else:
                        _put(out, begin + at, told[group, at] * share, like)


@_compiled()
def merge(like: Any, seen: Any, totals: Any, told: int, out: int, heads: int) -> None:
    tokens, lines, width = seen.shape
    groups = lines // heads
    for token in range(tokens):
        for line in range(lines):
            share = np.float32(1.0) / totals[token, line]
            begin = ((line // groups * tokens + token) * groups + line % groups) * width
            to = (token * lines + line) * width
            for at in range(width):
                _put(out, to + at, (seen[token, line, at] + _get(told, begin + at, like)) * share, like)


@_compiled()
def append(
    like: Any, key: int, value: int, stride: int, places: Any, lengths: Any, column: int, heads: int, width: int
) -> None:
    for token in range(len(lengths)):
        for head in range(heads):
            begin = token * stride + head * width
            to = places[token, 2] * head + (lengths[token] - 1) * column
            for at in range(width):
                _put(places[token, 0], to + at, _get(key, begin + at, like), like)
                _put(places[token, 1], to + at, _get(value, begin + at, like), like)
