"""What is said of answers without a person."""

from __future__ import annotations

import pytest

from alpaca_tui.core.answers import METRICS, AnswerScore, TaskLoss, differences, metrics, score_answer
from alpaca_tui.core.preference import wilson
from alpaca_tui.core.records import Completion, FinishReason


def scored(text: str, reference: str = "Yes", *, kind: bool = True, reason: FinishReason = "eos") -> AnswerScore:
    return score_answer(reference, Completion(text, reason, 10, 5, 0.1), is_classification=kind)


@pytest.mark.parametrize(("text", "exact"), [("yes.\n", True), ("  YES ", True), ("Yes, it is", False), ("", False)])
def test_exact_match_looks_past_case_blanks_and_the_full_stop(text: str, exact: bool) -> None:
    assert scored(text).exact is exact
    assert scored(text, kind=False).exact is None


def test_empty_repetitive_and_cut_answers_are_counted() -> None:
    scores = [
        scored(" \n"),
        scored("20% of 20% of 20% of 20% of 20% of", reason="length"),
        scored("Yes"),
        scored("A short and varied answer.", kind=False),
    ]
    found = metrics(scores)
    assert (found["empty"], found["repetition"], found["cut"]) == (0.25, 0.25, 0.25)
    assert found["items"] == 4 and found["classification_items"] == 3
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert (found["exact_match_low"], found["exact_match_high"]) == wilson(1, 3)
    assert found["rouge_l_low"] <= found["rouge_l"] <= found["rouge_l_high"]
    assert found["words"] == pytest.approx((0 + 10 + 1 + 5) / 4)
    assert "held_out_loss" not in found


def test_the_loss_is_per_token_not_per_task() -> None:
    found = metrics([], [TaskLoss(9.0, 9), TaskLoss(11.0, 1), TaskLoss(0.0, 0)])
    assert found["held_out_loss"] == 2.0
    assert set(found) == {"held_out_loss", "held_out_loss_low", "held_out_loss_high"}
    assert metrics([]) == {}


def test_differences_are_paired_by_task() -> None:
    # The same gain on every task: certain, though the two means are all over the place.
    first = {p: AnswerScore(p / 100, None, p, False, False, False) for p in range(50)}
    second = {p: AnswerScore(p / 100 + 0.05, None, p + 2, False, False, False) for p in range(10, 60)}
    losses = {p: TaskLoss(10.0 + p, 5) for p in range(50)}
    better = {p: TaskLoss(9.0 + p, 5) for p in range(50)}
    rows = {row.metric: row for row in differences(first, second, losses, better)}
    assert rows["rouge_l"].delta == pytest.approx(0.05)
    assert rows["rouge_l"].low == pytest.approx(0.05) and rows["rouge_l"].clear
    assert rows["words"].delta == 2
    assert rows["held_out_loss"].delta == pytest.approx(-0.2) and rows["held_out_loss"].clear
    assert rows["empty"].delta == 0 and not rows["empty"].clear
    assert "exact_match" not in rows


def test_losses_over_other_tokens_are_not_subtracted() -> None:
    row = differences({}, {}, {0: TaskLoss(4.0, 2)}, {0: TaskLoss(4.0, 4)})[0]
    assert (row.first, row.second, row.delta) == (2.0, 1.0, None) and not row.clear
    row = differences({}, {}, {0: TaskLoss(4.0, 2)}, {})[0]
    assert (row.first, row.second, row.delta) == (2.0, None, None)
    assert differences({}, {}, {}, {}) == []


def test_figures_are_shown_and_judged_by_what_they_are() -> None:
    by_name = {metric.name: metric for metric in METRICS}
    assert [by_name["held_out_loss"].better(delta) for delta in (-0.5, 0.5, 0.0, None)] == [True, False, None, None]
    assert by_name["rouge_l"].better(0.1) is True and by_name["repetition"].better(0.1) is False
    assert by_name["words"].better(3.0) is None  # neither long nor short is better as such
    shown = [by_name[name].shown(value) for name, value in (("rouge_l", 0.1234), ("empty", 0.5), ("words", 3.25))]
    assert shown == ["0.123", "50 %", "3.2"] and by_name["cut"].shown(None) == "–"
