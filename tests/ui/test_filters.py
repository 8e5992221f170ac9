"""Filters: why something was thrown out, how it comes back, and what another threshold would keep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from alpaca_tui.store import browse, candidates, database, replays, samples
from alpaca_tui.ui.app import CockpitApp
from alpaca_tui.ui.glyphs import UNICODE
from alpaca_tui.ui.options import UiOptions
from alpaca_tui.ui.screens import filters
from alpaca_tui.ui.threshold import Control, ThresholdPane
from alpaca_tui.ui.widgets.lines import TextView
from alpaca_tui.ui.widgets.paged import PagedList

from .conftest import Opened, look, screen_text, toasts


def stored(project: Path, read: Callable[[Any], Any]) -> Any:
    db = database.open_project(project)
    try:
        return read(db)
    finally:
        db.conn.close()


def rejects(app: CockpitApp) -> PagedList[browse.Reject]:
    return app.screen.query_one("#reject-list", PagedList)


async def worked_out(pilot: Pilot[None]) -> None:
    """Wait for the replay that runs in a thread."""
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def choose(pilot: Pilot[None], text: str) -> None:
    """Put the funnel's cursor on the row with that text."""
    steps = pilot.app.screen.query_one("#funnel-list", PagedList)
    for i in range(steps.count):
        row = steps.row(i)
        if row is not None and row.label == text:
            steps.move(i)
    await pilot.pause()


async def test_enter_lists_what_a_rule_threw_out_with_its_neighbour(opened: Opened, filled: Path) -> None:
    async with opened(filled, (140, 45)) as (app, pilot):
        await pilot.press("4")
        await pilot.pause()
        assert rejects(app).count == 13
        await choose(pilot, "novelty")
        await pilot.press("enter")
        await pilot.pause()
        assert rejects(app).count == 7 and rejects(app).has_focus
        text = app.screen.query_one("#reject", TextView).text
        assert "novelty 0.9" in text and "/ 0.70" in text and "NEAREST NEIGHBOUR  seed" in text and "please." in text
        underlined = [
            s.text for strip in app.screen._compositor.render_strips() for s in strip if s.style and s.style.underline
        ]
        assert underlined.count("Rename") == 2
        await pilot.press("escape", "enter", "f")
        assert rejects(app).count == 3


async def test_a_query_lists_rejects(opened: Opened, filled: Path) -> None:
    async with opened(filled, (140, 45)) as (app, pilot):
        await pilot.press("4", "slash", *"rouge>0.96 -rename", "enter")
        await pilot.pause()
        rows = [rejects(app).row(i) for i in range(rejects(app).count)]
        assert rows and all(r and (r.score or 0) > 0.96 and "ename" not in r.text for r in rows)
        await pilot.press("slash", *" colour:red", "enter")
        await pilot.pause()
        assert "there is no field 'colour'" in toasts(app)
        await pilot.press("escape")
        assert rejects(app).count == len(rows)


@pytest.mark.parametrize("size", [(80, 24), (140, 45)])
async def test_an_instruction_is_rescued_and_taken_back(opened: Opened, project: Path, size: tuple[int, int]) -> None:
    async with opened(project, size) as (app, pilot):
        await pilot.press("4")
        await choose(pilot, "banned words".replace(" ", "_"))
        await pilot.press("enter")
        await pilot.pause()
        chosen = rejects(app).current
        assert chosen is not None and chosen.kind == "instruction"
        await pilot.press("x")
        await pilot.pause()
        assert f"Instruction {chosen.id} goes on" in toasts(app)
        assert chosen.id in [c.id for c in stored(project, lambda db: candidates.waiting(db, "classification", 9))]
        assert rejects(app).count == 2
        await pilot.press("u")
        await pilot.pause()
        assert f"rescue instruction {chosen.id} taken back" in toasts(app)
        assert rejects(app).count == 3
        await pilot.press("U")
        await pilot.pause()
        assert rejects(app).count == 2


async def test_a_sample_is_rescued(opened: Opened, project: Path) -> None:
    async with opened(project, (140, 45)) as (app, pilot):
        await pilot.press("4")
        await choose(pilot, "empty_output")
        await pilot.press("enter", "x")
        await pilot.pause()
        assert stored(project, samples.counts)["filtered"] == 0
        look(app)
        await pilot.pause()
        assert "empty output" not in "\n".join(app.screen.query_one("#funnel-list", PagedList).shown)


