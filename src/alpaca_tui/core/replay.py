"""What the filter would have kept at another threshold or by other rules, decided exactly and without a model call.

Decisions depend on order: a candidate that is rejected no longer blocks those after it. So a replay walks through the
candidates in order of arrival, as the filter did. Between replays at different thresholds only two rules change their
minds, ``duplicate`` and ``novelty``, for only they look at what was kept; the verdicts of the others are given. All of
today's seeds count as known from the start.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.instruction_rules import InstructionRule
from alpaca_tui.core.neighbours import Key, Pairs
from alpaca_tui.core.novelty import DEFAULT_FLOOR
from alpaca_tui.core.records import Neighbour, Verdict
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.sieve import Sieve

ORDER_DEPENDENT = ("duplicate", "novelty")
"""The rules whose verdicts depend on what was kept before."""

CURVE_THRESHOLDS = tuple(x / 100 for x in range(50, 101))
"""0.50, 0.51 … 1.00."""


@dataclass(frozen=True, slots=True)
class Item:
    """A candidate as a replay sees it: its wording after ``normalise``, and the first other rule that rejected it.

    One that a person has ``rescued`` is kept whatever the rules say.
    """

    id: int
    wording: str
    refused_by: str | None = None
    rescued: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one candidate, and why.

    ``nearest`` and ``score`` are what ``novelty`` saw: the most similar of the seeds and of the earlier candidates
    kept in this replay; None where nothing scores above the replay's floor. ``same_as`` is the first known text of the
    candidate's own wording.
    """

    id: int
    rejected_by: str | None
    score: float | None = None
    nearest: Key | None = None
    same_as: Key | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """What a replay takes for granted: the seeds' wordings (the first seed of each), and the rules that apply.

    ``rules`` are names, in the order in which the first failure is named; rules that are not in it come before all.
    """

    seeds: Mapping[str, int]
    rules: tuple[str, ...] = ORDER_DEPENDENT

    @property
    def duplicate(self) -> bool:
        """Whether that rule applies."""
        return "duplicate" in self.rules

    @property
    def novelty(self) -> bool:
        """Whether that rule applies."""
        return "novelty" in self.rules


def _check(thresholds: Sequence[float]) -> None:
    for threshold in thresholds:
        if not DEFAULT_FLOOR <= threshold <= 1:
            raise UsageError(
                f"pairs are known from {DEFAULT_FLOOR:g} to 1, so a threshold of {threshold:g} needs a full replay"
            )


class _Classes:
    """Candidates of the same tokens as one class, named by its first member, and how alike the classes are."""

    def __init__(self, pairs: Pairs, floor: float = DEFAULT_FLOOR) -> None:
        self._alike = [pair for pair in pairs.candidates if floor < pair[2] < 1]
        self.first = {candidate_id: first for candidate_id, first, score in pairs.candidates if score == 1.0}
        self.several = set(self.first.values())
        """Classes of more than one member."""
        self.seed: dict[int, tuple[float, int]] = {}
        """The most similar seed of each; of several, the first."""
        for candidate_id, seed_id, score in pairs.seeds:
            best = self.seed.get(candidate_id, (floor, 0))
            if score > best[0] or (score == best[0] and seed_id < best[1]):
                self.seed[candidate_id] = (score, seed_id)

    def earlier(self) -> dict[int, list[tuple[int, float]]]:
        """For each class the others that may have a member before one of its own, with their scores."""
        earlier = defaultdict(list)
        for candidate_id, other, score in self._alike:
            earlier[candidate_id].append((other, score))
            if other in self.several:
                earlier[other].append((candidate_id, score))
        return earlier

    def later(self) -> dict[int, list[tuple[int, float]]]:
        """For each class the others that may have a member after one of its own, with their scores."""
        later = defaultdict(list)
        for candidate_id, other, score in self._alike:
            later[other].append((candidate_id, score))
            if other in self.several:
                later[candidate_id].append((other, score))
        return later


