"""A completion that runs in a loop is noticed, and text that only repeats a little is left alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui.core.looping import LONGEST_PERIOD, SHORTEST_TAIL, LoopWatch, loop_start


def is_loop(tokens: list[int], repeats: int) -> bool:
    """The definition, spelt out: the tail is one phrase said ``repeats`` times, over ``SHORTEST_TAIL`` tokens."""
    for period in range(1, min(LONGEST_PERIOD, len(tokens) - 1) + 1):
        tail = max(repeats * period, SHORTEST_TAIL)
        if len(tokens) >= tail and all(tokens[-i] == tokens[-i - period] for i in range(1, tail - period + 1)):
            return True
    return False


@given(
    head=st.lists(st.integers(0, 5), max_size=20),
    phrase=st.lists(st.integers(0, 5), min_size=1, max_size=LONGEST_PERIOD),
    repeats=st.integers(2, 5),
)
def test_the_watch_agrees_with_the_definition_at_every_token(head: list[int], phrase: list[int], repeats: int) -> None:
    tokens = head + phrase * 7
    watch = LoopWatch(repeats)
    for count, token in enumerate(tokens, start=1):
        assert watch.push(token) == is_loop(tokens[:count], repeats)


@pytest.mark.parametrize(("phrase", "ended"), [([7], 32), ([1, 2, 3], 32), (list(range(12)), 48)])
def test_a_loop_ends_after_four_times_and_at_least_32_tokens(phrase: list[int], ended: int) -> None:
    assert loop_start([99, 98, *phrase * 40], 4) == 2 + ended


def test_random_text_and_short_repeats_are_no_loop() -> None:
    rng = random.Random(0)
    assert loop_start([rng.randrange(50) for _ in range(5000)], 4) is None
    assert loop_start([*range(40), *[5] * 20, *range(40, 90)], 4) is None


def test_off_is_off() -> None:
    assert loop_start([1] * 500, 0) is None
