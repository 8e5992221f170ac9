"""An inverted index over token sequences: which of them can have a long enough common subsequence with a query.

A common subsequence of l tokens needs l tokens in common, counted as multisets. So sequences are treated as sets of
elements (token, k-th occurrence) and three classical filters of set-similarity joins apply (Chaudhuri, Ganti and
Kaushik 2006; Bayardo, Ma and Srikant 2007): lengths must be close, one of the query's rarest elements must be shared
(prefix filter), and enough elements must be shared in all. What is left is for the exact check.

Queries are asked about in batches: every step runs over the arrays of all of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

from alpaca_tui.core.overlap_bounds import Demands, Ints
from alpaca_tui.core.token_store import Queries, TokenStore, repeats

_WORDS = 4
_AT_ONCE = 250_000
"""So many posting entries are looked at together, to bound memory."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs that the exact check must decide: a query's number, a row, the common tokens that the pair needs."""

    queries: Ints
    rows: Ints
    needed: Ints

    @staticmethod
    def joined(parts: list[Candidates]) -> Candidates:
        """All parts as one."""
        return Candidates(
            np.concatenate([_NONE, *(part.queries for part in parts)]),
            np.concatenate([_NONE, *(part.rows for part in parts)]),
            np.concatenate([_NONE, *(part.needed for part in parts)]),
        )