@pytest.mark.parametrize(("size", "at_once"), [((80, 24), True), ((100, 30), False), ((140, 45), True)])
async def test_the_curve_is_the_exact_one_and_drawn_unasked_where_that_is_quick(
    opened: Opened, project: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], at_once: bool
) -> None:
    expected = stored(project, replays.threshold_curve)
    monkeypatch.setattr(filters, "CURVE_AT_ONCE", 37 if at_once else 36)
    async with opened(project, size) as (app, pilot):
        await pilot.press("4")
        await worked_out(pilot)
        assert ("left and right move X" in screen_text(app)) != at_once
        if not at_once:
            await pilot.press("c")
            await worked_out(pilot)
        assert app.screen.query_one(ThresholdPane).control.curve == tuple(kept for _, kept in expected)
        await pilot.press(*["left"] * 8)
        keeps = dict(expected)[0.62]
        assert f"X 0.62 would keep {keeps} " in screen_text(app)
        await pilot.press("X", *"0.9", "enter", *["right"] * 15)
        assert f"X 1.00 would keep {dict(expected)[1.0]} " in screen_text(app)
        await pilot.press("X", *"2", "enter")
        assert "2 is no threshold" in toasts(app)


def test_a_curve_without_a_step_is_said_not_drawn() -> None:
    pane = ThresholdPane(UNICODE, id="threshold")
    pane.control = Control(kept_now=52, curve=(52,) * 51, curve_of=54, candidates=54)
    lines = [line.plain for line in pane.compose_lines(60, 20)]
    assert lines[1:] == ["Every X from 0.50 to 1.00 keeps the same: no score lies", "between them."]


async def test_a_threshold_is_applied_only_when_confirmed_and_can_be_undone(opened: Opened, project: Path) -> None:
    stored(project, lambda db: db.execute("UPDATE jobs SET state = 'stopped' WHERE state = 'running'"))
    before = stored(project, candidates.count_kept)
    expected = dict(stored(project, replays.threshold_curve))[0.99]
    assert expected > before
    async with opened(project, (140, 45)) as (app, pilot):
        await pilot.press("4", "X", *"0.99", "enter", "p")
        await worked_out(pilot)
        assert f"{before} → {expected}" in screen_text(app)
        assert stored(project, candidates.count_kept) == before
        await pilot.press("A")
        await pilot.pause()
        assert "Judge all candidates at X = 0.99?" in screen_text(app)
        await pilot.press("n")
        await worked_out(pilot)
        assert stored(project, candidates.count_kept) == before
        await pilot.press("A", "y")
        await worked_out(pilot)
        assert stored(project, candidates.count_kept) == expected
        assert "u takes it back" in toasts(app)
        await pilot.press("u")
        await worked_out(pilot)
        assert stored(project, candidates.count_kept) == before


async def test_an_active_generation_refuses_another_threshold(opened: Opened, project: Path) -> None:
    before = stored(project, candidates.count_kept)
    async with opened(project, (140, 45)) as (app, pilot):
        await pilot.press("4", "X", *"0.99", "enter", "A")
        await worked_out(pilot)
        await pilot.press("y")
        await worked_out(pilot)
        assert "is generating in this project" in toasts(app)
    assert stored(project, candidates.count_kept) == before


async def test_what_is_being_worked_out_can_be_stopped(
    opened: Opened, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def endless(*given: object, progress: Callable[[int, int], None], **rules: object) -> list[tuple[float, int]]:
        done = 0
        while not go_on:
            done += 1
            progress(done, 10**9)
            loop.call_soon_threadsafe(begun.set)
        return []

    monkeypatch.setattr(replays, "threshold_curve", endless)
    async with opened(project, (140, 45)) as (app, pilot):
        await pilot.press("4", "c")
        await begun.wait()
        await pilot.press("p")
        assert "being worked out already" in toasts(app)
        await pilot.press("escape")
        await worked_out(pilot)
        go_on.append(True)
        assert "Stopped; nothing was changed." in toasts(app)


async def test_read_only_looks_and_changes_nothing(opened: Opened, project: Path) -> None:
    before = stored(project, candidates.count_kept)
    async with opened(project, (140, 45), UiOptions(readonly=True)) as (app, pilot):
        await pilot.press("4")
        await choose(pilot, "banned_words")
        await pilot.press("enter", "x", "A", "u")
        await pilot.pause()
        assert "Read only" in toasts(app)
    assert stored(project, candidates.count_kept) == before
