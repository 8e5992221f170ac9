"""Replays against the plainest possible filter: a full scan with rouge-score, one candidate after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from alpaca_tui.core import neighbours
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.neighbours import SHOWN_PAIRS, PairFinder, Pairs, collect
from alpaca_tui.core.records import Neighbour, Verdict
from alpaca_tui.core.replay import CURVE_THRESHOLDS, Item, Scope, curve, rejudge, replay
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rule_text import normalise
from alpaca_tui.core.rules import first_failure, instruction_rules

SCORER = RougeScorer(["rougeL"], use_stemmer=False)
THRESHOLDS = (0.5, 0.55, 0.6, 2 / 3, 0.7, 0.75, 0.8, 0.9, 1.0)

# Few words and short texts, so that ties, repeats and near-duplicates are the rule; some texts have no token at all.
TEXTS = st.one_of(
    st.lists(st.sampled_from(["a", "b", "c", "D", "e!"]), max_size=6).map(" ".join),
    st.sampled_from(["你好", "你好。", "ﬁx a", "FIX a", "", "!"]),
)
CANDIDATES = st.lists(st.tuples(TEXTS, st.booleans()), max_size=14)


@cache
def score(a: str, b: str) -> float:
    return SCORER.score(a, b)["rougeL"].fmeasure


def scan(
    seeds: Sequence[str], texts: Sequence[tuple[str, bool]], threshold: float, rescued: Collection[int] = ()
) -> list[str | None]:
    """Which rule rejects each text, by comparing it with everything kept before."""
    kept, answers = list(seeds), []
    for place, (text, refused) in enumerate(texts):
        if place in rescued:
            kept.append(text)
            answers.append(None)
        elif refused:
            answers.append("length")
        elif normalise(text) in map(normalise, kept):
            answers.append("duplicate")
        elif any(score(other, text) > threshold for other in kept):
            answers.append("novelty")
        else:
            kept.append(text)
            answers.append(None)
    return answers


def prepared(
    seeds: Sequence[str],
    texts: Iterable[tuple[str, bool]],
    tokenizer: TokenizerName = "rouge",
    *,
    deciding: bool = True,
    rescued: Collection[int] = (),
    reopened: int | None = None,
) -> tuple[list[Item], Pairs, Scope]:
    """What a replay needs, found as the filter finds it. Ids have gaps, as in a project.

    ``rescued`` are places; before the one called ``reopened`` the finder is closed and opened again.
    """
    ids = {3 * i + 5 for i in rescued}
    finder = PairFinder(enumerate(seeds, start=1), tokenizer, rescued=ids)
    numbered = [(3 * i + 5, text, refused) for i, (text, refused) in enumerate(texts)]
    items = [Item(n, normalise(text), "length" if refused else None, n in ids) for n, text, refused in numbered]
    found = []
    for place, (n, text, refused) in enumerate(numbered):
        if place == reopened:
            finder = PairFinder(enumerate(seeds, start=1), tokenizer, rescued=ids)
            earlier = zip(numbered, found, strict=False)
            finder.know([(number, known, one.bounds) for (number, known, _), (_, one) in earlier])
        found.append((n, finder.find(n, text, not refused)))
    pairs = collect([(n, one.pairs) for n, one in found], deciding=deciding)
    wordings: dict[str, int] = {}
    for seed_id, text in enumerate(seeds, start=1):
        wordings.setdefault(normalise(text), seed_id)
    return items, pairs, Scope(wordings)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, max_size=3), CANDIDATES, st.lists(st.floats(0.5, 1), max_size=6))
@example(["a b"], [("a b", False), ("a b", False), ("a b c", False), ("a b", False)], [])
@example([], [("a b c", True), ("a b c", False), ("a b c D", False), ("A B C", False)], [])
@example([], [("a b c D", False), ("a b c e", False), ("a b e D", False), ("a b c D.", False)], [])
def test_a_replay_decides_as_a_full_scan_at_every_threshold(
    seeds: list[str], texts: list[tuple[str, bool]], more: list[float]
) -> None:
    items, pairs, scope = prepared(seeds, texts)
    thresholds = sorted({*THRESHOLDS, *more})
    kept = curve(items, pairs, thresholds, scope)
    for threshold, count in zip(thresholds, kept, strict=True):
        expected = scan(seeds, texts, threshold)
        assert [d.rejected_by for d in replay(items, pairs, threshold, scope)] == expected
        assert count == expected.count(None)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(TEXTS, max_size=3),
    st.lists(TEXTS, max_size=14),
    st.sampled_from(THRESHOLDS),
    st.sampled_from(["rouge", "unicode"]),
)
def test_stored_pairs_say_what_the_rules_themselves_say(
    seeds: list[str], texts: list[str], threshold: float, tokenizer: TokenizerName
) -> None:
    """Score, nearest neighbour and wording too, not only the decision; the other rules refuse short texts here."""
    rules = instruction_rules(threshold, tokenizer)
    known = [Neighbour("seed", i, text) for i, text in enumerate(seeds, start=1)]
    asked = [Neighbour("candidate", 3 * i + 5, text) for i, text in enumerate(texts)]
    judged = rejudge(known, asked, rules, tokenizer)
    fixed = [next((v.rule for v in verdicts[:-2] if not v.passed), None) for verdicts in judged]
    asked_for = [(text, rule is not None) for text, rule in zip(texts, fixed, strict=True)]
    items, pairs, scope = prepared(seeds, asked_for, tokenizer, deciding=False)
    items = [Item(item.id, item.wording, rule) for item, rule in zip(items, fixed, strict=True)]
    for decision, verdicts in zip(replay(items, pairs, threshold, scope), judged, strict=True):
        failed = first_failure(verdicts)
        duplicate, novelty = verdicts[-2:]
        assert decision.rejected_by == (failed.rule if failed else None)
        assert (decision.score, decision.nearest) == (novelty.score, key(novelty))
        assert decision.same_as == key(duplicate)


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, max_size=2), st.lists(st.tuples(TEXTS, st.sampled_from("pro")), max_size=14))
def test_pairs_serve_when_fewer_texts_are_refused_than_they_were_found_with(
    seeds: list[str], texts: list[tuple[str, str]]
) -> None:
    """p: never refused; r: refused; o: refused by a rule that is then switched off."""
    _, pairs, scope = prepared(seeds, [(text, kind != "p") for text, kind in texts])
    then = [(text, kind == "r") for text, kind in texts]
    items, _, _ = prepared(seeds, then)
    for threshold in THRESHOLDS:
        found = [d.rejected_by for d in replay(items, pairs, threshold, scope)]
        assert found == scan(seeds, then, threshold)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(TEXTS, max_size=2),
    CANDIDATES,
    st.sets(st.integers(0, 13), min_size=1, max_size=4),
    st.none() | st.integers(0, 13),
)
@example([], [("a b c d", False), ("a b c e", False), ("a b c f", False), ("a b c e", False)], {1}, None)
@example(["a b c d"], [("a b c e", False), ("a b c e", False), ("a b c f", False), ("c e f", False)], {1}, 2)
def test_what_a_person_rescued_is_kept_at_every_threshold_and_blocks_later_texts(
    seeds: list[str], texts: list[tuple[str, bool]], rescued: set[int], reopened: int | None
) -> None:
    items, pairs, scope = prepared(seeds, texts, rescued=rescued, reopened=reopened)
    kept = curve(items, pairs, THRESHOLDS, scope)
    for threshold, count in zip(THRESHOLDS, kept, strict=True):
        expected = scan(seeds, texts, threshold, rescued)
        assert [d.rejected_by for d in replay(items, pairs, threshold, scope)] == expected
        assert count == expected.count(None)


def key(verdict: Verdict) -> tuple[str, int] | None:
    return (verdict.neighbour.kind, verdict.neighbour.id) if verdict.neighbour else None


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, max_size=3), CANDIDATES, st.integers(1, 6), st.sampled_from([1, 20]))
def test_pairs_found_in_blocks_are_those_found_one_by_one(
    seeds: list[str], texts: list[tuple[str, bool]], block: int, at_once: int
) -> None:
    asked = [(3 * i + 5, text, not refused) for i, (text, refused) in enumerate(texts)]
    finder = PairFinder(enumerate(seeds, start=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_BLOCK", block)
        patch.setattr(neighbours, "_PAIRS_AT_ONCE", at_once)
        together = list(PairFinder(enumerate(seeds, start=1)).find_all(asked))
    assert together == [finder.find(*one) for one in asked]


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS, max_size=2), CANDIDATES, st.booleans(), st.booleans())
def test_either_rule_can_be_switched_off(
    seeds: list[str], texts: list[tuple[str, bool]], duplicate: bool, novelty: bool
) -> None:
    items, pairs, scope = prepared(seeds, texts)
    applied = [("duplicate", duplicate), ("novelty", novelty)]
    scope = Scope(scope.seeds, tuple(rule for rule, applies in applied if applies))
    for threshold, kept in zip(THRESHOLDS, curve(items, pairs, THRESHOLDS, scope), strict=True):
        decisions = replay(items, pairs, threshold, scope)
        assert kept == sum(d.rejected_by is None for d in decisions)
        rules = {d.rejected_by for d in decisions}
        assert "duplicate" not in rules or duplicate
        assert "novelty" not in rules or novelty
        if not novelty and not duplicate:
            assert kept == sum(not refused for _, refused in texts)


def test_what_a_lower_threshold_rejects_no_longer_blocks() -> None:
    """a–b and b–c are alike, a–c are not: without b, c is new."""
    texts = [("one two three four", False), ("one two three five six", False), ("three five six seven", False)]
    items, pairs, scope = prepared([], texts)
    assert [d.rejected_by for d in replay(items, pairs, 0.5, scope)] == [None, "novelty", None]
    assert [d.rejected_by for d in replay(items, pairs, 2 / 3, scope)] == [None, None, None]


def test_a_score_exactly_at_the_threshold_is_kept() -> None:
    items, pairs, scope = prepared([], [("a b c d e f g h i j", False), ("a b c d e f g x y z", False)])
    assert score("a b c d e f g h i j", "a b c d e f g x y z") == 0.7
    assert [d.score for d in replay(items, pairs, 0.7, scope)] == [None, 0.7]
    assert curve(items, pairs, (0.69, 0.7), scope) == [1, 2]


def test_a_thousand_repetitions_cost_a_thousand_pairs() -> None:
    texts = [("say it once more again", False), ("say it once more please", False)] * 1000
    items, pairs, scope = prepared(["name a fruit"], texts)
    assert len(pairs.candidates) == 1999
    # Four of five tokens: the very F-measure is 0.8000000000000002, as rouge-score's is, hence not yet kept at 0.8.
    assert curve(items, pairs, CURVE_THRESHOLDS, scope) == [1] * 31 + [2] * 20


def test_near_copies_of_one_text_cost_few_pairs_that_decide() -> None:
    """All 600 × 599 / 2 pairs score over the floor, but the first text bars all others where most pairs could block."""
    rest = ["the", "life", "of", "a", "busy", "worker", "bee", "in", "exactly"]
    texts = [(" ".join([*rest[: i % 9], f"word{i}", *rest[i % 9 :]]), False) for i in range(600)]
    items, pairs, scope = prepared([], texts)
    assert len(pairs.candidates) < 3 * len(texts)
    asked = [Neighbour("candidate", item.id, text) for item, (text, _) in zip(items, texts, strict=True)]
    for threshold in (0.5, 0.85, 0.9, 0.95):
        rules = [rule for rule in instruction_rules(threshold) if rule.name in ("duplicate", "novelty")]
        failures = [first_failure(verdicts) for verdicts in rejudge([], asked, rules)]
        decisions = replay(items, pairs, threshold, scope)
        assert [d.rejected_by for d in decisions] == [failed.rule if failed else None for failed in failures]
    shown = prepared([], texts, deciding=False)[1].candidates
    assert len(shown) <= (SHOWN_PAIRS + 3) * len(texts)


def test_the_whole_curve_is_fifty_one_points() -> None:
    assert (len(CURVE_THRESHOLDS), CURVE_THRESHOLDS[0], CURVE_THRESHOLDS[20], CURVE_THRESHOLDS[-1]) == (51, 0.5, 0.7, 1)


@pytest.mark.parametrize("threshold", [0.49, 1.01])
def test_pairs_do_not_reach_further(threshold: float) -> None:
    with pytest.raises(UsageError, match="full replay"):
        replay([], Pairs(), threshold, Scope({}))
    with pytest.raises(UsageError, match="full replay"):
        curve([], Pairs(), [threshold], Scope({}))


def test_a_full_replay_can_go_below_the_floor_and_changes_its_tokenizer() -> None:
    candidates = [
        Neighbour("candidate", 1, "请写一首关于春天的短诗"),
        Neighbour("candidate", 2, "请写一首关于秋天的短诗"),
        Neighbour("candidate", 3, "Name the largest ocean on Earth today"),
        Neighbour("candidate", 4, "Name the smallest river in Europe today"),
    ]
    seen: list[int] = []
    by_rouge = rejudge([], candidates, instruction_rules(0.4), "rouge", seen.append)
    assert [f.rule if (f := first_failure(v)) else None for v in by_rouge] == ["length", "length", None, "novelty"]
    by_unicode = rejudge([], candidates, instruction_rules(0.7, "unicode"), "unicode")
    assert [f.rule if (f := first_failure(v)) else None for v in by_unicode] == [None, "novelty", None, None]
    assert seen == [4]
