"""A sieve decides a stream in blocks exactly as the rules decide it text by text."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_tui.core import sieve
from alpaca_tui.core.instruction_rules import InstructionRule
from alpaca_tui.core.records import Neighbour, Verdict
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rule_context import Context
from alpaca_tui.core.rules import first_failure, instruction_rules, judge_instruction
from alpaca_tui.core.sieve import Sieve

WORDS = st.sampled_from(["a", "b", "c", "D", "e!", "draw", "你", "好"])
TEXTS = st.lists(st.lists(WORDS, max_size=8).map(" ".join), max_size=40)


def one_by_one(
    known: list[Neighbour], texts: list[Neighbour], rules: list[InstructionRule], tokenizer: TokenizerName
) -> list[tuple[Verdict, ...]]:
    """The plain filter: judge, and know what passed."""
    context = Context(tokenizer)
    context.know_instructions(known)
    judged = []
    for one in texts:
        judged.append(judge_instruction(one.text, rules, context))
        if first_failure(judged[-1]) is None:
            context.know_instruction(one.kind, one.id, one.text)
    return judged


@settings(max_examples=150, deadline=None)
@given(
    known=st.lists(st.lists(WORDS, max_size=8).map(" ".join), max_size=4),
    texts=TEXTS,
    size=st.integers(1, 15),
    threshold=st.sampled_from([0.0, 0.4, 0.5, 2 / 3, 0.7, 0.75, 1.0]),
    tokenizer=st.sampled_from(["rouge", "unicode"]),
    left_out=st.sampled_from([(), ("novelty",), ("duplicate",), ("length", "duplicate")]),
    order=st.randoms(use_true_random=False),
)
def test_blocks_are_decided_as_one_by_one(
    known: list[str],
    texts: list[str],
    size: int,
    threshold: float,
    tokenizer: TokenizerName,
    left_out: tuple[str, ...],
    order: random.Random,
) -> None:
    """In whatever order the rules stand; the first failure alone, or every rule's verdict."""
    rules = [rule for rule in instruction_rules(threshold, tokenizer) if rule.name not in left_out]
    order.shuffle(rules)
    seeds = [Neighbour("seed", i, text) for i, text in enumerate(known, start=1)]
    asked = [Neighbour("candidate", i, text) for i, text in enumerate(texts, start=1)]
    expected = one_by_one(seeds, asked, rules, tokenizer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sieve, "_BLOCK", size)
        told: list[int] = []
        assert list(Sieve(rules, tokenizer, seeds).judge(asked, told.append)) == expected
        assert told[-1:] == ([len(asked)] if asked else [])
        brief = list(Sieve(rules, tokenizer, seeds, brief=True).judge(asked))
    assert brief == [() if (failed := first_failure(verdicts)) is None else (failed,) for verdicts in expected]


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 6), st.sets(st.integers(1, 12), min_size=1, max_size=3))
def test_rescued_texts_block_later_ones_whatever_is_said_of_them(
    texts: list[str], size: int, rescued: set[int]
) -> None:
    rules = instruction_rules(0.6)
    context, expected = Context(), []
    asked = [Neighbour("candidate", i, text) for i, text in enumerate(texts, start=1)]
    for one in asked:
        expected.append(judge_instruction(one.text, rules, context))
        if one.id in rescued or first_failure(expected[-1]) is None:
            context.know_instruction(one.kind, one.id, one.text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sieve, "_BLOCK", size)
        assert list(Sieve(rules, rescued=rescued).judge(asked)) == expected


def test_a_kept_text_blocks_later_blocks() -> None:
    filtering = Sieve(instruction_rules(0.7), brief=True)
    text = "Name three rivers that end in the Black Sea"
    assert list(filtering.judge([Neighbour("candidate", 1, text)])) == [()]
    ((verdict,),) = filtering.judge([Neighbour("candidate", 7, f"{text}, please")])
    assert (verdict.rule, verdict.neighbour) == ("novelty", Neighbour("candidate", 1, text))
    assert list(filtering.judge([])) == []
