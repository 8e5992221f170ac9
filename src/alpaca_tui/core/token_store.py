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
    """A tokenized text as the store sees it."""

    length: int
    """In tokens, unknown ones included."""
    codes: npt.NDArray[np.uint32]
    """The tokens, numbered from 2 by first appearance; 1 for every token that the store does not know."""
    distinct: Ints
    """The store's ids of the known tokens, in the order of their codes."""
    repeats: Ints
    """``occurrence << 32 | id`` for each second (occurrence 1) and later occurrence of a known token."""


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

    def append(self, sequences: Sequence[Sequence[str]]) -> None:
        """Add sequences of tokens, in order."""
        vocabulary = self._vocabulary
        ids = [vocabulary.setdefault(token, len(vocabulary)) for tokens in sequences for token in tokens]
        start = int(self._starts[self._count])
        end = start + len(ids)
        last = self._count + len(sequences)
        self._flat = _grown(self._flat, end)
        self._starts = _grown(self._starts, last + 1)
        self._flat[start:end] = ids
        self._starts[self._count + 1 : last + 1] = start + np.cumsum([len(tokens) for tokens in sequences])
        self._count = last

    def query(self, tokens: Sequence[str]) -> Query:
        """The query for a token list; changes nothing."""
        numbers: dict[int, int] = {}
        times: dict[int, int] = {}
        codes = []
        repeats = []
        for token in tokens:
            token_id = self._vocabulary.get(token)
            if token_id is None:
                codes.append(_UNKNOWN)
                continue
            codes.append(numbers.setdefault(token_id, len(numbers) + 2))
            seen = times.get(token_id, 0)
            times[token_id] = seen + 1
            if seen:
                repeats.append(seen << 32 | token_id)
        return Query(
            len(tokens),
            np.array(codes, np.uint32),
            np.fromiter(numbers, np.int64, len(numbers)),
            np.array(repeats, np.int64),
        )

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
        self._codes = _grown(self._codes, len(self._vocabulary))
        largest = len(query.distinct) + 1
        self._codes[query.distinct] = np.arange(2, largest + 1, dtype=np.uint32)
        texts = self._texts(rows, largest)
        self._codes[query.distinct] = _OTHER
        found = cdist(
            [_as_text(query.codes, largest)],
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
    """The array, or a larger copy with room for ``needed`` items and a half more."""
    if needed <= len(array):
        return array
    larger = np.zeros(needed * 3 // 2, array.dtype)
    larger[: len(array)] = array
    return larger
