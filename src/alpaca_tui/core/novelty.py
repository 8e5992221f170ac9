"""The novelty index: which known text is nearest to a new one by ROUGE-L, exactly as a full scan would say.

Self-Instruct (arXiv 2212.10560, section 2.2) keeps an instruction only if its ROUGE-L with every instruction of the
pool stays at or under a threshold.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alpaca_tui.core.overlap_index import OverlapIndex, demand, f_measures
from alpaca_tui.core.rouge import TokenizerName, tokenize
from alpaca_tui.core.token_store import Ints, TokenStore

DEFAULT_THRESHOLD = 0.7
DEFAULT_FLOOR = 0.5
_CHUNK = 65_536
_TAIL = 128
"""So many of the latest texts are compared one by one before they are indexed."""
_RATIO = 16


@dataclass(frozen=True, slots=True)
class Match:
    """A known text, by the key it was added under, and its ROUGE-L F-measure with the text asked about."""

    key: Hashable
    score: float


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

    def extend(self, items: Iterable[tuple[Hashable, str]]) -> None:
        """Make many (key, text) pairs known, in order; much faster than as many calls of ``add``."""
        keys: list[Hashable] = []
        sequences: list[list[str]] = []
        for key, text in items:
            keys.append(key)
            sequences.append(tokenize(text, self.tokenizer))
            if len(keys) == _CHUNK:
                self._append(keys, sequences, index=False)
                keys, sequences = [], []
        self._append(keys, sequences)

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
        rows, scores = self._above(text, self.floor if floor is None else floor, strictly=True)
        if not len(rows):
            return None
        best = scores.max()
        return Match(self._keys[int(rows[scores == best].min())], float(best))

    def neighbours(self, text: str, floor: float | None = None) -> list[Match]:
        """Every known text whose score is at or above ``floor``, in the order in which they were added."""
        rows, scores = self._above(text, self.floor if floor is None else floor, strictly=False)
        return [Match(self._keys[rows[i]], float(scores[i])) for i in np.argsort(rows, kind="stable")]

    def scores(self, text: str) -> npt.NDArray[np.float64]:
        """The score of ``text`` with every known text, in the order in which they were added: a full scan."""
        query = self._store.query(tokenize(text, self.tokenizer))
        out = np.zeros(len(self))
        for start in range(0, len(self), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(self)))
            common = self._store.common(query, rows)
            out[rows] = f_measures(common, query.length, self._store.lengths(rows))
        return out

    def top(self, text: str, k: int = 10) -> list[Match]:
        """The ``k`` most similar known texts, best first, ties in order of arrival: a full scan."""
        scores = self.scores(text)
        order = np.argsort(-scores, kind="stable")[:k]
        return [Match(self._keys[i], float(scores[i])) for i in order]

    def mean_similarity(self, text: str) -> float:
        """The mean score of ``text`` with every known text (0 if there is none), which the paper's code reports."""
        return float(self.scores(text).mean()) if len(self) else 0.0

    def _above(self, text: str, floor: float, strictly: bool) -> tuple[Ints, npt.NDArray[np.float64]]:
        """The rows that score above ``floor`` (or at it, unless ``strictly``), in no order, and their scores."""
        query = self._store.query(tokenize(text, self.tokenizer))
        if floor < 0 or (floor == 0 and not strictly):
            scores = self.scores(text)
            return np.arange(len(scores)), scores
        if not query.length or floor > 1:
            return np.zeros(0, np.int64), np.zeros(0)
        wanted = demand(query.length, self._longest, floor, strictly)
        tail = np.arange(self._indexed, len(self))
        lengths = self._store.lengths(tail)
        tail = tail[(lengths >= wanted.shortest) & (lengths <= wanted.longest)]
        found = [(tail, wanted.needed[self._store.lengths(tail)])]
        found.extend(segment.candidates(query, wanted) for segment in self._segments)
        rows = np.concatenate([rows for rows, _ in found])
        needed = np.concatenate([needed for _, needed in found])
        if not len(rows):
            return rows, np.zeros(0)
        common = self._store.common(query, rows, int(needed.min()))
        enough = common >= needed
        rows, common = rows[enough], common[enough]
        return rows, f_measures(common, query.length, self._store.lengths(rows))

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
