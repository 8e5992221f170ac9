"""Charts, bars, literal text, themes: what they promise, for any input."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.color import Color
from textual.content import Content

from alpaca_tui.core.records import Funnel
from alpaca_tui.core.visible import one_line, printable
from alpaca_tui.jobs.live import LiveSnapshot
from alpaca_tui.ui import charts, figures, theming
from alpaca_tui.ui.glyphs import ASCII, UNICODE
from alpaca_tui.ui.literal import literal
from alpaca_tui.ui.screens.dialogs import help_text
from alpaca_tui.ui.screens.jobs import STYLES, outcome, state_sign
from alpaca_tui.ui.widgets import funnel
from alpaca_tui.ui.widgets.lines import changed_rows, wrap
from alpaca_tui.ui.widgets.panes import time_left

any_text = st.text(st.characters(), max_size=200)


@given(any_text)
def test_printable_text_is_inert_and_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert all(unicodedata.category(c) not in ("Cc", "Cs") or c == "\n" for c in shown)
    assert printable(shown) == shown
    assert "\n" not in one_line(text)


def test_printable_shows_what_it_replaces() -> None:
    assert printable("\x1b[2J\x9b\x00\x7f") == "␛[2J␛[␀␡"
    assert printable("a\u202eb\u200bc\ufeff\ud800") == "a⇄b◌c◌\ufffd"
    assert printable("a\tb\r\nc\rd") == "a⇥  b\nc␍d"
    assert printable("नमस्\u200dते") == "नमस्\u200dते"  # a joiner between letters is spelling
    assert printable("👩\u200d👧 ❤\ufe0f") == "👩◌👧 ❤"
    assert printable("naïve café 漢字") == "naïve café 漢字"


@given(any_text, st.integers(2, 60))
def test_wrapped_lines_fit(text: str, width: int) -> None:
    assert all(line.cell_length <= width for line in wrap([literal(text)], width))


def test_markup_is_text() -> None:
    content = literal("[bold]x[/bold] [@click=app.quit]y[/]")
    assert content.plain == "[bold]x[/bold] [@click=app.quit]y[/]" and not content.spans


values = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=300)


@settings(deadline=None)
@given(values, st.integers(1, 120), st.integers(1, 30), st.sampled_from([UNICODE, ASCII]))
def test_a_chart_fills_its_space_and_no_more(data, width, height, glyphs) -> None:
    steps = range(len(data))
    curves = [charts.Curve(steps, data, "red"), charts.Curve(steps, charts.smoothed(data), "blue")]
    lines = charts.line_chart(curves, width, height, glyphs)
    assert len(lines) in (0, height)
    assert all(line.cell_length <= width for line in lines)
    if glyphs is ASCII:
        assert all(line.plain.isascii() for line in lines)


@given(values, st.integers(1, 100))
def test_the_envelope_loses_no_extreme(data, columns) -> None:
    found = charts.envelope(charts.Curve(range(len(data)), data, ""), columns, 0, len(data) - 1)
    finite = [v for v in data if math.isfinite(v)]
    filled = [s for s in found if s is not None]
    assert len(found) == columns
    assert min((lo for lo, _ in filled), default=None) == min(finite, default=None)
    assert max((hi for _, hi in filled), default=None) == max(finite, default=None)


@given(values, st.integers(2, 100))
def test_a_line_has_no_holes(data, columns) -> None:
    line = charts.joined(charts.envelope(charts.Curve(range(len(data)), data, ""), columns, 0, len(data) - 1))
    filled = [i for i, s in enumerate(line) if s is not None]
    assert not filled or filled == list(range(filled[0], filled[-1] + 1))
    for a, b in pairwise(filled):
        (alo, ahi), (blo, bhi) = line[a], line[b]  # type: ignore[misc]
        assert alo <= bhi + 1e-6 * max(1, abs(bhi)) and blo <= ahi + 1e-6 * max(1, abs(ahi))


def test_a_spike_of_one_step_in_a_hundred_thousand_is_drawn() -> None:
    data = [1.0] * 100_000
    data[54_321] = 9.0
    lines = charts.line_chart([charts.Curve(range(100_000), data, "red")], 80, 12, UNICODE)
    assert any(0x2800 < ord(c) <= 0x28FF for c in lines[0].plain[8:] + lines[1].plain[8:])


def test_smoothing_starts_at_the_first_value_and_passes_over_gaps() -> None:
    assert charts.smoothed([2.0, 2.0]) == pytest.approx([2.0, 2.0])
    out = charts.smoothed([math.nan, 1.0, math.nan, 3.0])
    assert math.isnan(out[0]) and out[1] == pytest.approx(1.0) and out[2] == out[1] and 1.0 < out[3] < 3.0


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.integers(0, 80), st.sampled_from([UNICODE, ASCII]))
def test_a_bar_fits_and_shows_every_count(value, top, width, glyphs) -> None:
    drawn = charts.bar(value, top, width, glyphs)
    assert len(drawn) <= width
    assert bool(drawn) == (value > 0 and top > 0 and width > 0)


@given(st.dictionaries(st.sampled_from("abcdefghij"), st.integers(1, 10_000)), st.integers(20, 120), st.integers(1, 20))
def test_the_funnel_fits_and_keeps_its_steps(rejected, width, height) -> None:
    total = sum(rejected.values()) + 5
    f = Funnel(completions=9, candidates=total, kept=5, rejected=rejected, samples=5, pending=3, accepted=2)
    lines = funnel.lines(f, width, height, UNICODE)
    assert len(lines) <= height and all(line.cell_length <= width for line in lines)
    if height >= 8:
        assert [s.label for s in funnel._fit(funnel.steps(f), height) if not s.loss] == [
            "responses", "candidates", "kept", "samples", "pending", "accepted", "rejected",
        ]  # fmt: skip


def test_only_rows_that_differ_are_painted() -> None:
    old = [Content(c) for c in "abcdef"]
    new = [Content(c) for c in "abXYeZ"]
    assert changed_rows(old, new, 10) == [(2, 2), (5, 1)]
    assert changed_rows(old, old, 10) == [] and changed_rows(old, old[:3], 4) == [(3, 1)]


def test_figures() -> None:
    assert [figures.duration(s) for s in (0, 59.6, 100, 7500, 200_000, None, math.inf)] == [
        "0 s", "60 s", "2 min", "2 h 05", "2 d", "–", "–",
    ]  # fmt: skip
    assert [figures.size(n) for n in (5, 4_200, 42_000_000, 4.2e9, 2e15)] == [
        "5 B",
        "4.2 kB",
        "42 MB",
        "4.2 GB",
        "2000.0 TB",
    ]
    assert [figures.number(v) for v in (1.23456, 0.00012, math.nan, None)] == ["1.235", "1.2e-04", "NaN", "–"]
    assert figures.share(1, 0) == "–" and figures.share(1, 4) == "25 %"


def _luminance(color: Color) -> float:
    def channel(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    return 0.2126 * channel(color.r) + 0.7152 * channel(color.g) + 0.0722 * channel(color.b)


def _contrast(one: str, two: str) -> float:
    a, b = sorted((_luminance(Color.parse(one)), _luminance(Color.parse(two))), reverse=True)
    return (a + 0.05) / (b + 0.05)


@pytest.mark.parametrize("theme", theming.themes(), ids=lambda theme: theme.name)
def test_text_can_be_read_in_every_theme(theme) -> None:
    """WCAG 2.2: 4.5 for text, 3 for large or incidental signs."""
    least = 7.0 if theme.name == "alpaca-contrast" else 4.5
    grounds = [theme.background, theme.surface, theme.panel]
    for name in ("foreground", "accent", "success", "warning", "error"):
        assert min(_contrast(getattr(theme, name), ground) for ground in grounds) >= least, name
    for name in ("primary", "secondary"):
        assert min(_contrast(getattr(theme, name), ground) for ground in grounds[:2]) >= least, name
    for name in ("muted", "faint", "human", "machine", "smooth", "held-out", "match"):
        assert min(_contrast(theme.variables[name], ground) for ground in grounds[:2]) >= least, name
    assert min(_contrast(theme.variables["raw"], ground) for ground in grounds[:2]) >= 3.0
    marked = theme.variables["block-cursor-foreground"], theme.variables["block-cursor-background"]
    assert _contrast(*marked) >= least


def test_there_is_a_theme_for_night_day_bad_screens_and_every_colour_vision() -> None:
    themes = {theme.name: theme for theme in theming.themes()}
    assert {"alpaca-night", "alpaca-day", "alpaca-contrast", "alpaca-clear"} <= set(themes)
    assert not themes["alpaca-day"].dark
    clear = themes["alpaca-clear"]
    # Who sees no red or no green still tells good from bad by blue against none.
    assert abs(Color.parse(clear.success).b - Color.parse(clear.error).b) > 100


def test_every_state_has_a_sign_of_its_own_besides_its_colour() -> None:
    for glyphs in (UNICODE, ASCII):
        signs = {state: state_sign(state, glyphs) for state in STYLES}
        assert signs["succeeded"] != signs["failed"] and all(sign.strip() for sign in signs.values())


def test_an_axis_of_what_is_never_negative_does_not_go_below_nought() -> None:
    rate = charts.Curve(list(range(1, 33)), [1e-4 * (1 - step / 33) for step in range(1, 33)], "")
    lines = [line.plain for line in charts.line_chart([rate], 40, 10, UNICODE)]
    labels = [line[: charts.AXIS_WIDTH - 2].strip() for line in lines[:-1] if "┤" in line[: charts.AXIS_WIDTH]]
    assert labels and all(float(label) >= 0 for label in labels)


def test_the_funnel_names_its_rules_in_full_where_there_is_room() -> None:
    seen = Funnel(completions=9, candidates=70, kept=60, samples=60, filtered={"conflicting_outputs": 33}, pending=27)
    wide, narrow = ("\n".join(line.plain for line in funnel.lines(seen, w, 12, UNICODE)) for w in (61, 38))
    assert "✗ conflicting outputs 33" in wide
    assert "conflicting outpu… 33" in narrow


def test_what_an_ended_job_came_to() -> None:
    assert outcome("generate", {"candidates": 1058, "kept": 56, "samples": 69}) == (
        "1,058 instructions, 56 kept, 69 samples"
    )
    result = {"loss_first": 1.03, "loss_last": 0.87, "eval_loss_first": 1.6, "eval_loss_last": 1.2}
    assert outcome("train", result) == "loss 1.030 to 0.870, held-out 1.600 to 1.200"
    assert outcome("evaluate", {"models": {"a": {"rouge_l": 0.1}, "b": {}}}) == "ROUGE-L: a 0.100, b –"
    for odd in ({}, {"models": "x"}, {"loss_first": "x", "loss_last": []}, {"candidates": None}):
        assert [outcome(kind, odd) for kind in ("generate", "train", "evaluate", "?")] == ["", "", "", ""]


@pytest.mark.parametrize("width", [40, 69, 90])
def test_a_long_description_goes_on_under_itself(width: int) -> None:
    lines = [line.plain for line in help_text("review", {}, width, ascii=False)]
    assert all(len(line) <= width or line.startswith("Keys can be changed") for line in lines)
    at = next(i for i, line in enumerate(lines) if line.startswith("  c "))
    assert lines[at][20:].startswith("Say that it is") and lines[at + 1].startswith(" " * 20) == (width < 95)


def test_the_time_left_comes_with_the_range_in_which_most_runs_end() -> None:
    now = LiveSnapshot(0.0, "input first: 8 in flight", 0.5, eta_s=720.0, eta_range_s=(540.0, 1020.0))
    assert time_left(now) == "12 min left (9 min to 17 min)"
    assert time_left(now, brief=True) == "12 min left"
    assert time_left(LiveSnapshot(0.0, "loading", None)) == ""
    paid = replace(now, cost_to_go=0.42, cost_range=(0.3, 0.614))
    assert time_left(paid) == "12 min left (9 min to 17 min), 0.42 to pay (0.3 to 0.61)"
    assert time_left(paid, brief=True) == "12 min left, 0.42 to pay"
    assert time_left(replace(now, cost_to_go=0.0, cost_range=(0.0, 0.0))) == time_left(now), (
        "a local model costs nothing"
    )
