"""How fast an endpoint is asked, and what a budget lets through, on a clock that the test turns."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui.core.budget import Ledger, Prices, likely_tokens, most_tokens
from alpaca_tui.core.rate_limit import BACKOFF_LIMIT_S, RateLimit, TokenBucket, backoff, retry_after

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@given(st.lists(st.floats(0.5, 400), min_size=1, max_size=60), st.floats(10, 1000))
def test_no_minute_carries_more_than_a_full_bucket_and_its_refill(amounts: list[float], per_minute: float) -> None:
    now, bucket, taken = 0.0, TokenBucket(per_minute, 0.0), []
    for amount in amounts:
        now += bucket.wait(amount, now)
        bucket.take(amount, now)
        taken.append((now, min(amount, per_minute)))
    for begin, _ in taken:
        inside = sum(amount for at, amount in taken if begin <= at < begin + 60)
        assert inside <= 2 * per_minute + max(amounts) + 1e-3


def test_requests_and_tokens_both_count_and_what_was_guessed_too_high_is_given_back() -> None:
    limit = RateLimit(requests_per_minute=60, tokens_per_minute=6000, now=0.0)
    limit.take(6000, 0.0)
    assert limit.wait(100, 0.0) == pytest.approx(1.0)
    limit.correct(6000, 3000, 0.0)
    assert limit.wait(100, 0.0) == 0
    for _ in range(59):
        limit.take(0, 0.0)
    assert limit.wait(0, 0.0) == pytest.approx(1.0)
    assert limit.wait(0, 1.0) == 0


def test_a_request_larger_than_the_minute_goes_when_the_bucket_is_full() -> None:
    limit = RateLimit(None, 100, 0.0)
    assert limit.wait(5000, 0.0) == 0
    limit.take(5000, 0.0)
    assert limit.wait(1, 0.0) > 60


def test_all_wait_when_the_server_says_so() -> None:
    limit = RateLimit(None, None, 0.0)
    limit.hold(7, 10.0)
    limit.hold(2, 11.0)
    assert limit.wait(1, 12.0) == pytest.approx(5.0)
    assert limit.wait(1, 17.0) == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("20", 20),
        ("1.5", 1.5),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("soon", None),
        ("-3", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


def test_back_off_doubles_within_its_limit_and_differs_by_chance() -> None:
    rng = random.Random(0)
    for attempt in range(1, 80):
        waits = {backoff(attempt, rng) for _ in range(20)}
        whole = min(BACKOFF_LIMIT_S, 0.5 * 2.0 ** min(attempt, 30))
        assert all(whole / 2 <= wait <= whole for wait in waits) and len(waits) > 1


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1)), max_size=50), st.floats(0, 10))
def test_a_ledger_never_spends_more_than_its_limit(calls: list[tuple[float, float]], limit: float) -> None:
    ledger = Ledger(limit)
    flying: list[tuple[int, float]] = []
    for number, (worst, share) in enumerate(calls):
        if ledger.reserve(number, worst):
            flying.append((number, worst * share))
        elif flying:
            ledger.settle(*flying.pop(0))
        assert ledger.spent + ledger.reserved <= limit + 1e-9
    for call in flying:
        ledger.settle(*call)
    assert ledger.spent <= limit + 1e-9 and ledger.reserved == 0


def test_a_further_try_replaces_what_was_set_aside_for_the_call() -> None:
    ledger = Ledger(1.0)
    assert ledger.reserve(1, 0.6) and ledger.reserve(1, 0.9) and not ledger.reserve(1, 1.1)
    assert ledger.reserved == pytest.approx(0.9)


@given(st.text(max_size=300))
def test_the_worst_case_is_above_what_any_text_takes(text: str) -> None:
    assert likely_tokens(text) <= most_tokens(text)
    assert Prices(1.0, 2.0).worst(text, 10) >= Prices(1.0, 2.0).cost(len(text), 10)
