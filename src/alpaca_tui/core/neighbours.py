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
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from alpaca_tui.core.novelty import DEFAULT_FLOOR, NoveltyIndex
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rule_text import normalise

Key = tuple[Literal["seed", "candidate"], int]
"""Which row a text is."""

SHOWN_PAIRS = 16
"""So many of a candidate's pairs are kept although they decide nothing: the highest."""


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
        self, seeds: Iterable[tuple[int, str]], tokenizer: TokenizerName = "rouge", floor: float = DEFAULT_FLOOR
    ) -> None:
        seeds = list(seeds)
        self._floor = floor
        self._index = NoveltyIndex(tokenizer, floor)
        self._index.extend((("seed", seed_id), text) for seed_id, text in seeds)
        self._wordings = {normalise(text) for _, text in seeds}
        self._bounds: dict[int, Bounds] = {}

    def know(self, candidates: Iterable[tuple[int, str, Bounds | None]]) -> None:
        """Make many candidates known whose pairs were found before, as (id, text, bounds)."""
        firsts = []
        for candidate_id, text, bounds in candidates:
            self._wordings.add(normalise(text))
            if bounds is not None:
                self._bounds[candidate_id] = bounds
                firsts.append((("candidate", candidate_id), text))
        self._index.extend(firsts)

    def find(self, candidate_id: int, text: str, passed: bool = True) -> Found:
        """The next candidate's pairs; it is known afterwards.

        ``passed`` is whether the rules other than ``duplicate`` and ``novelty`` passed it.
        """
        wording = normalise(text)
        new = wording not in self._wordings
        self._wordings.add(wording)
        matches = [(_key(match.key), match.score) for match in self._index.neighbours(text)]
        same = next((key for key, score in matches if key[0] == "candidate" and score == 1.0), None)
        if same is not None:
            return Found((Pair(same, 1.0),), None)
        pairs = [Pair(key, score, self._decides(key, score)) for key, score in matches]
        certain = max((pair.score for pair in pairs if pair.decides), default=self._floor)
        bounds = Bounds(self._barred(pairs), certain if passed and new else None)
        self._bounds[candidate_id] = bounds
        self._index.add(("candidate", candidate_id), text)
        return Found(_shortened(pairs), bounds)

    def _decides(self, key: Key, score: float) -> bool:
        return key[0] == "seed" or score > self._bounds[key[1]].barred

    def _barred(self, pairs: Sequence[Pair]) -> float:
        """How far, from the floor up, the thresholds are covered by texts that are certain and score above them."""
        covers = [(self._certain(pair.key), pair.score) for pair in pairs if pair.decides]
        reached = self._floor
        for certain, score in sorted((certain, score) for certain, score in covers if certain is not None):
            if certain > reached:
                break
            reached = max(reached, score)
        return reached

    def _certain(self, key: Key) -> float | None:
        return self._floor if key[0] == "seed" else self._bounds[key[1]].certain


def _shortened(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    shown = sorted((pair for pair in pairs if not pair.decides), key=lambda pair: -pair.score)[:SHOWN_PAIRS]
    return tuple(pair for pair in pairs if pair.decides or pair in shown)


def _key(key: object) -> Key:
    assert isinstance(key, tuple)
    return key


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
