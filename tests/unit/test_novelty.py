"""The novelty index decides exactly as a full scan with rouge-score in order of arrival."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from alpaca_tui.core import novelty, overlap_index
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.novelty import Match, NoveltyIndex
from alpaca_tui.core.overlap_bounds import demand, least_common
from alpaca_tui.core.rouge import f_measure, rouge_l_text
from alpaca_tui.core.token_store import TokenStore

SCORER = RougeScorer(["rougeL"], use_stemmer=False)
FLOORS = (0.0, 0.2, 0.4, 0.5, 4 / 7, 0.6, 2 / 3, 0.7, 0.75, 0.8, 0.9, 1.0)

words = st.sampled_from([*"aaabbcdefgh", "one", "two", "?"])
sentences = st.lists(st.lists(words, max_size=12).map(" ".join), max_size=40)


@pytest.fixture(params=[1, 3, 128])
def tail(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Small tails move texts through many segments; 128 is the real one, where a short test stays in the tail."""
    monkeypatch.setattr(novelty, "_TAIL", request.param)
    monkeypatch.setattr(novelty, "_RATIO", 2)
    return request.param


def reference_scores(known: list[str], text: str) -> list[float]:
    return [SCORER.score(other, text)["rougeL"].fmeasure for other in known]


@pytest.mark.usefixtures("tail")
@settings(max_examples=30, deadline=None)
@given(sentences)
def test_answers_equal_a_full_scan_with_rouge_score(texts: list[str]) -> None:
    index = NoveltyIndex()
    for i, text in enumerate(texts):
        scores = reference_scores(texts[:i], text)
        for floor in FLOORS:
            best = max(scores, default=0.0)
            expected = Match(scores.index(best), best) if best > floor else None
            assert index.nearest(text, floor) == expected
            near = [Match(key, score) for key, score in enumerate(scores) if score >= floor]
            assert index.neighbours(text, floor) == near
        index.add(i, text)


@pytest.mark.usefixtures("tail")
@settings(max_examples=25, deadline=None)
@given(sentences, st.sampled_from(FLOORS))
def test_kept_texts_equal_the_reference_filter_in_arrival_order(texts: list[str], threshold: float) -> None:
    expected: list[str] = []
    for text in texts:
        if not any(score > threshold for score in reference_scores(expected, text)):
            expected.append(text)
    index, kept = NoveltyIndex(), []
    for text in texts:
        match = index.nearest(text, threshold)
        if match is None:
            index.add(len(kept), text)
            kept.append(text)
    assert kept == expected


def generated(count: int, vocabulary: int, longest: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    ranks = [f"w{i}" for i in range(vocabulary)]
    weights = [1 / (i + 1) for i in range(vocabulary)]
    texts: list[str] = []
    for _ in range(count):
        if texts and chance.random() < 0.4:
            tokens = chance.choice(texts).split()
            for _ in range(chance.randrange(1 + len(tokens) // 2)):
                tokens[chance.randrange(len(tokens))] = chance.choice([*ranks, "unseen"])
        else:
            tokens = chance.choices(ranks, weights, k=chance.randrange(longest))
        texts.append(" ".join(tokens))
    return texts


@pytest.mark.parametrize(("vocabulary", "longest", "count"), [(20, 12, 450), (2_000, 40, 450), (5_000, 900, 250)])
def test_a_pool_larger_than_one_segment_answers_as_the_scan_does(vocabulary: int, longest: int, count: int) -> None:
    """Also covers words outside the bit set (over 256 frequent ones) and texts of over 255 distinct words."""
    texts = generated(count, vocabulary, longest, seed=count)
    index = NoveltyIndex()
    index.extend(enumerate(texts[:200]))
    for i, text in enumerate(texts[200:], 200):
        scores = index.scores(text)
        assert scores[:5].tolist() == [rouge_l_text(known, text) for known in texts[:5]]
        for floor in (0.3, 0.5, 0.7):
            match = index.nearest(text, floor)
            assert match == (Match(int(scores.argmax()), scores.max()) if scores.max() > floor else None)
            near = [int(match.key) for match in index.neighbours(text, floor)]
            assert near == np.flatnonzero(scores >= floor).tolist()
        index.add(i, text)


def test_a_tie_exactly_at_the_threshold_is_not_above_it() -> None:
    index = NoveltyIndex()
    index.add("known", "a b c d e f g x y z")
    text = "a b c d e f g q r s"
    assert SCORER.score("a b c d e f g x y z", text)["rougeL"].fmeasure == index.scores(text)[0]
    exact = float(index.scores(text)[0])
    assert index.nearest(text, exact) is None
    assert index.nearest(text, np.nextafter(exact, 0)) == Match("known", exact)
    assert index.neighbours(text, exact) == [Match("known", exact)]


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 1), st.booleans())
def test_least_common_inverts_the_f_measure(a: int, b: int, floor: float, strictly: bool) -> None:
    def reached(common: int) -> bool:
        score = f_measure(common, a, b)
        return score > floor or (score == floor and not strictly)

    least = int(least_common(a, np.array([b]), floor, strictly)[0])
    assert reached(least)
    assert least == 1 or not reached(least - 1)
    wanted = demand(a, 60, floor, strictly)
    assert (wanted.shortest <= b < wanted.reach[a]) == (least <= min(a, b))


def test_among_equals_the_first_added_is_named_and_duplicates_all_count() -> None:
    index = NoveltyIndex()
    for key in ("first", "second", "third"):
        index.add(key, "translate the sentence into French")
    assert index.nearest("Translate the sentence into FRENCH!") == Match("first", 1.0)
    assert [match.key for match in index.neighbours("translate the sentence into french", 1.0)] == [
        "first",
        "second",
        "third",
    ]


def test_empty_pool_empty_texts_and_unknown_words() -> None:
    index = NoveltyIndex()
    assert index.nearest("anything") is None
    assert index.top("anything") == index.neighbours("anything", 0.0) == []
    assert index.mean_similarity("anything") == 0.0
    index.extend([])
    index.add("empty", "")
    index.add("word", "hello")
    assert index.nearest("") is None
    assert index.nearest("goodbye", 0.0) is None
    assert index.nearest("Hello") == Match("word", 1.0)
    assert index.neighbours("", 0.0) == [Match("empty", 0.0), Match("word", 0.0)]


def test_a_load_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "_CHUNK", 10)
    index, told = NoveltyIndex(), []
    index.add("first", "a b c")
    index.extend([(i, f"text number {i}") for i in range(25)], told.append)
    assert told == [10, 20, 25]
    assert index.nearest("text number 24") == Match(24, 1.0)


