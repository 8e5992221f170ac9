"""The novelty index: which known text is nearest to a new one by ROUGE-L, exactly as a full scan would say.

Self-Instruct (arXiv 2212.10560, section 2.2) keeps an instruction only if its ROUGE-L with every instruction of the
pool stays at or under a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alpaca_tui.core.overlap_bounds import Demands, Ints, f_measures
from alpaca_tui.core.overlap_index import Candidates, OverlapIndex
from alpaca_tui.core.rouge import TokenizerName, tokenize
from alpaca_tui.core.token_store import Queries, TokenStore

DEFAULT_THRESHOLD = 0.7
DEFAULT_FLOOR = 0.5
_CHUNK = 16_384
_TAIL = 128
"""So many of the latest texts are compared one by one before they are indexed."""
_RATIO = 8
_BATCH = 1024
"""So many texts are asked about together."""
_NO_ROWS = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Match:
    """A known text, by the key it was added under, and its ROUGE-L F-measure with the text asked about."""

    key: Hashable
    score: float


@dataclass(frozen=True, slots=True)
class Alike:
    """Pairs of texts asked about (by their number) and known texts (by row: how many were added before), scored.

    Sorted by text, then by row.
    """

    texts: Ints
    rows: Ints
    scores: npt.NDArray[np.float64]


class NoveltyIndex:
    """Known texts and their ROUGE-L with new ones.

    ``tokenizer`` is fixed for the index's life. ``floor`` is the score above which ``nearest`` looks for neighbours
    unless told otherwise. Every answer is exact: scores equal rouge-score's, and ties go to the text added first.
    """

    def __init__(self, tokenizer: TokenizerName = "rouge", floor: float = DEFAULT_FLOOR) -> None:
        tokenize("", tokenizer)
        self.tokenizer: TokenizerName = tokenizer
        self.floor = floor
        self._keys: list[Hashable] = []
        self._store = TokenStore()
        self._segments: list[OverlapIndex] = []
        self._longest = 0

    @property
    def nbytes(self) -> int:
        """Bytes held in arrays; keys and the vocabulary's strings come on top."""
        return self._store.nbytes + sum(segment.nbytes for segment in self._segments)

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: Hashable, text: str) -> None:
        """Make ``text`` known under ``key``. Keys need not be unique."""
        self._append([key], [tokenize(text, self.tokenizer)])

    def extend(
        self, items: Iterable[tuple[Hashable, str]], progress: Callable[[int], None] = lambda done: None
    ) -> None:
        """Make many (key, text) pairs known, in order; much faster than as many calls of ``add``.

        ``progress`` is told now and then how many of them are.
        """
        before = len(self)
        keys: list[Hashable] = []
        sequences: list[list[str]] = []
        for key, text in items:
            keys.append(key)
            sequences.append(tokenize(text, self.tokenizer))
            if len(keys) == _CHUNK:
                self._append(keys, sequences, index=False)
                keys, sequences = [], []
                progress(len(self) - before)
        self._append(keys, sequences)
        progress(len(self) - before)

    def _append(self, keys: list[Hashable], sequences: list[list[str]], index: bool = True) -> None:
        self._store.append(sequences)
        self._keys.extend(keys)
        self._longest = max(self._longest, *map(len, sequences), 0)
        if index and len(self) - self._indexed >= _TAIL:
            self._index_tail()

    def nearest(self, text: str, floor: float | None = None) -> Match | None:
        """The most similar known text if its score is strictly above ``floor`` (the index's own by default).

        None means that no known text scores above ``floor``. So for any X ≥ ``floor`` the decision
        "some known text scores strictly above X" is ``match is not None and match.score > X``.
        """
        return self.nearest_each([text], floor)[0]

    def nearest_each(self, texts: Sequence[str], floor: float | None = None) -> list[Match | None]:
        """``nearest`` for many texts at once, which costs far less than as many calls."""
        found = self.alike(texts, floor, strictly=True)
        matches: list[Match | None] = [None] * len(texts)
        best_last = np.lexsort((-found.rows, found.scores, found.texts))
        ends = np.flatnonzero(np.diff(found.texts[best_last], append=-1))
        for i in best_last[ends].tolist():
            matches[found.texts[i]] = Match(self._keys[found.rows[i]], float(found.scores[i]))
        return matches

    def neighbours(self, text: str, floor: float | None = None) -> list[Match]:
        """Every known text whose score is at or above ``floor``, in the order in which they were added."""
        found = self.alike([text], floor)
        return [
            Match(self._keys[row], score) for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True)
        ]

    def alike(self, texts: Sequence[str], floor: float | None = None, *, strictly: bool = False) -> Alike:
        """All pairs of the texts and known texts that score at or above ``floor`` (above it, if ``strictly``)."""
        floor = self.floor if floor is None else floor
        if not len(self) or floor > 1:
            return Alike(_NO_ROWS, _NO_ROWS, np.zeros(0))
        if floor < 0 or (floor == 0 and not strictly):
            scores = [self.scores(text) for text in texts]
            numbers = np.repeat(np.arange(len(texts)), len(self))
            return Alike(numbers, np.tile(np.arange(len(self)), len(texts)), np.concatenate([np.zeros(0), *scores]))
        parts = []
        for start in range(0, len(texts), _BATCH):
            part = self._alike(texts[start : start + _BATCH], floor, strictly)
            parts.append(Alike(part.texts + start, part.rows, part.scores))
        return Alike(
            np.concatenate([_NO_ROWS, *(part.texts for part in parts)]),
            np.concatenate([_NO_ROWS, *(part.rows for part in parts)]),
            np.concatenate([np.zeros(0), *(part.scores for part in parts)]),
        )

    def scores(self, text: str) -> npt.NDArray[np.float64]:
        """The score of ``text`` with every known text, in the order in which they were added: a full scan."""
        queries = self._store.queries([tokenize(text, self.tokenizer)])
        length = int(queries.lengths[0])
        out = np.zeros(len(self))
        for start in range(0, len(self), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(self)))
            common = self._store.common(queries, np.zeros(len(rows), np.int64), rows)
            out[rows] = f_measures(common, length, self._store.lengths(rows))
        return out

    def top(self, text: str, k: int = 10) -> list[Match]:
        """The ``k`` most similar known texts, best first, ties in order of arrival: a full scan."""
        scores = self.scores(text)
        order = np.argsort(-scores, kind="stable")[:k]
        return [Match(self._keys[i], float(scores[i])) for i in order]

    def mean_similarity(self, text: str) -> float:
        """The mean score of ``text`` with every known text (0 if there is none), which the paper's code reports."""
        return float(self.scores(text).mean()) if len(self) else 0.0

    def _alike(self, texts: Sequence[str], floor: float, strictly: bool) -> Alike:
        queries = self._store.queries([tokenize(text, self.tokenizer) for text in texts])
        wanted = Demands(queries.lengths, self._longest, floor, strictly)
        if len(texts) > 1 and self._indexed < len(self):
            self._index_tail()
        candidates = Candidates.joined(
            [segment.candidates(queries, wanted) for segment in self._segments] + self._tail(queries, wanted)
        )
        numbers, rows, needed = candidates.queries, candidates.rows, candidates.needed
        common = self._store.common(queries, numbers, rows, int(needed.min(initial=0)))
        enough = np.flatnonzero(common >= needed)
        enough = enough[np.lexsort((rows[enough], numbers[enough]))]
        numbers, rows, common = numbers[enough], rows[enough], common[enough]
        return Alike(numbers, rows, f_measures(common, queries.lengths[numbers], self._store.lengths(rows)))

    def _tail(self, queries: Queries, wanted: Demands) -> list[Candidates]:
        """The rows not indexed yet, for a single query: all of them whose length will do."""
        rows = np.arange(self._indexed, len(self))
        if not len(rows) or not queries.lengths[0]:
            return []
        zeros = np.zeros(len(rows), np.int64)
        lengths = self._store.lengths(rows)
        reach = wanted.reach(zeros, zeros + queries.lengths[0])
        rows = rows[(lengths >= wanted.shortest[0]) & (lengths < reach)]
        zeros = zeros[: len(rows)]
        return [Candidates(zeros, rows, wanted.needed(zeros, self._store.lengths(rows)))]

    @property
    def _indexed(self) -> int:
        return self._segments[-1].last if self._segments else 0

    def _index_tail(self) -> None:
        """Move the tail into a segment, together with the segments that are not much larger.

        So segments shrink geometrically: few to ask, and each row is indexed anew a logarithmic number of times.
        """
        first, last = self._indexed, len(self)
        while self._segments and len(self._segments[-1]) <= _RATIO * (last - first):
            first = self._segments.pop().first
        self._segments.append(OverlapIndex(self._store, first, last))
