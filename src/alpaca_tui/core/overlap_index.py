"""An inverted index over token sequences: which of them can have a long enough common subsequence with a query.

A common subsequence of l tokens needs l tokens in common, counted as multisets. So sequences are treated as sets of
elements (token, k-th occurrence) and three classical filters of set-similarity joins apply (Chaudhuri, Ganti and
Kaushik 2006; Bayardo, Ma and Srikant 2007): lengths must be close, one of the query's rarest elements must be shared
(prefix filter), and enough elements must be shared in all. What is left is for the exact check.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from alpaca_tui.core.token_store import Ints, Query, TokenStore

Int32s = npt.NDArray[np.int32]

_WORDS = 4


@dataclass(frozen=True, slots=True)
class Demand:
    """How many common tokens a query of ``length`` tokens needs with sequences of each length to pass the floor.

    ``needed[n]`` holds for n from ``shortest`` to ``longest``; sequences of other lengths can't pass.
    """

    length: int
    needed: Ints
    shortest: int
    longest: int


def f_measures(common: Ints, length: int, lengths: Ints) -> npt.NDArray[np.float64]:
    """``rouge.f_measure`` over arrays, with the same operations in the same order: equal to the last bit."""
    scores = np.zeros(len(common))
    some = common > 0
    precision = common[some] / lengths[some]
    recall = common[some] / length
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
    """The demand of a query of ``length`` ≥ 1 tokens on sequences of up to ``longest`` tokens; 0 ≤ ``floor`` ≤ 1."""
    if floor > 0:
        longest = int(min(longest, length * (2 - floor) / floor + 1))
    lengths = np.arange(1, longest + 1)
    needed = np.zeros(longest + 2, np.int64)
    needed[1:-1] = least_common(length, lengths, floor, strictly)
    possible = lengths[needed[1:-1] <= np.minimum(length, lengths)]
    if not len(possible):
        return Demand(length, needed, 1, 0)
    return Demand(length, needed, int(possible[0]), int(possible[-1]))


class OverlapIndex:
    """An immutable index over the rows ``first`` to ``last`` (exclusive) of a token store.

    Inside, rows are renumbered by length, so that the rows of a range of lengths are one slice of every posting
    list. Elements are the store's token ids for first occurrences; later occurrences get ids above them. The 256 most
    frequent elements are also held as a bit set per row, so that common words need not be looked up.
    """

    def __init__(self, store: TokenStore, first: int, last: int) -> None:
        self.first, self.last = first, last
        rows = np.arange(first, last)
        lengths = store.lengths(rows)
        order = np.argsort(lengths, kind="stable")
        self._rows = rows[order].astype(np.int32)
        self._lengths = lengths[order].astype(np.int32)
        longest = int(self._lengths[-1]) if len(rows) else 0
        self._length_starts = np.searchsorted(self._lengths, np.arange(longest + 2))
        rank = np.empty(len(rows), np.int64)
        rank[order] = np.arange(len(rows))
        keys = np.repeat(rank.astype(np.uint64) << np.uint64(32), lengths)
        keys |= store.flat[store.starts[first] : store.starts[last]]
        keys.sort()
        self._vocabulary = store.vocabulary_size
        elements = self._elements(keys)
        keys >>= np.uint64(32)
        keys |= elements.astype(np.uint64) << np.uint64(32)
        del elements
        keys.sort()
        self._postings = keys.astype(np.uint32).view(np.int32)
        keys >>= np.uint64(32)
        starts = np.flatnonzero(np.concatenate((np.ones(min(1, len(keys)), bool), keys[1:] != keys[:-1])))
        self._ids = keys[starts].astype(np.int64)
        self._starts = np.append(starts, len(keys))
        self._index_frequent()

    def _elements(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
        """The element of each (row, token) key; keys are sorted, so the occurrences of a token lie side by side."""
        elements = keys.astype(np.uint32)
        repeated = np.flatnonzero(keys[1:] == keys[:-1]) + 1
        # The k-th occurrence lies k - 1 places behind the first; within a run of repeats, places are consecutive.
        starts_run = np.ones(len(repeated), bool)
        starts_run[1:] = keys[repeated[1:]] != keys[repeated[:-1]]
        run_start = np.maximum.accumulate(np.where(starts_run, np.arange(len(repeated)), 0))
        occurrence = np.arange(len(repeated)) - run_start + 1
        pairs = occurrence.astype(np.int64) << 32 | elements[repeated].astype(np.int64)
        self._repeats, which = np.unique(pairs, return_inverse=True)
        elements[repeated] = (self._vocabulary + which).astype(np.uint32)
        return elements

    def _index_frequent(self) -> None:
        frequency = np.diff(self._starts)
        top = min(64 * _WORDS, len(frequency))
        frequent = np.argpartition(-frequency, top - 1)[:top] if top else _NONE
        frequent = frequent[np.argsort(-frequency[frequent], kind="stable")]
        self._bit = np.full(len(frequency), -1, np.int16)
        self._bit[frequent] = np.arange(top)
        self._bits = np.zeros((_WORDS, len(self._rows)), np.uint64)
        for bit, element in enumerate(frequent):
            having = self._postings[self._starts[element] : self._starts[element + 1]]
            self._bits[bit // 64, having] |= np.uint64(1 << (bit % 64))

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def nbytes(self) -> int:
        """Bytes held in arrays."""
        arrays = (self._rows, self._lengths, self._length_starts, self._repeats, self._ids, self._starts)
        return sum(a.nbytes for a in (*arrays, self._postings, self._bit, self._bits))

    def candidates(self, query: Query, wanted: Demand) -> tuple[Ints, Ints]:
        """Rows that can meet the demand, and the common tokens each needs. None that meets it is missing."""
        longest = min(wanted.longest, len(self._length_starts) - 2)
        if longest < wanted.shortest:
            return _NONE, _NONE
        elements = self._query_elements(query)
        starts, ends = self._starts[elements], self._starts[elements + 1]
        by_rarity = np.argsort(ends - starts, kind="stable")
        # A row of n tokens needs t of the query's m: it shares one of the m - t + 1 rarest. The more tokens a row
        # has the more it needs, so the element of rank i is looked up for rows of up to some length only.
        absent = query.length - len(elements)
        ranks = np.arange(absent, query.length)
        reach = wanted.needed[wanted.shortest : longest + 1].searchsorted(query.length - ranks, side="right")
        stops = self._length_starts[wanted.shortest + reach]
        postings = self._slices(
            starts[by_rarity].tolist(),
            ends[by_rarity].tolist(),
            int(self._length_starts[wanted.shortest]),
            stops.tolist(),
        )
        if not postings:
            return _NONE, _NONE
        found, shared = _counted(np.concatenate(postings))
        needed = wanted.needed[self._lengths[found]]
        looked_up = np.maximum(query.length - needed + 1 - absent, 0)
        spare = shared + len(elements) - looked_up - needed
        possible = self._possible(elements[by_rarity], found, looked_up, spare)
        return self._rows[found[possible]].astype(np.int64), needed[possible]

    def _slices(self, starts: list[int], ends: list[int], begin: int, stops: list[int]) -> list[Int32s]:
        """Of each posting list the rows from ``begin`` up to its stop; the stops never rise."""
        view = memoryview(self._postings.data)
        slices = []
        for start, end, stop in zip(starts, ends, stops, strict=True):
            if stop <= begin:
                break
            low = bisect_left(view, begin, start, end)
            high = bisect_left(view, stop, low, end)
            if low < high:
                slices.append(self._postings[low:high])
        return slices

    def _query_elements(self, query: Query) -> Ints:
        """The places in ``_ids`` of the query's elements that occur in this index."""
        wanted = query.distinct
        if len(query.repeats) and len(self._repeats):
            places = np.minimum(self._repeats.searchsorted(query.repeats), len(self._repeats) - 1)
            places = places[self._repeats[places] == query.repeats]
            wanted = np.concatenate((wanted[wanted < self._vocabulary], places + self._vocabulary))
        elif self._vocabulary <= wanted.max(initial=0):
            wanted = wanted[wanted < self._vocabulary]
        if not len(self._ids):
            return _NONE
        places = np.minimum(self._ids.searchsorted(wanted), len(self._ids) - 1)
        return places[self._ids[places] == wanted]

    def _possible(self, elements: Ints, found: Int32s, looked_up: Ints, spare: Ints) -> Ints:
        """Places in ``found`` whose rows lack at most ``spare`` of the query's elements from rank ``looked_up`` on.

        Elements without a bit count as present.
        """
        count = len(elements)
        masks = [[0] * (count + 1) for _ in range(_WORDS)]
        for i, bit in zip(range(count - 1, -1, -1), self._bit[elements][::-1].tolist(), strict=True):
            for mask in masks:
                mask[i] = mask[i + 1]
            if bit >= 0:
                masks[bit // 64][i] |= 1 << (bit % 64)
        places = np.arange(len(found))
        for word, mask in zip(self._bits, masks, strict=True):
            if mask[0]:
                must = np.array(mask, np.uint64)[looked_up[places]]
                spare = spare - np.bitwise_count(must & ~word[found[places]])
                enough = np.flatnonzero(spare >= 0)
                places, spare = places[enough], spare[enough]
        return places[spare >= 0]


_NONE = np.zeros(0, np.int64)


def _counted(ids: Int32s) -> tuple[Int32s, Ints]:
    """The distinct ids in rising order, and how often each occurs. Sorts ``ids``, which is not empty, in place."""
    ids.sort()
    starts = np.concatenate(([0], np.flatnonzero(ids[1:] != ids[:-1]) + 1, [len(ids)]))
    return ids[starts[:-1]], starts[1:] - starts[:-1]
