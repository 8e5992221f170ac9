"""Drawing demonstrations: what a prompt shows, and what happens when the pool is small."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.pool import draw_demonstrations
from alpaca_tui.core.records import PoolEntry


def seeds(n: int) -> list[PoolEntry]:
    return [PoolEntry("seed", i, f"seed {i}") for i in range(n)]


def candidates(n: int) -> list[PoolEntry]:
    return [PoolEntry("candidate", i, f"candidate {i}") for i in range(n)]


def kinds(drawn: Sequence[PoolEntry]) -> Counter[str]:
    return Counter(entry.kind for entry in drawn)


def test_six_human_and_two_machine_by_default() -> None:
    drawn = draw_demonstrations(random.Random(1), seeds(175), candidates(40))
    assert kinds(drawn) == {"seed": 6, "candidate": 2}


@pytest.mark.parametrize(("machine", "expected"), [(0, {"seed": 8}), (1, {"seed": 7, "candidate": 1})])
def test_human_entries_take_the_place_of_missing_machine_ones(machine: int, expected: dict[str, int]) -> None:
    assert kinds(draw_demonstrations(random.Random(1), seeds(175), candidates(machine))) == expected


@given(
    human=st.integers(0, 30),
    machine=st.integers(0, 30),
    count=st.integers(1, 12),
    machine_count=st.integers(0, 12),
    seed=st.integers(),
)
def test_a_draw_has_the_size_asked_for_and_no_entry_twice(
    human: int, machine: int, count: int, machine_count: int, seed: int
) -> None:
    def draw() -> tuple[PoolEntry, ...]:
        return draw_demonstrations(random.Random(seed), seeds(human), candidates(machine), count, machine_count)

    possible = machine_count <= count and count - min(machine_count, machine) <= human
    if not possible:
        with pytest.raises(UsageError):
            draw()
        return
    drawn = draw()
    assert len(drawn) == len(set(drawn)) == count
    assert kinds(drawn)["candidate"] == min(machine_count, machine)
    assert draw() == drawn


def test_machine_entries_are_not_always_in_the_same_place() -> None:
    rng = random.Random(7)
    places = {tuple(entry.kind for entry in draw_demonstrations(rng, seeds(20), candidates(20))) for _ in range(60)}
    assert len(places) > 10


def test_every_entry_is_drawn_about_equally_often() -> None:
    rng = random.Random(3)
    drawn = Counter(entry for _ in range(4000) for entry in draw_demonstrations(rng, seeds(12), candidates(8)))
    for entry, times in drawn.items():
        expected = 4000 * (6 / 12 if entry.kind == "seed" else 2 / 8)
        assert abs(times - expected) < 0.15 * expected
    assert len(drawn) == 20


def test_a_pool_of_a_million_is_touched_only_where_it_is_drawn() -> None:
    class Counting(Sequence[PoolEntry]):
        reads = 0

        def __len__(self) -> int:
            return 1_000_000

        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            self.reads += 1
            return PoolEntry("candidate", index, f"candidate {index}")

    pool = Counting()
    draw_demonstrations(random.Random(0), seeds(175), pool)
    assert pool.reads == 2


def test_too_few_seeds_is_told_with_both_numbers() -> None:
    with pytest.raises(UsageError, match=r"8 human-written instructions are needed and 5 are in the pool"):
        draw_demonstrations(random.Random(0), seeds(5), [])


@pytest.mark.parametrize(("count", "machine_count"), [(0, 0), (-1, 0), (4, 5), (4, -1)])
def test_senseless_numbers_are_refused(count: int, machine_count: int) -> None:
    with pytest.raises(UsageError, match="demonstrations"):
        draw_demonstrations(random.Random(0), seeds(20), candidates(20), count, machine_count)