@pytest.mark.usefixtures("tail")
@settings(max_examples=40, deadline=None)
@given(sentences, sentences, st.sampled_from(FLOORS), st.integers(1, 50), st.integers(1, 7))
def test_many_texts_at_once_are_answered_as_one_by_one(
    known: list[str], asked: list[str], floor: float, entries: int, batch: int
) -> None:
    """Also where the lists to be looked through are cut into small parts."""
    index = NoveltyIndex()
    index.extend(enumerate(known))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap_index, "_AT_ONCE", entries)
        patch.setattr(novelty, "_BATCH", batch)
        matches = index.nearest_each(asked, floor)
        pairs = index.alike(asked, floor)
    scores = [reference_scores(known, text) for text in asked]
    assert [match.score if match else None for match in matches] == [
        best if (best := max(row, default=0.0)) > floor else None for row in scores
    ]
    assert all(match is None or match.key == row.index(match.score) for match, row in zip(matches, scores, strict=True))
    near = [(i, j, s) for i, row in enumerate(scores) for j, s in enumerate(row) if s >= floor]
    assert list(zip(pairs.texts.tolist(), pairs.rows.tolist(), pairs.scores.tolist(), strict=True)) == near


def test_top_and_mean_are_a_full_scan() -> None:
    texts = ["a b c d", "a b c x", "p q r s", "a b y z", ""]
    index = NoveltyIndex()
    index.extend(enumerate(texts))
    assert index.top("a b c d", 3) == [Match(0, 1.0), Match(1, 0.75), Match(3, 0.5)]
    assert index.mean_similarity("a b c d") == pytest.approx((1 + 0.75 + 0 + 0.5 + 0) / 5)
    assert len(index.top("a b c d", 10)) == 5


def test_a_chinese_duplicate_is_found_with_unicode_tokens() -> None:
    for tokenizer, found in (("rouge", False), ("unicode", True)):
        index = NoveltyIndex(tokenizer)  # type: ignore[arg-type]
        index.add(1, "请把下面的句子翻译成英文。")
        assert (index.nearest("请把下面的句子翻译成法文。", 0.7) is not None) is found


def test_an_unknown_tokenizer_is_refused_at_once() -> None:
    with pytest.raises(UsageError):
        NoveltyIndex("words")  # type: ignore[arg-type]


def test_a_query_of_many_distinct_words_passes_over_the_surrogates() -> None:
    tokens = [f"t{i}" for i in range(60_000)]
    store = TokenStore()
    store.append([tokens[55_000:56_000], tokens[::-1][:3], ["t0"]])
    store.append([tokens])
    found = store.common(store.queries([tokens]), np.zeros(4, np.int64), np.arange(4))
    assert found.tolist() == [1_000, 1, 1, 60_000]
