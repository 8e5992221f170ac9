"""A sieve decides a stream in blocks exactly as the rules decide it text by text."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_tui.core import sieve
from alpaca_tui.core.records import Neighbour, Verdict
from alpaca_tui.core.replay import rejudge
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rules import first_failure, instruction_rules
from alpaca_tui.core.sieve import Look, Sieve

WORDS = st.sampled_from(["a", "b", "c", "D", "e!", "draw", "你", "好"])
TEXTS = st.lists(st.lists(WORDS, max_size=8).map(" ".join), max_size=40)


def in_parts(look: Callable[[Iterable[int]], list[Look]], count: int) -> list[Look]:
    """Every third number together, as three processes would do it."""
    looks = [Look()] * count
    for start in range(3):
        looks[start::3] = look(range(start, count, 3))
    return looks


@pytest.mark.parametrize("pairs_per_text", [0, 1, 20])
@settings(max_examples=40, deadline=None)
@given(
    texts=TEXTS,
    size=st.integers(1, 15),
    threshold=st.sampled_from([0.0, 0.4, 0.5, 2 / 3, 0.7, 0.75, 1.0]),
    tokenizer=st.sampled_from(["rouge", "unicode"]),
    left_out=st.sampled_from([(), ("novelty",), ("duplicate",), ("length", "duplicate")]),
)
def test_blocks_are_decided_as_one_by_one(
    pairs_per_text: int,
    texts: list[str],
    size: int,
    threshold: float,
    tokenizer: TokenizerName,
    left_out: tuple[str, ...],
) -> None:
    rules = [rule for rule in instruction_rules(threshold, tokenizer) if rule.name not in left_out]
    numbered = list(enumerate(texts, start=1))
    expected = [
        first_failure(verdicts)
        for verdicts in rejudge([], [Neighbour("candidate", *pair) for pair in numbered], rules, tokenizer)
    ]
    found: list[Verdict | None] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sieve, "_PAIRS_PER_TEXT", pairs_per_text)
        patch.setattr(sieve, "_BLOCK_SLACK", 1)
        filtering = Sieve(rules, tokenizer)
        for start in range(0, len(numbered), size):
            found += filtering.judge(numbered[start : start + size], in_parts)
    assert found == expected


def test_a_kept_text_blocks_later_blocks() -> None:
    filtering = Sieve(instruction_rules(0.7))
    text = "Name three rivers that end in the Black Sea"
    assert filtering.judge([(1, text)]) == [None]
    (verdict,) = filtering.judge([(7, f"{text}, please")])
    assert verdict is not None
    assert (verdict.rule, verdict.neighbour) == ("novelty", Neighbour("candidate", 1, text))
    assert filtering.judge([]) == []
