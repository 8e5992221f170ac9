"""Curves of any length in a bounded number of slices, and ways of looking at them."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from alpaca_tui.store import jobs, metrics, projects
from alpaca_tui.store.database import write
from alpaca_tui.ui import charts, looking
from alpaca_tui.ui.curves import MOST, GrowingCurve, read_whole, read_window, spliced
from alpaca_tui.ui.glyphs import ASCII, UNICODE
from alpaca_tui.ui.looking import Look

LIMITS = (0.0, 1000.0)


@pytest.fixture
def db(tmp_path: Path) -> Database:
    db, _ = projects.ensure(tmp_path / "p")
    jobs.enqueue(db, "train", {})
    return db


def store(db: Database, first: int, values: list[float | None]) -> None:
    with write(db):
        db.conn.executemany(
            "INSERT OR REPLACE INTO metrics (job_id, name, step, value, at) VALUES (1, 'loss', ?, ?, 0)",
            enumerate(values, first),
        )


def test_a_short_run_is_shown_value_by_value(db: Database) -> None:
    curve = GrowingCurve(1, "loss")
    assert curve.extend(db).steps == ()
    store(db, 1, [3.0, None, 2.0])
    found = curve.extend(db)
    assert found.steps == (1, 2, 3) and found.values[0] == 3.0 and math.isnan(found.values[1])
    assert found.stride == 1 and found.last == 2.0
    assert curve.extend(db) is found, "nothing new, nothing read"
    metrics.record(db, 1, 4, {"loss": 1.5})
    assert curve.extend(db).steps == (1, 2, 3, 4)


def test_a_long_run_keeps_its_extremes_in_a_bounded_number_of_slices(db: Database) -> None:
    rng = random.Random(5)
    values: list[float | None] = [rng.gauss(2, 0.1) for _ in range(3 * MOST)]
    values[1234], values[4321], values[99] = 9.0, -9.0, None
    grown = GrowingCurve(1, "loss")
    cuts = [0, 5, MOST, MOST + 1, 2 * MOST + 3, 3 * MOST]
    for begin, end in pairwise(cuts):
        store(db, begin, values[begin:end])
        grown.extend(db)
    for curve in (grown.extend(db), read_whole(db, 1, "loss")):
        assert len(curve.steps) <= 2 * MOST and curve.stride > 1
        assert max(curve.highs) == 9.0 and min(curve.lows) == -9.0
        assert curve.steps[-1] == 3 * MOST - 1 and curve.last == values[-1]
        for step, low, high in zip(curve.steps, curve.lows, curve.highs, strict=True):
            start = step // curve.stride * curve.stride
            behind = [v for v in values[start : start + curve.stride] if v is not None]
            assert (low, high) == (min(behind), max(behind))


def test_a_window_is_read_to_the_single_step(db: Database) -> None:
    values: list[float | None] = [math.sin(i / 50) for i in range(3 * MOST)]
    store(db, 0, values)
    whole = read_whole(db, 1, "loss")
    part = read_window(db, 1, "loss", 3000, 3200)
    assert whole.stride > 1 and part.stride == 1
    fine = spliced(whole, part)
    assert list(fine.steps) == sorted(set(fine.steps))
    inside = {s: v for s, v in zip(fine.steps, fine.values, strict=True) if 3000 <= s <= 3200}
    assert inside == {s: values[s] for s in range(3000, 3201)}
    assert fine.steps[0] == whole.steps[0] and fine.steps[-1] == whole.steps[-1]


windows = st.none() | st.tuples(st.floats(0, 500), st.floats(508, 1000))
looks = st.builds(Look, window=windows, cursor=st.none() | st.floats(0, 1000))


@given(looks, st.floats(0.1, 10), st.none() | st.floats(0, 1000))
def test_no_zoom_leaves_the_run(look: Look, factor: float, around: float | None) -> None:
    window = looking.zoomed(look, LIMITS, factor, around).window
    assert window is None or (window[0] >= 0 and window[1] <= 1000 and window[1] - window[0] >= 7.9)


@given(looks, st.floats(-3, 3))
def test_panning_keeps_the_length(look: Look, share: float) -> None:
    window = looking.panned(look, LIMITS, share).window
    if look.window is None:
        assert window is None
        return
    assert window is not None and window[0] >= -1e-6 and window[1] <= 1000 + 1e-6
    assert window[1] - window[0] == pytest.approx(look.window[1] - look.window[0])


@given(looks, st.integers(1, 200), st.sampled_from([-1, 1]))
def test_the_cursor_stays_in_sight(look: Look, columns: int, by: int) -> None:
    seen = looking.moved(look, LIMITS, columns, by)
    assert seen.cursor is not None and 0 <= seen.cursor <= 1000
    first, last = seen.window or LIMITS
    assert first - 1e-6 <= seen.cursor <= last + 1e-6


def test_zooming_in_and_out_again_shows_everything() -> None:
    look = looking.zoomed(Look(cursor=250.0), LIMITS, 4)
    assert look.window == (187.5, 437.5)
    assert looking.zoomed(look, LIMITS, 1 / 5).window is None


def test_smoothing_goes_round() -> None:
    look, seen = Look(), []
    for _ in looking.SMOOTHINGS:
        seen.append(look.smoothing)
        look = looking.next_smoothing(look)
    assert look == Look() and sorted(seen) == sorted(looking.SMOOTHINGS)


def test_the_mean_of_four_steps_counts_as_four_in_the_moving_average() -> None:
    steps = charts.smoothed([1.0] * 4 + [2.0] * 4, 0.9)
    assert charts.smoothed([1.0, 2.0], 0.9, 4)[-1] == pytest.approx(steps[-1])


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_a_log_axis_draws_a_decay_as_a_straight_line_and_labels_the_values(glyphs) -> None:
    curve = charts.Curve(range(101), [100 * 10 ** (-i / 25) for i in range(101)], "")
    lines = [line.plain for line in charts.line_chart([curve], 80, 14, glyphs, axes=charts.Axes(log=True))]
    heights = [next(y for y, line in enumerate(lines[:-1]) if line[x] not in " ") for x in range(9, 79)]
    assert heights == sorted(heights) and max(b - a for a, b in pairwise(heights)) <= 1
    assert float(lines[0][:6]) > 60 and float(lines[-2][:6]) < 0.02


def test_runs_are_told_apart_by_letters(db: Database) -> None:
    curves = [charts.Curve(range(50), [v] * 50, "red", sign=s) for s, v in (("A", 1.0), ("B", 2.0))]
    lines = [line.plain for line in charts.line_chart(curves, 80, 12, UNICODE)]
    upper, lower = (
        [y for y, line in enumerate(lines) if "B" in line],
        [y for y, line in enumerate(lines) if "A" in line],
    )
    assert upper and lower and max(upper) < min(lower)


def test_a_window_without_values_draws_nothing() -> None:
    curve = charts.Curve(range(50), [1.0] * 50, "")
    assert charts.line_chart([curve], 80, 12, UNICODE, axes=charts.Axes(window=(60, 90))) == []
    assert charts.value_at(curve, 33.7) == (33, 1.0)
    assert charts.value_at(replace(curve, steps=(), values=()), 3) is None
