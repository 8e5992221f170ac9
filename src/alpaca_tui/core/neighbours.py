"""Which earlier texts each candidate is alike to, whatever was decided about them: what a replay needs to know.

A pair says how alike two texts are and nothing about rules, so it stays true at every threshold and for every rule set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from alpaca_tui.core.novelty import DEFAULT_FLOOR, NoveltyIndex
from alpaca_tui.core.rouge import TokenizerName

Key = tuple[Literal["seed", "candidate"], int]
"""Which row a text is."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An earlier text, and its ROUGE-L F-measure with the candidate asked about."""

    key: Key
    score: float


@dataclass(frozen=True, slots=True)
class Pairs:
    """All pairs of a project's candidates: (candidate id, seed id or earlier candidate id, score).

    Of candidates with the same tokens only the first has pairs of its own; each later one has a single pair, of
    score 1, with that first. So a model that says one thing a thousand times costs a thousand pairs, not a million,
    and nothing is lost: texts of the same tokens score the same with every other text.
    """

    seeds: Sequence[tuple[int, int, float]] = ()
    candidates: Sequence[tuple[int, int, float]] = ()


class PairFinder:
    """Knows seeds and all earlier candidates, rejected ones too: at another threshold they may be kept.

    Candidates that other rules than ``duplicate`` and ``novelty`` rejected are known as well, so that the pairs also
    serve a replay in which such a rule is switched off.
    """

    def __init__(
        self, seeds: Iterable[tuple[int, str]], tokenizer: TokenizerName = "rouge", floor: float = DEFAULT_FLOOR
    ) -> None:
        self._index = NoveltyIndex(tokenizer, floor)
        self._index.extend((("seed", seed_id), text) for seed_id, text in seeds)

    def know(self, firsts: Iterable[tuple[int, str]]) -> None:
        """Make many candidates known whose pairs were found before: only those that are first of their tokens."""
        self._index.extend((("candidate", candidate_id), text) for candidate_id, text in firsts)

    def find(self, candidate_id: int, text: str) -> list[Pair]:
        """The candidate's pairs from the floor on, seeds first, then in order of arrival; it is known afterwards."""
        found = [Pair(_key(match.key), match.score) for match in self._index.neighbours(text)]
        same = next((pair for pair in found if pair.key[0] == "candidate" and pair.score == 1.0), None)
        if same is not None:
            return [same]
        self._index.add(("candidate", candidate_id), text)
        return found


def _key(key: object) -> Key:
    assert isinstance(key, tuple)
    return key


def collect(found: Iterable[tuple[int, Sequence[Pair]]]) -> Pairs:
    """The pairs of many candidates as one value."""
    seeds: list[tuple[int, int, float]] = []
    candidates: list[tuple[int, int, float]] = []
    for candidate_id, pairs in found:
        for pair in pairs:
            kind, other = pair.key
            (seeds if kind == "seed" else candidates).append((candidate_id, other, pair.score))
    return Pairs(seeds, candidates)
