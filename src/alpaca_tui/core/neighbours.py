"""Which earlier texts each candidate is alike to: what a replay of the filter needs to know.

A model that repeats itself makes millions of pairs. Two facts keep what is stored small and every decision exact:

- Texts of the same tokens score the same with every other text. So only the first of them has pairs of its own; each
  later one has a single pair, of score 1, with that first.
- A text that is rejected at every threshold below t can't block anything below t. So a pair whose score is at most
  that t decides nothing; of such pairs only the highest few are kept, for showing.

The second is worked out from bounds. A text is *certain* from the highest of its deciding scores on: no threshold at
or above it can reject it. It is *barred* up to t if, for each threshold below t, some earlier text is certain at it
and scores above it with this one. Seeds are certain from the start. A text that another rule rejects is never certain,
for a replay may keep or reject it; so pairs serve every replay that rejects no text which was taken for certain.
A text that a person has rescued is kept at every threshold, whatever is like it: it is never barred.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from alpaca_tui.core.novelty import DEFAULT_FLOOR, Alike, NoveltyIndex
from alpaca_tui.core.overlap_bounds import Ints
from alpaca_tui.core.rouge import TokenizerName, tokenize
from alpaca_tui.core.rule_text import normalise
from alpaca_tui.core.token_store import grown

Key = tuple[Literal["seed", "candidate"], int]
"""Which row a text is."""

SHOWN_PAIRS = 16
"""So many of a candidate's pairs are kept although they decide nothing: the highest."""


Floats = npt.NDArray[np.float64]

_NEVER = -1.0
"""Barred at no threshold."""

_BLOCK = 2048
_PAIRS_AT_ONCE = 1_000_000


@dataclass(frozen=True, slots=True)
class Pair:
    """An earlier text, its ROUGE-L F-measure with the candidate, and whether that can decide anything."""

    key: Key
    score: float
    decides: bool = True


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a candidate that is first of its tokens: rejected at every threshold below ``barred``; kept at every one from
    ``certain`` on (None: nothing is certain)."""

    barred: float
    certain: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate's pairs, seeds first, then in order of arrival; its bounds, None if it repeats another's tokens."""

    pairs: tuple[Pair, ...]
    bounds: Bounds | None


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of a project's candidates: (candidate id, seed id or earlier candidate id, score)."""

    seeds: Sequence[tuple[int, int, float]] = ()
    candidates: Sequence[tuple[int, int, float]] = ()