def replay(
    items: Sequence[Item], pairs: Pairs, threshold: float, scope: Scope, floor: float = DEFAULT_FLOOR
) -> list[Decision]:
    """The decision on each of ``items``, which are all candidates in order of arrival, with rising ids.

    ``pairs`` are those of ``PairFinder``. ``floor``, at most the threshold, is from where on the nearest text is
    looked for; at the threshold itself, pairs that decide are enough to name it. Raises UsageError for a threshold
    outside 0.5 to 1.
    """
    _check([threshold])
    classes = _Classes(pairs, floor)
    earlier = classes.earlier()
    known: dict[str, Key] = {wording: ("seed", seed_id) for wording, seed_id in scope.seeds.items()}
    first_kept: dict[int, int] = {}
    decisions = []
    duplicate, novelty = scope.duplicate, scope.novelty
    place = {rule: i for i, rule in enumerate(scope.rules)}
    for item in items:
        name = classes.first.get(item.id, item.id)
        others = earlier.get(name, ())
        if name in classes.several:
            others = (*others, (name, 1.0))
        score, nearest = _nearest(classes.seed.get(name), others, first_kept, floor)
        same_as = known.get(item.wording)
        failed = [] if item.refused_by is None else [item.refused_by]
        if duplicate and same_as is not None:
            failed.append("duplicate")
        if novelty and score is not None and score > threshold:
            failed.append("novelty")
        rejected_by = None if item.rescued else min(failed, key=lambda rule: place.get(rule, -1), default=None)
        if rejected_by is None:
            known.setdefault(item.wording, ("candidate", item.id))
            first_kept.setdefault(name, item.id)
        decisions.append(Decision(item.id, rejected_by, score, nearest, same_as))
    return decisions


def _nearest(
    seed: tuple[float, int] | None,
    others: Iterable[tuple[int, float]],
    first_kept: Mapping[int, int],
    floor: float,
) -> tuple[float | None, Key | None]:
    """The highest score above the floor; of several, the text known first: seeds, then candidates by arrival."""
    best = floor
    nearest: Key | None = None
    if seed is not None:
        best, nearest = seed[0], ("seed", seed[1])
    earliest = 0
    for other, score in others:
        if score >= best and other in first_kept:
            kept = first_kept[other]
            if score > best or kept < earliest:
                best, nearest, earliest = score, ("candidate", kept), kept
    return (None, None) if nearest is None else (best, nearest)


def curve(items: Sequence[Item], pairs: Pairs, thresholds: Sequence[float], scope: Scope) -> list[int]:
    """How many of ``items`` a replay would keep at each of ``thresholds``, which rise.

    All thresholds are decided in one walk: bit i of a mask stands for ``thresholds[i]``. Raises UsageError for a
    threshold outside 0.5 to 1.
    """
    _check(thresholds)
    everywhere = (1 << len(thresholds)) - 1

    @cache
    def under(score: float) -> int:
        """The thresholds that a score is strictly above."""
        return (1 << bisect_left(thresholds, score)) - 1 if scope.novelty else 0

    classes = _Classes(pairs)
    later = classes.later()
    blocked = defaultdict(int, {name: under(score) for name, (score, _) in classes.seed.items()})
    known = defaultdict(int, dict.fromkeys(scope.seeds, everywhere) if scope.duplicate else {})
    patterns: Counter[int] = Counter()
    for item in items:
        if item.refused_by is not None and not item.rescued:
            continue
        name = classes.first.get(item.id, item.id)
        kept = everywhere if item.rescued else everywhere & ~(blocked[name] | known[item.wording])
        if not kept:
            continue
        patterns[kept] += 1
        if scope.duplicate:
            known[item.wording] |= kept
        if name in classes.several:
            blocked[name] |= kept & under(1.0)
        for other, score in later.get(name, ()):
            blocked[other] |= kept & under(score)
    return [sum(n for mask, n in patterns.items() if mask >> i & 1) for i in range(len(thresholds))]


def rejudge(
    seeds: Sequence[Neighbour],
    candidates: Sequence[Neighbour],
    rules: Sequence[InstructionRule],
    tokenizer: TokenizerName = "rouge",
    progress: Callable[[int], None] = lambda done: None,
    rescued: Collection[int] = (),
) -> list[tuple[Verdict, ...]]:
    """Every rule's verdict on every candidate, in order of arrival, as the filter would give it today.

    Works for any rules, tokenizer and threshold, from 0 on. ``progress`` is told how many candidates are judged. The
    ``rescued`` ones, by id, count as kept whatever the verdicts on them say.
    """
    return list(Sieve(rules, tokenizer, seeds, rescued=rescued).judge(candidates, progress))
