"""How many tokens two texts must have in common for their ROUGE-L to pass a floor: the bounds the index prunes with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Demand:
    """What a query of m tokens asks of sequences of n tokens to pass the floor.

    Only n from ``shortest`` on can pass, with at least ``needed[n]`` common tokens. ``reach[t]``, for t from 0 to m,
    is the first n from which on t common tokens are too few.
    """

    needed: Ints
    reach: Ints
    shortest: int


class Demands:
    """The demands of many queries, looked up all at once."""

    def __init__(self, lengths: Ints, longest: int, floor: float, strictly: bool) -> None:
        distinct, which = np.unique(lengths, return_inverse=True)
        each = [demand(length, longest, floor, strictly) for length in distinct.tolist()]
        self._needed = np.concatenate([one.needed for one in each])
        self._reach = np.concatenate([one.reach for one in each])
        self._needed_starts = _starts([one.needed for one in each])[which]
        self._reach_starts = _starts([one.reach for one in each])[which]
        self.shortest = np.array([one.shortest for one in each])[which]
        """For each query."""

    def needed(self, queries: Ints, lengths: npt.NDArray[np.integer]) -> Ints:
        """The common tokens that each of ``queries`` needs with a sequence of the length beside it."""
        return self._needed[self._needed_starts[queries] + lengths]

    def reach(self, queries: Ints, common: Ints) -> Ints:
        """The first length with which ``common`` tokens are too few for the query beside it."""
        return self._reach[self._reach_starts[queries] + common]


def _starts(arrays: list[Ints]) -> Ints:
    return np.cumsum([0, *map(len, arrays[:-1])])


def f_measures(common: Ints, lengths: Ints | int, others: Ints) -> npt.NDArray[np.float64]:
    """``rouge.f_measure`` over arrays, with the same operations in the same order: equal to the last bit."""
    scores = np.zeros(len(common))
    some = common > 0
    precision = (common / np.maximum(others, 1))[some]
    recall = (common / np.maximum(lengths, 1))[some]
    scores[some] = 2 * precision * recall / (precision + recall)
    return scores


def least_common(length: int, lengths: Ints, floor: float, strictly: bool) -> Ints:
    """The fewest common tokens with which the F-measure reaches ``floor`` (or passes it, if ``strictly``).

    May exceed the lengths, then none does. Decided by the very F-measure, for its inverse rounds differently.
    """
    common = np.maximum(1, (floor * (length + lengths) / 2).astype(np.int64) - 1)
    while True:
        scores = f_measures(common, length, lengths)
        short = scores <= floor if strictly else scores < floor
        if not short.any():
            return common
        common += short


@lru_cache(maxsize=1024)
def demand(length: int, longest: int, floor: float, strictly: bool) -> Demand:
    """The demand of a query of ``length`` tokens on sequences of up to ``longest`` tokens; 0 ≤ ``floor`` ≤ 1.

    A query without tokens asks the impossible, for it scores 0 with everything.
    """
    if not length:
        return Demand(np.zeros(longest + 2, np.int64), np.ones(1, np.int64), 1)
    if floor > 0:
        longest = int(min(longest, length * (2 - floor) / floor + 1))
    lengths = np.arange(1, longest + 1)
    needed = np.zeros(longest + 2, np.int64)
    needed[1:-1] = least_common(length, lengths, floor, strictly)
    possible = np.flatnonzero(needed[1:-1] <= lengths) + 1
    shortest = int(possible[0]) if len(possible) else longest + 1
    # More tokens need more in common, so the lengths that t tokens suffice for are a range.
    reach = shortest + needed[shortest:-1].searchsorted(np.arange(length + 1), side="right")
    return Demand(needed, reach, shortest)
