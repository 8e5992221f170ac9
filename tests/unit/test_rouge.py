"""ROUGE-L equals rouge-score's, and the unicode tokenizer sees what rouge-score is blind to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenize import tokenize as reference_tokenize

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.rouge import common_subsequence, f_measure, rouge_l, rouge_l_text, tokenize

SCORER = RougeScorer(["rougeL"], use_stemmer=False)

any_text = st.text(max_size=60)
few_words = st.lists(st.sampled_from(["a", "B", "c", "the", "7", "--", "é", "İ"]), max_size=25).map(" ".join)


@settings(max_examples=400, deadline=None)
@given(any_text)
def test_rouge_tokens_are_rouge_scores(text: str) -> None:
    assert tokenize(text) == reference_tokenize(text, None)


@settings(max_examples=400, deadline=None)
@given(few_words, few_words)
def test_score_is_rouge_scores_to_the_last_bit(a: str, b: str) -> None:
    expected = SCORER.score(a, b)["rougeL"].fmeasure
    assert rouge_l_text(a, b) == expected
    assert rouge_l_text(b, a) == expected


@settings(max_examples=200, deadline=None)
@given(any_text, any_text)
def test_score_of_any_text_is_rouge_scores(a: str, b: str) -> None:
    assert rouge_l_text(a, b) == pytest.approx(SCORER.score(a, b)["rougeL"].fmeasure, abs=1e-12)


def test_no_tokens_score_zero_and_a_text_with_itself_scores_one() -> None:
    assert rouge_l([], []) == rouge_l([], ["a"]) == rouge_l(["a"], []) == f_measure(0, 3, 4) == 0.0
    assert rouge_l(["a"], ["a"]) == 1.0
    assert rouge_l(["a", "a", "b"], ["a", "b", "a"]) == pytest.approx(2 / 3)


def test_an_unknown_tokenizer_is_refused() -> None:
    with pytest.raises(UsageError, match="rouge or unicode"):
        tokenize("text", "words")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't pay 3.14 or 1,000!", ["don't", "pay", "3.14", "or", "1,000"]),
        ("e-mail, snake_case; end.", ["e", "mail", "snake", "case", "end"]),
        ("翻译这句话。", ["翻", "译", "这", "句", "话"]),
        ("AIを使う 3回", ["ai", "を", "使", "う", "3", "回"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("Straße ﬁle ＦＵＬＬ", ["strasse", "file", "full"]),
        ("cafe\u0301 café", ["café", "café"]),
        ("می‌خواهم", ["می‌خواهم"]),
        (" … ", []),
    ],
)
def test_unicode_words(text: str, tokens: list[str]) -> None:
    assert tokenize(text, "unicode") == tokens


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from([*"aZ09 .,:'-_\n", "it's", "3.14", "1,000"])).map("".join))
def test_ascii_is_cut_by_the_same_rules(text: str) -> None:
    """Pure ASCII takes a faster way: a text in which one more word is foreign must be cut alike."""
    assert tokenize(f"{text} é", "unicode") == [*tokenize(text, "unicode"), "é"]


def test_a_chinese_duplicate_is_a_duplicate_only_with_unicode_tokens() -> None:
    a, b = "请把下面的句子翻译成英文。", "请把下面的句子翻译成法文。"
    assert rouge_l_text(a, b) == 0.0
    assert rouge_l_text(a, b, "unicode") == pytest.approx(11 / 12)


@settings(max_examples=300, deadline=None)
@given(st.one_of(any_text, few_words), st.one_of(any_text, few_words), st.sampled_from(["rouge", "unicode"]))
def test_highlighted_spans_are_one_longest_common_subsequence(a: str, b: str, tokenizer) -> None:
    a_spans, b_spans = common_subsequence(a, b, tokenizer)
    assert len(a_spans) == len(b_spans)
    score = f_measure(len(a_spans), len(tokenize(a, tokenizer)), len(tokenize(b, tokenizer)))
    assert score == rouge_l_text(a, b, tokenizer)
    for text, spans in ((a, a_spans), (b, b_spans)):
        assert all(0 <= start < end <= len(text) for start, end in spans)
        assert spans == sorted(spans)


def test_highlighted_spans_point_at_the_words() -> None:
    a, b = "Write a short POEM about the sea.", "Write one poem, about a sea"
    a_spans, b_spans = common_subsequence(a, b)
    assert [a[start:end].lower() for start, end in a_spans] == ["write", "poem", "about", "sea"]
    assert [b[start:end].lower() for start, end in b_spans] == ["write", "poem", "about", "sea"]
