"""The time to the target: right in the middle, with a range that keeps its promise, and silent before it can know."""

from __future__ import annotations

import random

import pytest

from alpaca_tui.core.estimates import StageStats, Work, expected_yield, instruction_calls, outlook


def stats_of(counts: list[int], seconds: list[float], cost: float = 0.0) -> StageStats:
    return StageStats(
        len(counts),
        sum(counts),
        sum(n * n for n in counts),
        50 * len(counts),
        sum(seconds),
        sum(s * s for s in seconds),
        cost * len(counts),
    )


def observed(rng: random.Random, stage: str, calls: int) -> StageStats:
    """What a run sees of a model whose lists vary from none to nine items, half of whose instances pass."""
    if stage == "instruction":
        counts = [rng.choice((0, 2, 4, 6, 9)) for _ in range(calls)]
        return stats_of(counts, [rng.uniform(4, 16) for _ in counts], cost=0.02)
    if stage == "instance":
        counts = [int(rng.random() < 0.5) for _ in range(calls)]
        return stats_of(counts, [rng.uniform(2, 8) for _ in counts], cost=0.01)
    return stats_of([1] * calls, [0.5] * calls)


def true_time(rng: random.Random, missing: int, concurrency: float) -> float:
    """How long it does take from here: candidate by candidate, until the last sample is there."""
    seconds, made, kept = 0.0, 0, 0
    while made < missing:
        if not kept:
            kept, seconds = rng.choice((0, 2, 4, 6, 9)), seconds + rng.uniform(4, 16)
            continue
        kept, seconds = kept - 1, seconds + 0.5 + rng.uniform(2, 8)
        made += rng.random() < 0.5
    return seconds / concurrency


@pytest.mark.parametrize("calls", [6, 30])
def test_most_runs_end_within_the_range(calls: int) -> None:
    inside = 0
    for number in range(200):
        rng = random.Random(number)
        seen = {
            "instruction": observed(rng, "instruction", calls),
            "instance": observed(rng, "instance", 4 * calls),
            "classification": observed(rng, "classification", 4 * calls),
        }
        told = outlook(seen, Work(80, {}), concurrency=8.0)
        assert told is not None
        assert told.eta_range_s[0] <= told.eta_s <= told.eta_range_s[1]
        inside += told.eta_range_s[0] <= true_time(rng, 80, 8.0) <= told.eta_range_s[1]
    assert inside >= 170, "nine of ten are promised"


def test_the_range_narrows_as_the_run_learns() -> None:
    def width(calls: int) -> float:
        rng = random.Random(1)
        stages = {
            name: observed(rng, name, calls * (1 if name == "instruction" else 4))
            for name in ("instruction", "instance", "classification")
        }
        told = outlook(stages, Work(500, {}), 8.0)
        assert told is not None
        return (told.eta_range_s[1] - told.eta_range_s[0]) / told.eta_s

    assert width(200) < width(20) < width(3)


def test_nothing_is_promised_before_every_stage_has_been_seen() -> None:
    rng = random.Random(0)
    seen = {"instruction": observed(rng, "instruction", 10)}
    assert outlook(seen, Work(10, {}), 8.0) is None
    tasks = outlook(seen, Work(10, {}, whole_tasks=True), 8.0)
    assert tasks is not None
    assert tasks.eta_s > 0
    assert outlook(seen, Work(10, {}, whole_tasks=True, outputs=True), 8.0) is None


def test_nothing_is_left_to_do_at_the_target() -> None:
    done = outlook({}, Work(0, {}), 0.0)
    assert done is not None
    assert (done.eta_s, done.eta_range_s, done.cost) == (0.0, (0.0, 0.0), 0.0)


def test_what_waits_already_is_not_invented_anew() -> None:
    rng = random.Random(0)
    seen = {name: observed(rng, name, 50) for name in ("instruction", "instance", "classification")}
    fresh = instruction_calls(seen, Work(20, {}))
    assert fresh > instruction_calls(seen, Work(20, {"instance": 20})) > 0
    assert instruction_calls(seen, Work(20, {"instance": 40, "classification": 40})) == 0
    with_queue, without = outlook(seen, Work(20, {"instance": 60}), 8.0), outlook(seen, Work(20, {}), 8.0)
    assert with_queue is not None
    assert without is not None
    assert with_queue.eta_s < without.eta_s
    assert with_queue.cost < without.cost


def test_money_is_told_beside_time() -> None:
    rng = random.Random(0)
    seen = {name: observed(rng, name, 60) for name in ("instruction", "instance", "classification")}
    told = outlook(seen, Work(100, {}), 8.0)
    assert told is not None
    # 200 instances at 0.01 and about 48 instruction calls at 0.02 make 100 samples.
    assert told.cost_range[0] <= 200 * 0.01 + 48 * 0.02 <= told.cost_range[1]


def test_a_yield_starts_as_a_guess_and_becomes_what_was_seen() -> None:
    assert expected_yield({}, "instruction") == 3.0
    assert expected_yield({"instruction": stats_of([0] * 99, [1.0] * 99)}, "instruction") < 0.05
