"""How long a generation still takes and what it will cost, learnt from what it has done so far; with a range."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

LEVEL = 0.9
"""The share of runs that should end within the range."""

_DRAWS = 400
_PRIOR_CALLS = 1.0  # the guess below counts as much as this many calls
_UNSEEN_DISPERSION = 3.0  # of counts per call, before there are enough calls to measure it
_DRIFT = 0.1  # relative: the machine's load and the model's yield change while a run goes on
_GUESS = {"instruction": 3.0, "instance": 1.0, "classification": 1.0, "output": 1.0}


@dataclass(frozen=True, slots=True)
class StageStats:
    """What one stage's calls have led to so far.

    ``made`` counts what a call is for: kept instructions, samples to review, usable outputs; ``made_squared`` sums the
    squares of the calls' counts, ``seconds`` and ``seconds_squared`` the calls' times and their squares.
    """

    calls: int = 0
    made: int = 0
    made_squared: int = 0
    tokens: int = 0
    seconds: float = 0.0
    seconds_squared: float = 0.0
    cost: float = 0.0

    def __add__(self, other: StageStats) -> StageStats:
        return StageStats(
            self.calls + other.calls,
            self.made + other.made,
            self.made_squared + other.made_squared,
            self.tokens + other.tokens,
            self.seconds + other.seconds,
            self.seconds_squared + other.seconds_squared,
            self.cost + other.cost,
        )

    def per_call(self, guess: float) -> float:
        """The yield of one call; ``guess`` before any was seen, and it fades as calls come in."""
        return (self.made + guess * _PRIOR_CALLS) / (self.calls + _PRIOR_CALLS)

    @property
    def dispersion(self) -> float:
        """The variance of the counts per call over their mean; at least that of rare independent events, 1."""
        if self.calls < 8 or not self.made:
            return _UNSEEN_DISPERSION
        mean = self.made / self.calls
        return max(1.0, (self.made_squared / self.calls - mean * mean) / mean)


@dataclass(frozen=True, slots=True)
class Work:
    """What is still to do: samples that are missing, and candidates (or samples) that wait in each later stage."""

    missing: int
    waiting: Mapping[str, int]
    whole_tasks: bool = False
    """One call brings instructions with their outputs: there are no later stages."""
    outputs: bool = False
    """Another model answers every sample."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Seconds and money to the target: the middle of what may come, and the range of ``LEVEL`` of it."""

    eta_s: float
    eta_range_s: tuple[float, float]
    cost: float
    cost_range: tuple[float, float]


def expected_yield(stats: Mapping[str, StageStats], stage: str) -> float:
    """What one call of the stage leads to, by what has been seen."""
    return stats.get(stage, StageStats()).per_call(_GUESS[stage])


def instruction_calls(stats: Mapping[str, StageStats], work: Work) -> float:
    """How many instruction calls the missing samples take, beside what waits already; 0 where that is enough."""
    per_sample = 1.0 if work.whole_tasks else expected_yield(stats, "instance")
    usable = expected_yield(stats, "output") if work.outputs else 1.0
    still = work.missing - _waiting_samples(work, per_sample, usable)
    return max(0.0, still / max(1e-9, expected_yield(stats, "instruction") * per_sample * usable))


def _waiting_samples(work: Work, per_candidate: float, usable: float) -> float:
    candidates = work.waiting.get("classification", 0) + work.waiting.get("instance", 0)
    return (candidates * per_candidate + work.waiting.get("output", 0)) * usable


def outlook(stats: Mapping[str, StageStats], work: Work, concurrency: float) -> Outlook | None:
    """What is still to come, or None as long as a stage on the way has no finished call to learn from.

    ``concurrency`` is the mean number of calls in flight. Yields are drawn from gamma distributions (the posterior of a
    Poisson rate, widened by the dispersion seen), times per call from normal ones about the mean; the same for the same
    input.
    """
    if work.missing <= 0:
        return Outlook(0.0, (0.0, 0.0), 0.0, (0.0, 0.0))
    path = _path(work)
    if concurrency <= 0 or any(not stats.get(stage, StageStats()).calls for stage in path):
        return None
    rng = random.Random(work.missing)
    ends = sorted(_draw(rng, stats, work, path) for _ in range(_DRAWS))
    costs = sorted(cost for _, cost in ends)
    times = [seconds / concurrency for seconds, _ in ends]
    low, middle, high = (int(_DRAWS * share) for share in ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2))
    return Outlook(times[middle], (times[low], times[high]), costs[middle], (costs[low], costs[high]))


def _path(work: Work) -> tuple[str, ...]:
    path = ("instruction",) if work.whole_tasks else ("instruction", "classification", "instance")
    return (*path, "output") if work.outputs else path


def _draw(
    rng: random.Random, stats: Mapping[str, StageStats], work: Work, path: tuple[str, ...]
) -> tuple[float, float]:
    """One way it may go on: (seconds of calls, money)."""
    rate = {stage: _rate(rng, stats[stage], _GUESS[stage]) for stage in path if stage != "classification"}
    per_candidate, usable = rate.get("instance", 1.0), rate.get("output", 1.0)
    still = max(0.0, work.missing - _waiting_samples(work, per_candidate, usable))
    wanted = still / (per_candidate * usable)  # kept candidates
    invented = _needed(rng, wanted, rate["instruction"], stats["instruction"].dispersion)
    calls = {"instruction": invented}
    in_queue = work.waiting.get("classification", 0), work.waiting.get("instance", 0)
    # Of what waits only as much is asked as is missing.
    share = min(1.0, work.missing / max(1e-9, _waiting_samples(work, per_candidate, usable))) if not still else 1.0
    calls["classification"] = wanted + in_queue[0] * share
    calls["instance"] = wanted + sum(in_queue) * share
    calls["output"] = work.missing / usable
    seconds = sum(calls[stage] * _seconds(rng, stats[stage]) for stage in path)
    cost = sum(calls[stage] * stats[stage].cost / stats[stage].calls for stage in path)
    return seconds * max(0.2, rng.gauss(1.0, _DRIFT)), cost


def _rate(rng: random.Random, stats: StageStats, guess: float) -> float:
    shape = (stats.made + guess * _PRIOR_CALLS) / stats.dispersion
    return max(1e-3, rng.gammavariate(max(0.05, shape), stats.dispersion / (stats.calls + _PRIOR_CALLS)))


def _needed(rng: random.Random, wanted: float, rate: float, dispersion: float) -> float:
    """Calls until ``wanted`` things are made: their number varies although the rate is fixed."""
    if not wanted:
        return 0.0
    return max(1.0, rng.gauss(wanted / rate, (wanted * dispersion) ** 0.5 / rate))


def _seconds(rng: random.Random, stats: StageStats) -> float:
    mean = stats.seconds / stats.calls
    spread = max(0.0, stats.seconds_squared / stats.calls - mean * mean) ** 0.5 if stats.calls > 1 else mean / 2
    return max(mean / 10, rng.gauss(mean, spread / stats.calls**0.5))