@dataclass(frozen=True, slots=True)
class _Elements:
    """The elements of all queries that occur in an index; each query's from its rarest to its most frequent."""

    owners: Ints
    places: Ints
    """In the index's ``_ids``."""
    starts: Ints
    """Where each query's elements start, and the end of the last."""
    absent: Ints
    """How many tokens of each query do not occur."""
    masks: list[npt.NDArray[np.uint64]]
    """For each word of the bit sets, the sums of the elements' bits up to each element."""

    def bits_from(self, word: int, queries: Ints, ranks: Ints) -> npt.NDArray[np.uint64]:
        """The bits of the query's elements from the rank beside it on.

        A query's bits are distinct, so their union is their sum, and a difference of running sums, even wrapped.
        """
        sums = self.masks[word]
        return sums[self.starts[queries + 1]] - sums[self.starts[queries] + ranks]


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
        keys = np.repeat(rank << 32, lengths)
        keys |= store.flat[store.starts[first] : store.starts[last]]
        keys.sort()
        self._vocabulary = store.vocabulary_size
        elements = self._number(keys)
        keys >>= 32
        keys |= elements << 32
        del elements
        keys.sort()
        self._postings = keys.astype(np.int32)
        keys >>= 32
        starts = np.flatnonzero(np.concatenate((np.ones(min(1, len(keys)), bool), keys[1:] != keys[:-1])))
        self._ids = keys[starts]
        self._starts = np.append(starts, len(keys))
        self._index_frequent()

    def _number(self, keys: Ints) -> Ints:
        """The element of each sorted (row, token) key."""
        places, occurrences = repeats(keys)
        elements = keys & 0xFFFFFFFF
        self._repeats, which = np.unique(occurrences << 32 | elements[places], return_inverse=True)
        elements[places] = self._vocabulary + which
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

    def candidates(self, queries: Queries, wanted: Demands) -> Candidates:
        """The pairs that can meet the demands, sorted by query. None that meets them is missing."""
        elements = self._known(queries)
        # A row of n tokens needs t of the query's m: it shares one of the m - t + 1 rarest. The more tokens a row
        # has the more it needs, so the element of rank i is looked up for rows of up to some length only.
        owners = elements.owners
        ranks = np.arange(len(owners)) + (elements.absent - elements.starts[:-1])[owners]
        begins = self._of_length(wanted.shortest)[owners]
        ends = self._of_length(wanted.reach(owners, queries.lengths[owners] - ranks))
        useful = np.flatnonzero(ends > begins)
        lows, highs = self._slices(elements.places[useful], begins[useful], ends[useful])
        # Of the elements not looked up, a row that shares s of the others may lack s - 1. The most frequent of all are
        # looked up for no row: a first glance at these few spares most rows the closer look.
        every = np.arange(len(queries))
        fewest = wanted.needed(every, wanted.shortest)
        present = np.diff(elements.starts)
        frequent = elements.bits_from(0, every, np.clip(present - fewest + 1, 0, present))
        parts = []
        for numbers, places, shared in self._shared(owners[useful], lows, highs):
            lacking = np.bitwise_count(frequent[numbers] & ~self._bits[0, places])
            near = np.flatnonzero(lacking < shared)
            numbers, places, shared = numbers[near], places[near], shared[near]
            needed = wanted.needed(numbers, self._lengths[places])
            looked_up = np.maximum(present[numbers] - needed + 1, 0)
            spare = shared + present[numbers] - looked_up - needed
            kept = self._possible(elements, numbers, places, looked_up, spare)
            parts.append(Candidates(numbers[kept], self._rows[places[kept]].astype(np.int64), needed[kept]))
        return Candidates.joined(parts)

    def _of_length(self, lengths: Ints) -> Ints:
        """The place of the first row of at least each length."""
        return self._length_starts[np.minimum(lengths, len(self._length_starts) - 1)]

    def _known(self, queries: Queries) -> _Elements:
        wanted = queries.elements.copy()
        later = np.flatnonzero(wanted >> 32)
        if len(later):
            wanted[later] = _find(self._repeats, wanted[later], self._vocabulary)
        wanted[(queries.elements < 1 << 32) & (wanted >= self._vocabulary)] = -1
        places = _find(self._ids, wanted, 0)
        known = np.flatnonzero(places >= 0)
        owners, places = queries.owners[known], places[known]
        by_rarity = np.argsort(owners << 32 | (self._starts[places + 1] - self._starts[places]), kind="stable")
        places = places[by_rarity]
        starts = owners.searchsorted(np.arange(len(queries) + 1))
        bits = self._bit[places].astype(np.int64)
        single = np.where(bits < 0, 0, 1).astype(np.uint64) << (bits & 63).astype(np.uint64)
        masks = []
        for word in range(_WORDS):
            sums = np.zeros(len(places) + 1, np.uint64)
            np.cumsum(np.where(bits >> 6 == word, single, np.uint64(0)), out=sums[1:])
            masks.append(sums)
        return _Elements(owners, places, starts, queries.lengths - np.diff(starts), masks)

    def _slices(self, places: Ints, begins: Ints, ends: Ints) -> tuple[Ints, Ints]:
        """Of each posting list where the rows from ``begins`` to ``ends`` lie."""
        view = memoryview(self._postings.data)
        starts, stops = self._starts[places].tolist(), self._starts[places + 1].tolist()
        lows = list(map(bisect_left, repeat(view), begins.tolist(), starts, stops))
        highs = list(map(bisect_left, repeat(view), ends.tolist(), lows, stops))
        return np.array(lows, np.int64), np.array(highs, np.int64)

    def _shared(self, owners: Ints, lows: Ints, highs: Ints) -> Iterator[tuple[Ints, Ints, Ints]]:
        """(queries, places of rows, looked-up elements they share), in parts; each query's pairs are in one part."""
        counts = highs - lows
        before = np.concatenate(([0], np.cumsum(counts)))
        start = 0
        while start < len(owners):
            end = int(before.searchsorted(before[start] + _AT_ONCE, side="right")) - 1
            if end < len(owners):
                whole = owners.searchsorted((owners[end], owners[start] + 1))
                end = int(whole.max())
            some = slice(start, end)
            if total := int(before[end] - before[start]):
                at = np.arange(total) + np.repeat(lows[some] - before[some] + before[start], counts[some])
                yield _counted(np.repeat(owners[some] << 32, counts[some]) | self._postings[at])
            start = end

    def _possible(self, elements: _Elements, queries: Ints, rows: Ints, looked_up: Ints, spare: Ints) -> Ints:
        """Places of the pairs whose row lacks at most ``spare`` of the query's elements from rank ``looked_up`` on.

        Elements without a bit count as present.
        """
        left = np.arange(len(rows))
        for word in range(_WORDS):
            must = elements.bits_from(word, queries[left], looked_up[left])
            spare = spare - np.bitwise_count(must & ~self._bits[word, rows[left]])
            enough = np.flatnonzero(spare >= 0)
            left, spare = left[enough], spare[enough]
        return left


_NONE = np.zeros(0, np.int64)


def _find(sorted_ids: Ints, wanted: Ints, base: int) -> Ints:
    """``base`` plus the place of each wanted id, -1 where it is missing."""
    if not len(sorted_ids):
        return np.full(len(wanted), -1)
    places = np.minimum(sorted_ids.searchsorted(wanted), len(sorted_ids) - 1)
    return np.where(sorted_ids[places] == wanted, places + base, -1)


def _counted(keys: Ints) -> tuple[Ints, Ints, Ints]:
    """Distinct (query << 32 | row) keys in rising order, split, and how often each occurs. Sorts ``keys`` in place."""
    # Posting lists are sorted already: merging those runs beats the default sort several times.
    keys.sort(kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    counts = np.diff(np.append(starts, len(keys)))
    keys = keys[starts]
    return keys >> 32, keys & 0xFFFFFFFF, counts
