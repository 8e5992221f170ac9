"""Blind A/B judgements of two models: win rate, interval, sign test, and what may be said about them.

Everything is counted for the second of the two models, as a rule the tuned one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from alpaca_tui.core.errors import UsageError

Verdict = Literal["left", "right", "tie", "both_bad"]
VERDICTS: tuple[Verdict, ...] = ("left", "right", "tie", "both_bad")

ALPHA = 0.05
MAX_NEEDED = 5_000
"""More judgements than this are not worth naming: the two are as good as even."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Judgements by outcome: the first model better, the second better, both alike, both bad."""

    first: int = 0
    second: int = 0
    tie: int = 0
    both_bad: int = 0

    @property
    def judged(self) -> int:
        """All judgements."""
        return self.first + self.second + self.tie + self.both_bad

    @property
    def decided(self) -> int:
        """Those that prefer one of the two."""
        return self.first + self.second


@dataclass(frozen=True, slots=True)
class WinRate:
    """The second model's share of the judgements, ties (and both bad) counted half, with its interval."""

    rate: float
    low: float
    high: float


def sides(seed: int, position: int) -> bool:
    """Whether the first model's output stands on the left for the task at ``position``: a fair coin, by seed."""
    return bool(hashlib.sha256(f"{seed}:side:{position}".encode()).digest()[0] & 1)


def presentation(seed: int, positions: Sequence[int]) -> list[int]:
    """The order in which tasks are judged: shuffled by seed, so that the first n judged are a fair draw of all.

    A task's place among others does not depend on which others there are.
    """
    return sorted(positions, key=lambda p: hashlib.sha256(f"{seed}:order:{p}".encode()).digest())


def winner(verdict: Verdict, first_is_left: bool) -> Literal["first", "second", "tie", "both_bad"]:
    """Whom a verdict on sides prefers."""
    if verdict in ("left", "right"):
        return "first" if (verdict == "left") == first_is_left else "second"
    return "tie" if verdict == "tie" else "both_bad"


def wilson(successes: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval for a share of ``successes`` in ``n`` (Wilson 1927, J. Am. Stat. Assoc. 22:209-212).

    Unlike the textbook interval it stays within 0 and 1 and keeps its promise for small n (Brown, Cai and DasGupta
    2001, Statistical Science 16:101-133). Raises UsageError for n below 1 or a confidence outside (0, 1).
    """
    if n < 1:
        raise UsageError("there is nothing to take a share of: n must be at least 1")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, not {confidence}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the formula gives 0 and 1 but for rounding.
    low = (centre - half) / scale if successes > 0 else 0.0
    high = (centre + half) / scale if successes < n else 1.0
    return max(0.0, low), min(1.0, high)


def win_rate(tally: Tally, *, confidence: float = 0.95) -> WinRate | None:
    """The second model's win rate, or None where nothing is judged.

    A tie is half a win. A half varies less than a whole win or loss, so the interval is rather too wide than too
    narrow where there are ties.
    """
    n = tally.judged
    if n == 0:
        return None
    wins = tally.second + (tally.tie + tally.both_bad) / 2
    low, high = wilson(wins, n, confidence=confidence)
    return WinRate(wins / n, low, high)


def sign_test(first: int, second: int) -> float:
    """How likely a split at least this uneven is among even models: the two-sided p of the exact sign test.

    Ties are left out (Dixon and Mood 1946, J. Am. Stat. Assoc. 41:557-566). 1.0 where nothing is decided.
    """
    n, fewer = first + second, min(first, second)
    if n == 0 or 2 * fewer >= n - 1:
        return 1.0
    # By logarithms: binomial coefficients of some thousands don't fit into a float. Each term is a fraction of the
    # one above it, so the sum ends where they no longer count.
    term = math.exp(math.lgamma(n + 1) - math.lgamma(fewer + 1) - math.lgamma(n - fewer + 1) - n * math.log(2))
    total = 0.0
    for k in range(fewer, -1, -1):
        total += term
        term *= k / (n - k + 1)
        if term < total * 1e-12:
            break
    return min(1.0, 2 * total)


def more_needed(tally: Tally, *, alpha: float = ALPHA) -> int | None:
    """How many more judgements, with the same shares as so far, would make the sign test's p fall below ``alpha``.

    0 where it is below already; None where no number would do (even, or nothing decided) or only an absurd one.
    """
    if sign_test(tally.first, tally.second) < alpha:
        return 0
    better, decided = max(tally.first, tally.second), tally.decided
    if 2 * better == decided:
        return None
    z = NormalDist().inv_cdf(1 - alpha / 2)
    # The normal law asks for hardly more than the exact test does: begin a little below its answer.
    need = max(decided + 1, math.floor(0.95 * (z / (2 * better / decided - 1)) ** 2) - 3)
    while need <= MAX_NEEDED:
        wins = better * need // decided
        if sign_test(need - wins, wins) < alpha:
            return math.ceil(need * tally.judged / decided) - tally.judged
        need += 1
    return None


def verdict_sentence(tally: Tally, first: str, second: str, left: int) -> str:
    """What may be said of the judgements so far, in one plain sentence; ``left`` tasks are not judged yet."""
    if not tally.judged:
        return "Nothing is judged yet."
    if not tally.decided:
        return f"No task of {tally.judged} shows either as better: not enough judgements to tell."
    p = sign_test(tally.first, tally.second)
    better = second if tally.second > tally.first else first
    wins = max(tally.first, tally.second)
    if p < ALPHA:
        return f"{better} is preferred, {wins} to {tally.decided - wins}: chance alone rarely does that (p = {p:.2g})."
    needed = more_needed(tally)
    if needed is None:
        return f"Even so far, {tally.first} to {tally.second}: not enough judgements to tell them apart (p = {p:.2g})."
    shortage = "" if needed <= left else f", but {left or 'none'} {'is' if left < 2 else 'are'} left in this suite"
    return f"Not enough judgements to tell (p = {p:.2g}): {needed} more at this rate would do{shortage}."
