"""The novelty index: which known text is nearest to a new one by ROUGE-L, exactly as a full scan would say.

Self-Instruct (arXiv 2212.10560, section 2.2) keeps an instruction only if its ROUGE-L with every instruction of the
pool stays at or under a threshold.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alpaca_tui.core.rouge import TokenizerName, tokenize
from alpaca_tui.core.token_store import Ints, TokenStore

DEFAULT_THRESHOLD = 0.7
DEFAULT_FLOOR = 0.5
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Match:
    """A known text, by the key it was added under, and its ROUGE-L F-measure with the text asked about."""

    key: Hashable
    score: float


def f_measures(common: Ints, length: int, lengths: Ints) -> npt.NDArray[np.float64]:
    """``rouge.f_measure`` over arrays, with the same operations in the same order: equal to the last bit."""
    scores = np.zeros(len(common))
    some = common > 0
    precision = common[some] / lengths[some]
    recall = common[some] / length
    scores[some] = 2 * precision * recall / (precision + recall)
    return scores


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

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: Hashable, text: str) -> None:
        """Make ``text`` known under ``key``. Keys need not be unique."""
        self._store.append(tokenize(text, self.tokenizer))
        self._keys.append(key)

    def extend(self, items: Iterable[tuple[Hashable, str]]) -> None:
        """Make many (key, text) pairs known, in order; much faster than as many calls of ``add``."""
        for key, text in items:
            self.add(key, text)

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
        scores = self.scores(text)
        rows = np.flatnonzero(scores > floor if strictly else scores >= floor)
        return rows, scores[rows]
