"""What blind judgements allow to say: against published values, and against counting every case."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.preference import (
    Tally,
    more_needed,
    presentation,
    sides,
    sign_test,
    verdict_sentence,
    wilson,
    win_rate,
    winner,
)


@pytest.mark.parametrize(
    ("wins", "n", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3: the score interval.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_the_published_one(wins: int, n: int, low: float, high: float) -> None:
    assert wilson(wins, n) == pytest.approx((low, high), abs=5e-5)


@given(n=st.integers(1, 500), data=st.data())
def test_the_interval_holds_the_share_and_mirrors(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert wilson(n - k, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        wilson(0, 0)
    with pytest.raises(UsageError, match="confidence"):
        wilson(1, 2, confidence=1.0)


def test_ties_count_half_and_both_bad_is_a_tie() -> None:
    rate = win_rate(Tally(first=2, second=5, tie=2, both_bad=1))
    assert rate is not None and rate.rate == pytest.approx(0.65)
    assert (rate.low, rate.high) == wilson(6.5, 10)
    assert win_rate(Tally()) is None


@pytest.mark.parametrize("n", range(1, 13))
def test_the_sign_test_counts_every_case(n: int) -> None:
    splits = [sum(tosses) for tosses in product((0, 1), repeat=n)]
    for wins in range(n + 1):
        as_uneven = sum(abs(2 * other - n) >= abs(2 * wins - n) for other in splits)
        assert sign_test(n - wins, wins) == pytest.approx(as_uneven / 2**n)


def test_the_sign_test_of_thousands_is_finite() -> None:
    assert sign_test(5000, 5000) == 1.0
    assert sign_test(4800, 5200) == pytest.approx(6.6e-5, rel=0.05)
    assert sign_test(0, 0) == 1.0


def test_how_many_more_are_needed() -> None:
    assert more_needed(Tally(first=0, second=3)) == 3  # six of six: p = 0.031, five of five: 0.0625
    assert more_needed(Tally(first=0, second=3, tie=3)) == 6  # half of the judgements decide
    assert more_needed(Tally(first=0, second=6)) == 0
    assert more_needed(Tally(first=4, second=4)) is None
    assert more_needed(Tally(tie=9)) is None


@settings(deadline=None)
@given(first=st.integers(0, 20), second=st.integers(0, 20))
def test_as_many_more_as_named_do_suffice_and_are_the_fewest(first: int, second: int) -> None:
    needed = more_needed(Tally(first, second))
    if needed:
        decided, better = first + second, max(first, second)
        ps = []
        for n in range(decided + 1, decided + needed + 1):
            wins = better * n // decided
            ps.append(sign_test(n - wins, wins))
        assert ps[-1] < 0.05
        assert all(p >= 0.05 for p in ps[:-1])


def test_the_sentence_says_what_may_be_said() -> None:
    assert verdict_sentence(Tally(), "base", "job:2", 9) == "Nothing is judged yet."
    assert verdict_sentence(Tally(1, 9), "base", "job:2", 9).startswith("job:2 is preferred, 9 to 1")
    assert verdict_sentence(Tally(9, 1), "base", "job:2", 9).startswith("base is preferred, 9 to 1")
    assert "3 more at this rate would do." in verdict_sentence(Tally(0, 3), "base", "job:2", 9)
    assert "3 more at this rate would do, but 2 are left in" in verdict_sentence(Tally(0, 3), "base", "job:2", 2)
    assert "3 more at this rate would do, but none is left" in verdict_sentence(Tally(0, 3), "base", "job:2", 0)
    assert verdict_sentence(Tally(4, 4), "base", "job:2", 9).startswith("Even so far, 4 to 4")
    assert "No task of 3 shows" in verdict_sentence(Tally(tie=2, both_bad=1), "base", "job:2", 9)


def test_sides_and_order_are_by_seed_fair_and_stable() -> None:
    positions = list(range(2000))
    shown = [sides(1, p) for p in positions]
    assert shown == [sides(1, p) for p in positions] != [sides(2, p) for p in positions]
    assert sign_test(shown.count(True), shown.count(False)) > 0.01
    order = presentation(1, positions)
    assert sorted(order) == positions and order != presentation(2, positions)
    # A task that comes to the suite or leaves it moves no other before another.
    assert presentation(1, positions[:1000]) == [p for p in order if p < 1000]


def test_a_verdict_on_sides_is_one_on_models() -> None:
    assert [winner("left", True), winner("left", False)] == ["first", "second"]
    assert [winner("right", True), winner("right", False)] == ["second", "first"]
    assert [winner("tie", True), winner("both_bad", False)] == ["tie", "both_bad"]
