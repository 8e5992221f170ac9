"""The Train screen: looking at curves by keys and mouse, plan against reality, checkpoints, events."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events

from alpaca_tui.jobs.live import run_dir
from alpaca_tui.store import database, jobs, metrics
from alpaca_tui.ui.screens.train import TrainScreen
from alpaca_tui.ui.widgets.chart import LossChart
from alpaca_tui.ui.widgets.lines import TextView

from . import seeding
from .conftest import Opened, look, screen_text

GIB = 2**30


def second_run(project: Path) -> None:
    """Another fine-tune, with a plan, a probe, checkpoints and events."""
    made = seeding.Seeding(project)
    spec = {"dataset": "first", "model": "smollm2-135m", "method": "full", "overrides": {"max_steps": 200}}
    job = made.job("train", spec, "running")
    made.losses(job, 80)
    metrics.record(made.db, job, 0, {"probe_peak_bytes": 3.3 * GIB, "probe_planned_bytes": 3.0 * GIB})
    jobs.set_result(made.db, job, {"plan": {"bytes_per_gpu": {"weights": GIB, "total": 4 * GIB}}, "method": "full"})
    jobs.event(made.db, job, "state", "failed: the loss is not a number at step 80; nothing was saved as good")
    whole = run_dir(project, job) / "output" / "checkpoint-40"
    whole.mkdir(parents=True)
    (whole / "model.safetensors").write_bytes(b"x" * 1000)
    (whole / "manifest.json").write_text(
        '{"facts": {}, "files": {"model.safetensors": {"bytes": 1000, "sha256": "0"}}}'
    )
    torn = run_dir(project, job) / "output" / "checkpoint-80"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"x" * 10)
    seeding.close(made.db)


@pytest.fixture
def two_runs(project: Path) -> Path:
    second_run(project)
    return project


async def settle(app, pilot) -> None:
    """Let what is read in threads arrive."""
    await app.workers.wait_for_complete()
    await pilot.pause()


async def test_plan_against_reality_checkpoints_and_events(opened: Opened, two_runs: Path) -> None:
    async with opened(two_runs, (140, 46)) as (app, pilot):
        await pilot.press("5")
        await pilot.pause()
        await settle(app, pilot)
        text = app.screen.query_one("#train-facts", TextView).text
        assert "auto" not in text and "1.10 of the plan: as planned" in text
        assert "3.5 GB" in text and "3.2 GB" in text and "weights 1.1 GB" in text
        assert "torn" in text and "no manifest: not written" in text
        assert "whole" in text and "step 40" in text
        said = text.replace("\n  ", " ")
        assert "failed: the loss is not a number" in said and "nothing was saved as good" in said


async def test_the_curves_are_explored_by_keys(opened: Opened, two_runs: Path) -> None:
    async with opened(two_runs, (140, 46)) as (app, pilot):
        await pilot.press("5")
        await settle(app, pilot)
        screen = app.screen
        assert isinstance(screen, TrainScreen)
        await pilot.press("right", "right", "right")
        assert screen.look.cursor == 5 and "at 5" in screen_text(app)
        db = database.open_project(two_runs)
        raw = metrics.series(db, screen.job.row.id, "loss").values[4]
        db.conn.close()
        assert f"raw {raw:.3f}" in screen_text(app)
        await pilot.press("plus", "plus")
        first, last = screen.look.window
        assert first <= 5 <= last and last - first == pytest.approx(199 / 1.6**2)
        await pilot.press("L", "y", "s")
        assert screen.look.window[0] > first and screen.look.log and screen.look.smoothing == 0.97
        assert "log axis" in screen_text(app) and "smoothed 0.97" in screen_text(app)
        await pilot.press("0")
        assert screen.look.window is None and screen.look.cursor is None


async def test_two_runs_lie_over_each_other_and_are_named(opened: Opened, two_runs: Path) -> None:
    async with opened(two_runs, (140, 46)) as (app, pilot):
        await pilot.press("5")
        await settle(app, pilot)
        newest = app.screen.job.row.id
        await pilot.press("v")
        await settle(app, pilot)
        chart = "\n".join(app.screen.query_one(LossChart).shown)
        assert "A job 2" in chart and chart.count("A") > 2
        await pilot.press("v", "o")
        await settle(app, pilot)
        assert app.screen.job.row.id != newest and "RUN 2" in screen_text(app)
        assert "120/150" in screen_text(app), "the older run's curves are read too"


async def test_the_wheel_and_a_click_do_what_keys_do(opened: Opened, two_runs: Path) -> None:
    async with opened(two_runs, (140, 46)) as (app, pilot):
        await pilot.press("5")
        await settle(app, pilot)
        chart = app.screen.query_one(LossChart)
        await pilot.click(LossChart, offset=(10 + chart.columns // 2, 6))
        assert app.screen.look.cursor == pytest.approx(100, abs=4)
        await pilot._post_mouse_events([events.MouseScrollUp], LossChart, (60, 6), button=0)
        await pilot.pause()
        assert app.screen.look.window is not None


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (140, 40), (200, 50)])
async def test_every_size_shows_curve_and_run(opened: Opened, two_runs: Path, size: tuple[int, int]) -> None:
    async with opened(two_runs, size) as (app, pilot):
        await pilot.press("5")
        await settle(app, pilot)
        text = screen_text(app)
        assert "step 80/200" in text and "smoothed" in text and "RUN" in text
        look(app)
        await pilot.press("z")
        assert "RUN 6" not in screen_text(app) and "smoothed" in screen_text(app)
