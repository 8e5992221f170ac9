"""Scores over a whole set of held-out tasks: means with their uncertainty."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alpaca_tui.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over ``n`` items and the interval that holds it with the stated confidence."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap_mean(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """The mean with its percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    Scores such as ROUGE-L pile up at 0 and 1, so no normal shape is assumed. The same seed gives the same interval.
    Raises UsageError for an empty list or a confidence outside (0, 1).
    """
    if not values:
        raise UsageError("there is nothing to average: the list of scores is empty")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, not {confidence}")
    n = len(values)
    rng = random.Random(seed)
    means = sorted(math.fsum(rng.choices(values, k=n)) / n for _ in range(resamples))
    tail = (1 - confidence) / 2
    low = means[math.floor(tail * (resamples - 1))]
    high = means[math.ceil((1 - tail) * (resamples - 1))]
    return Estimate(mean=math.fsum(values) / n, low=low, high=high, n=n)


def bootstrap_ratio(
    pairs: Sequence[tuple[float, int]], *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """The sum of the first over the sum of the second, with its percentile bootstrap interval over the pairs.

    With (nats, tokens) of each task this is the loss per token; tasks are resampled, for the tokens of one task are no
    independent draws. Raises UsageError where there are no pairs or the second parts sum up to nothing.
    """
    if not sum(weight for _, weight in pairs):
        raise UsageError("there is nothing to divide by: the list of weights is empty")
    n = len(pairs)
    rng = random.Random(seed)
    ratios = []
    for _ in range(resamples):
        drawn = rng.choices(pairs, k=n)
        weight = sum(w for _, w in drawn)
        if weight:
            ratios.append(math.fsum(v for v, _ in drawn) / weight)
    ratios.sort()
    tail = (1 - confidence) / 2
    low = ratios[math.floor(tail * (len(ratios) - 1))]
    high = ratios[math.ceil((1 - tail) * (len(ratios) - 1))]
    mean = math.fsum(value for value, _ in pairs) / sum(weight for _, weight in pairs)
    return Estimate(mean=mean, low=low, high=high, n=n)


def mean_loss(sums: Iterable[tuple[float, int]]) -> tuple[float, int]:
    """The loss per supervised token, in nats, from ``(summed loss, supervised tokens)`` of each batch.

    A mean of batch means would weigh a token in a short batch more than one in a long batch. Returns the loss and
    the number of tokens; raises UsageError where there are none.
    """
    parts = list(sums)
    tokens = sum(count for _, count in parts)
    if tokens == 0:
        raise UsageError("there is no supervised token to compute a loss on")
    return math.fsum(total for total, _ in parts) / tokens, tokens
