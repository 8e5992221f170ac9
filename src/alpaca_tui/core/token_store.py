"""Token sequences held as one flat array, and common-subsequence lengths of one query against many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

Ints = npt.NDArray[np.int64]

_SURROGATES = range(0xD800, 0xE000)
_OTHER, _UNKNOWN = 0, 1


@dataclass(frozen=True, slots=True)
class Query:
    """A tokenized text: the ids of its tokens in the store's vocabulary (-1 for unknown) and its length in tokens."""

    ids: Ints
    length: int


def _as_text(codes: npt.NDArray[np.uint32], largest: int) -> str:
    """One character per code: the form in which the common-subsequence kernel is fastest."""
    if largest < 256:
        return codes.astype(np.uint8).tobytes().decode("latin-1")
    if largest >= _SURROGATES.start:
        codes = codes + (codes >= _SURROGATES.start).astype(np.uint32) * np.uint32(len(_SURROGATES))
    return codes.tobytes().decode("utf-32-le")


class TokenStore:
    """Token sequences in order of arrival; sequence ``i`` is ``flat[starts[i]:starts[i + 1]]``.

    Only a query's own tokens matter to a common subsequence. So each query numbers its distinct tokens from 2, every
    other token becomes 0, and most comparisons run on one-byte strings whatever the size of the vocabulary.
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

    def append(self, tokens: Sequence[str]) -> None:
        """Add one sequence."""
        vocabulary = self._vocabulary
        ids = [vocabulary.setdefault(token, len(vocabulary)) for token in tokens]
        start = int(self._starts[self._count])
        end = start + len(ids)
        if end > len(self._flat):
            self._flat = _grown(self._flat, end)
        if self._count + 2 > len(self._starts):
            self._starts = _grown(self._starts, self._count + 2)
        self._flat[start:end] = ids
        self._count += 1
        self._starts[self._count] = end

    def query(self, tokens: Sequence[str]) -> Query:
        """The query for a token list; changes nothing."""
        get = self._vocabulary.get
        return Query(np.fromiter((get(token, -1) for token in tokens), np.int64, len(tokens)), len(tokens))

    def lengths(self, rows: Ints) -> Ints:
        """The lengths in tokens of the given sequences."""
        starts = self._starts
        return starts[rows + 1] - starts[rows]

    def common(self, query: Query, rows: Ints, cutoff: int = 0) -> Ints:
        """The length in tokens of the longest common subsequence of ``query`` with each of ``rows``.

        A result under ``cutoff`` may be given as 0.
        """
        if not len(rows) or not query.length:
            return np.zeros(len(rows), np.int64)
        if len(self._codes) < len(self._vocabulary):
            self._codes = _grown(self._codes, len(self._vocabulary))
        known = query.ids >= 0
        distinct, inverse = np.unique(query.ids[known], return_inverse=True)
        coded = np.full(query.length, _UNKNOWN, np.uint32)
        coded[known] = inverse + 2
        largest = len(distinct) + 1
        self._codes[distinct] = np.arange(2, largest + 1, dtype=np.uint32)
        texts = self._texts(rows, largest)
        self._codes[distinct] = _OTHER
        found = cdist(
            [_as_text(coded, largest)],
            texts,
            scorer=LCSseq.similarity,
            score_cutoff=cutoff or None,
            dtype=np.int64,
        )
        return found[0]

    def _texts(self, rows: Ints, largest: int) -> list[str]:
        first = self._starts[rows]
        lengths = self._starts[rows + 1] - first
        ends = np.cumsum(lengths)
        begins = ends - lengths
        places = np.arange(ends[-1]) + np.repeat(first - begins, lengths)
        text = _as_text(self._codes[self._flat[places]], largest)
        return [text[b:e] for b, e in zip(begins.tolist(), ends.tolist(), strict=True)]


def _grown(array: npt.NDArray, needed: int) -> npt.NDArray:
    larger = np.zeros(max(needed, len(array) * 3 // 2), array.dtype)
    larger[: len(array)] = array
    return larger
