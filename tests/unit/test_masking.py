from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.masking import IGNORED, Encoded, describe, encode_example, keep_supervised
from alpaca_tui.core.records import TrainingExample

EOS, BOS = 1, 0


def encode(text: str) -> list[int]:
    return [ord(char) + 10 for char in text]


texts = st.text(max_size=30)


@given(prompt=texts, response=texts, max_length=st.integers(2, 80), with_bos=st.booleans())
def test_only_response_and_eos_carry_loss(prompt: str, response: str, max_length: int, with_bos: bool) -> None:
    bos = BOS if with_bos else None
    item = encode_example(encode, TrainingExample(prompt, response), EOS, max_length, bos)
    head = [BOS] * with_bos + encode(prompt)
    whole = [*head, *encode(response), EOS]

    assert list(item.input_ids) == whole[:max_length]
    expected = ([IGNORED] * len(head) + whole[len(head) :])[:max_length]
    assert list(item.labels) == expected
    assert item.supervised == sum(label != IGNORED for label in expected)
    assert item.truncated == (len(whole) > max_length)
    assert item.eos_supervised == (expected[-1] == EOS)


def test_prompt_ids_are_those_of_generation_even_where_a_merge_could_cross_the_border() -> None:
    """A tokenizer that merges "ab" into one token must not do so across prompt and response."""

    def merging(text: str) -> list[int]:
        return [99 if part == "ab" else ord(part) for part in text.replace("ab", "\0").replace("\0", "")] + (
            [99] if "ab" in text else []
        )

    item = encode_example(merging, TrainingExample("a", "b"), EOS, 16)
    assert item.input_ids == (ord("a"), ord("b"), EOS)
    assert item.prompt_tokens == 1


def test_report_counts_what_was_cut_and_dropped() -> None:
    examples = [
        TrainingExample("ab", "cd"),  # whole: 2 + 2 + eos
        TrainingExample("ab", "cdefgh"),  # cut: loses its end token
        TrainingExample("abcdefgh", "x"),  # dropped: the prompt fills everything
    ]
    encoded = [encode_example(encode, example, EOS, 6) for example in examples]
    report = describe(encoded)
    assert (report.examples, report.dropped) == (2, 1)
    assert (report.tokens, report.supervised) == (5 + 6, 3 + 4)
    assert (report.truncated, report.eos_supervised) == (1, 1)
    assert [item.supervised for item in keep_supervised(encoded)] == [3, 4]
    assert "1 truncated" in report.summary and "1 dropped" in report.summary


def test_report_of_nothing() -> None:
    assert describe([]).examples == 0


def test_a_length_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(UsageError, match="max_length is 1"):
        encode_example(encode, TrainingExample("a", "b"), EOS, 1)


def test_an_empty_response_still_teaches_to_stop() -> None:
    item = encode_example(encode, TrainingExample("a", ""), EOS, 8)
    assert item == Encoded((encode("a")[0], EOS), 1, False)
    assert item.labels == (IGNORED, EOS)
