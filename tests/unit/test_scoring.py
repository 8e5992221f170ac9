from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.scoring import bootstrap_mean, bootstrap_ratio, mean_loss

scores = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(values=scores)
def test_interval_lies_within_the_values_and_repeats(values: list[float]) -> None:
    estimate = bootstrap_mean(values, resamples=50)
    assert estimate.mean == pytest.approx(math.fsum(values) / len(values))
    assert min(values) - 1e-12 <= estimate.low <= estimate.high <= max(values) + 1e-12
    assert estimate == bootstrap_mean(values, resamples=50)


def test_interval_is_that_of_the_normal_law_for_many_values() -> None:
    values = [0.0, 1.0] * 200
    estimate = bootstrap_mean(values, resamples=4000)
    half = 1.96 * 0.5 / math.sqrt(400)
    assert estimate.low == pytest.approx(0.5 - half, abs=0.006)
    assert estimate.high == pytest.approx(0.5 + half, abs=0.006)


def test_more_confidence_is_a_wider_interval() -> None:
    values = [0.1, 0.9, 0.4, 0.3, 0.8, 0.2]
    narrow, wide = bootstrap_mean(values, confidence=0.5), bootstrap_mean(values, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_a_ratio_weighs_tokens_and_its_interval_is_that_of_the_normal_law() -> None:
    pairs = [(2.0, 1), (3.0, 3)] * 200  # 5 nats on 4 tokens
    estimate = bootstrap_ratio(pairs, resamples=4000)
    assert estimate.mean == pytest.approx(1.25)
    # The delta method: each pair leaves nats - 1.25 * tokens = +-0.75, over 2 tokens on average, 400 pairs.
    half = 1.96 * 0.75 / 2 / math.sqrt(400)
    assert estimate.low == pytest.approx(1.25 - half, abs=0.004)
    assert estimate.high == pytest.approx(1.25 + half, abs=0.004)
    assert bootstrap_ratio([(4.0, 2), (0.0, 0)]).mean == 2.0
    with pytest.raises(UsageError, match="nothing to divide by"):
        bootstrap_ratio([(0.0, 0)])


def test_empty_corpus_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        bootstrap_mean([])
    with pytest.raises(UsageError, match="no supervised token"):
        mean_loss([])
    with pytest.raises(UsageError, match="confidence"):
        bootstrap_mean([1.0], confidence=1.0)


def test_mean_loss_weighs_tokens_not_batches() -> None:
    # 1 nat on each of 9 tokens, 11 nats on one: 2 nats a token, though the mean of batch means is 6.
    assert mean_loss([(9.0, 9), (11.0, 1)]) == (2.0, 10)