class PairFinder:
    """Knows seeds and all earlier candidates, rejected ones too: at another threshold they may be kept."""

    def __init__(
        self,
        seeds: Iterable[tuple[int, str]],
        tokenizer: TokenizerName = "rouge",
        floor: float = DEFAULT_FLOOR,
        rescued: Collection[int] = (),
    ) -> None:
        """``rescued`` are ids of candidates that every replay keeps."""
        self._floor = floor
        self._rescued = frozenset(rescued)
        self._index = NoveltyIndex(tokenizer, floor)
        self._wordings: set[str] = set()
        self._firsts: dict[tuple[str, ...], int] = {}
        """The first candidate of each list of tokens."""
        self._keys: list[Key] = []
        self._row_of: dict[int, int] = {}
        """Of candidates that are the first of their tokens."""
        self._waiting: list[tuple[Key, str]] = []
        self._barred = np.zeros(256)
        self._certain = np.zeros(256)
        """For each known text; seeds decide always and are certain from the floor on. NaN: certain at no threshold."""
        for seed_id, text in seeds:
            self._wordings.add(normalise(text))
            self._append(("seed", seed_id), text, Bounds(_NEVER, floor))
        self._index_new()
        self._pairs_seen = 0

    def know(self, candidates: Iterable[tuple[int, str, Bounds | None]]) -> None:
        """Make many candidates known whose pairs were found before, as (id, text, bounds)."""
        for candidate_id, text, bounds in candidates:
            self._wordings.add(normalise(text))
            if bounds is not None:
                self._firsts.setdefault(self._tokens(text), candidate_id)
                self._append(("candidate", candidate_id), text, bounds)
            elif candidate_id in self._rescued:
                self._unbar(self._firsts[self._tokens(text)])
        self._index_new()

    def find(self, candidate_id: int, text: str, passed: bool = True) -> Found:
        """The next candidate's pairs; it is known afterwards.

        ``passed`` is whether the rules other than ``duplicate`` and ``novelty`` passed it.
        """
        return self._found([(candidate_id, text, passed)])[0]

    def find_all(self, candidates: Sequence[tuple[int, str, bool]]) -> Iterator[Found]:
        """``find`` for many, in order, which costs far less than as many calls."""
        start, size = 0, _BLOCK
        while start < len(candidates):
            yield from self._found(candidates[start : start + size])
            start += size
            # Texts that are nearly all alike make pairs without number: fewer of them are then looked at together.
            per_text = self._pairs_seen / size
            size = min(_BLOCK, max(1, int(_PAIRS_AT_ONCE / max(1, per_text))))

    def _found(self, candidates: Sequence[tuple[int, str, bool]]) -> list[Found]:
        """Of a block, whose texts are compared all at once."""
        earlier = [self._first_of(candidate_id, text) for candidate_id, text, _ in candidates]
        new = [one for one, first in zip(candidates, earlier, strict=True) if first is None]
        texts = [text for _, text, _ in new]
        known = len(self._keys)
        before = self._index.alike(texts, self._floor)
        among = self._index_of(texts).alike(texts, self._floor) if len(texts) > 1 else None
        self._pairs_seen = len(before.rows) + (len(among.rows) if among else 0)
        rows_of = _Split(before, len(texts), 0), _Split(among, len(texts), known)
        found, number = [], 0
        for (candidate_id, text, passed), first in zip(candidates, earlier, strict=True):
            wording = normalise(text)
            unheard = wording not in self._wordings
            self._wordings.add(wording)
            if first is not None:
                if candidate_id in self._rescued:
                    self._unbar(first)
                found.append(Found((Pair(("candidate", first), 1.0),), None))
                continue
            parts = [part.of(number) for part in rows_of]
            number += 1
            rows = np.concatenate([rows for rows, _ in parts])
            scores = np.concatenate([scores for _, scores in parts])
            earlier_rows = rows < len(self._keys)
            weighed = self._weighed(rows[earlier_rows], scores[earlier_rows], passed and unheard)
            bounds = weighed.bounds
            assert bounds is not None
            if candidate_id in self._rescued:
                bounds = Bounds(_NEVER, None)
            found.append(Found(weighed.pairs, bounds))
            self._append(("candidate", candidate_id), text, bounds)
        self._index_new()
        return found

    def _index_of(self, texts: Sequence[str]) -> NoveltyIndex:
        index = NoveltyIndex(self._index.tokenizer, self._floor)
        index.extend(enumerate(texts))
        return index

    def _first_of(self, candidate_id: int, text: str) -> int | None:
        """The earlier candidate of the same tokens. Texts without tokens are like none, not even each other."""
        tokens = self._tokens(text)
        first = self._firsts.setdefault(tokens, candidate_id) if tokens else candidate_id
        return None if first == candidate_id else first

    def _tokens(self, text: str) -> tuple[str, ...]:
        return tuple(tokenize(text, self._index.tokenizer))

    def _weighed(self, rows: Ints, scores: Floats, may_be_certain: bool) -> Found:
        """What the pairs with these known texts, in order of arrival, come to."""
        decides = scores > self._barred[rows]
        certain = float(scores[decides].max(initial=self._floor))
        barred = self._reached(self._certain[rows[decides]], scores[decides])
        shown = decides.copy()
        others = np.flatnonzero(~decides)
        shown[others[np.argsort(-scores[others], kind="stable")[:SHOWN_PAIRS]]] = True
        pairs = tuple(
            Pair(self._keys[row], score, deciding)
            for row, score, deciding in zip(
                rows[shown].tolist(), scores[shown].tolist(), decides[shown].tolist(), strict=True
            )
        )
        return Found(pairs, Bounds(barred, certain if may_be_certain else None))

    def _reached(self, certain: Floats, scores: Floats) -> float:
        """How far, from the floor up, the thresholds are covered by texts that are certain and score above them."""
        reached = self._floor
        for at in np.argsort(certain, kind="stable").tolist():  # NaN comes last
            if not certain[at] <= reached:
                break
            reached = max(reached, float(scores[at]))
        return reached

    def _unbar(self, first: int) -> None:
        """A later text of the same tokens is kept whatever is like it: from now on pairs with them decide."""
        self._barred[self._row_of[first]] = _NEVER

    def _append(self, key: Key, text: str, bounds: Bounds) -> None:
        row = len(self._keys)
        if key[0] == "candidate":
            self._row_of[key[1]] = row
        self._barred, self._certain = grown(self._barred, row + 1), grown(self._certain, row + 1)
        self._barred[row] = bounds.barred
        self._certain[row] = np.nan if bounds.certain is None else bounds.certain
        self._keys.append(key)
        self._waiting.append((key, text))

    def _index_new(self) -> None:
        self._index.extend(self._waiting)
        self._waiting.clear()


class _Split:
    """Pairs by the number of the text asked about; rows are counted from ``first``."""

    def __init__(self, pairs: Alike | None, count: int, first: int) -> None:
        self._pairs = pairs
        self._first = first
        self._starts = [] if pairs is None else pairs.texts.searchsorted(np.arange(count + 1)).tolist()

    def of(self, number: int) -> tuple[Ints, Floats]:
        """Rows and scores."""
        if self._pairs is None:
            return np.zeros(0, np.int64), np.zeros(0)
        some = slice(self._starts[number], self._starts[number + 1])
        return self._pairs.rows[some] + self._first, self._pairs.scores[some]


def collect(found: Iterable[tuple[int, Sequence[Pair]]], *, deciding: bool = False) -> Pairs:
    """The pairs of many candidates as one value; with ``deciding``, only those that decide."""
    seeds: list[tuple[int, int, float]] = []
    candidates: list[tuple[int, int, float]] = []
    for candidate_id, pairs in found:
        for pair in pairs:
            if pair.decides or not deciding:
                kind, other = pair.key
                (seeds if kind == "seed" else candidates).append((candidate_id, other, pair.score))
    return Pairs(seeds, candidates)
