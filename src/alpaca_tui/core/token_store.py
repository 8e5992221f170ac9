"""Token sequences held as one flat array, and common-subsequence lengths of queries with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist, cpdist

from alpaca_tui.core.overlap_bounds import Ints

_SURROGATES = range(0xD800, 0xE000)
_OTHER, _UNKNOWN = 0, 1


@dataclass(frozen=True, slots=True)
class Queries:
    """Tokenized texts as the store sees them, one behind the other."""

    lengths: Ints
    """In tokens, unknown ones included."""
    ids: Ints
    """The store's id of each token; -1 for one that it does not know."""
    owners: Ints
    """To which query each of ``elements`` belongs; rising."""
    elements: Ints
    """``occurrence << 32 | id`` of the known tokens, occurrences of a token within a query counted from 0."""

    def __len__(self) -> int:
        return len(self.lengths)


def repeats(keys: npt.NDArray) -> tuple[Ints, Ints]:
    """The places in sorted ``keys`` that repeat the one before, and the how-manieth repeat each is, from 1."""
    places = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    # Within a run of equal keys the places are consecutive.
    starts_run = np.ones(len(places), bool)
    starts_run[1:] = keys[places[1:]] != keys[places[:-1]]
    numbers = np.arange(len(places))
    return places, numbers - np.maximum.accumulate(np.where(starts_run, numbers, 0)) + 1


def _as_text(codes: npt.NDArray[np.uint32], largest: int) -> str:
    """One character per code: the form in which the common-subsequence kernel is fastest."""
    if largest < 256:
        return codes.astype(np.uint8).tobytes().decode("latin-1")
    if largest >= _SURROGATES.start:
        codes = codes + (codes >= _SURROGATES.start).astype(np.uint32) * np.uint32(len(_SURROGATES))
    return codes.tobytes().decode("utf-32-le")


def _cut(text: str, lengths: Ints) -> list[str]:
    ends = np.cumsum(lengths)
    return [text[begin:end] for begin, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True)]


class TokenStore:
    """Token sequences in order of arrival; sequence ``i`` is ``flat[starts[i]:starts[i + 1]]``.

    Only the queries' own tokens matter to a common subsequence. So the distinct tokens of the queries at hand are
    numbered from 2, every other token becomes 0, and strings stay narrow whatever the size of the vocabulary.
    """

    def __init__(self) -> None:
        self._vocabulary: dict[str, int] = {}
        self._flat = np.zeros(1024, np.uint32)
        self._starts = np.zeros(256, np.int64)
        self._count = 0
        self._codes = np.zeros(256, np.uint32)

    def __len__(self) -> int:
        return self._count

    @property
    def vocabulary_size(self) -> int:
        """Number of distinct tokens seen."""
        return len(self._vocabulary)

    @property
    def flat(self) -> npt.NDArray[np.uint32]:
        """All token ids, in order of arrival."""
        return self._flat[: self._starts[self._count]]

    @property
    def starts(self) -> Ints:
        """Where each sequence starts in ``flat``, and the end of the last one: length ``len(self) + 1``."""
        return self._starts[: self._count + 1]

    @property
    def nbytes(self) -> int:
        """Bytes held in arrays (the vocabulary's strings come on top)."""
        return self._flat.nbytes + self._starts.nbytes + self._codes.nbytes

    def append(self, sequences: Sequence[Sequence[str]]) -> None:
        """Add sequences of tokens, in order."""
        vocabulary = self._vocabulary
        ids = [vocabulary.setdefault(token, len(vocabulary)) for tokens in sequences for token in tokens]
        start = int(self._starts[self._count])
        end = start + len(ids)
        last = self._count + len(sequences)
        self._flat = grown(self._flat, end)
        self._starts = grown(self._starts, last + 1)
        self._flat[start:end] = ids
        self._starts[self._count + 1 : last + 1] = start + np.cumsum([len(tokens) for tokens in sequences])
        self._count = last

    def queries(self, sequences: Sequence[Sequence[str]]) -> Queries:
        """The queries for these token lists; changes nothing."""
        known = self._vocabulary.get
        ids = np.array([known(token, -1) for tokens in sequences for token in tokens], np.int64)
        lengths = np.array([len(tokens) for tokens in sequences], np.int64)
        keys = np.repeat(np.arange(len(lengths)) << 32, lengths) | ids
        keys = keys[ids >= 0]
        keys.sort()
        elements = keys & 0xFFFFFFFF
        places, occurrences = repeats(keys)
        elements[places] |= occurrences << 32
        return Queries(lengths, ids, keys >> 32, elements)

    def lengths(self, rows: Ints) -> Ints:
        """The lengths in tokens of the given sequences."""
        starts = self._starts
        return starts[rows + 1] - starts[rows]

    def common(self, queries: Queries, numbers: Ints, rows: Ints, cutoff: int = 0) -> Ints:
        """The length in tokens of the longest common subsequence of each of ``rows`` with the query beside it.

        ``numbers`` say which query, and rise. A result under ``cutoff`` may be given as 0.
        """
        if not len(rows):
            return np.zeros(0, np.int64)
        distinct = np.unique(queries.ids)
        distinct = distinct[distinct >= 0]
        largest = len(distinct) + 1
        self._codes = grown(self._codes, len(self._vocabulary))
        self._codes[distinct] = np.arange(2, largest + 1, dtype=np.uint32)
        codes = np.where(queries.ids < 0, np.uint32(_UNKNOWN), self._codes[queries.ids])
        texts = _cut(_as_text(codes, largest), queries.lengths)
        if len(queries) == 1:
            known = self._texts(rows, largest)
            found = cdist(texts, known, scorer=LCSseq.similarity, dtype=np.int64, score_cutoff=cutoff)[0]
        else:
            rows, which = np.unique(rows, return_inverse=True)
            known = self._texts(rows, largest)
            asking, asked = [texts[i] for i in numbers.tolist()], [known[i] for i in which.tolist()]
            found = cpdist(asking, asked, scorer=LCSseq.similarity, dtype=np.int64, score_cutoff=cutoff)
        self._codes[distinct] = _OTHER
        return found

    def _texts(self, rows: Ints, largest: int) -> list[str]:
        lengths = self.lengths(rows)
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1]) + np.repeat(self._starts[rows] - ends + lengths, lengths)
        return _cut(_as_text(self._codes[self._flat[places]], largest), lengths)


def grown(array: npt.NDArray, needed: int) -> npt.NDArray:
    """The array, or a larger copy with room for ``needed`` items and a half more."""
    if needed <= len(array):
        return array
    larger = np.zeros(needed * 3 // 2, array.dtype)
    larger[: len(array)] = array
    return larger
