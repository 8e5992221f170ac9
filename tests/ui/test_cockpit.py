"""The cockpit's four panes show the project's true numbers at every size."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from alpaca_tui.store import database, overview, projects
from alpaca_tui.ui.options import UiOptions
from alpaca_tui.ui.snapshot import PoolLine
from alpaca_tui.ui.widgets import panes
from alpaca_tui.ui.widgets.panes import Pane

from .conftest import Opened, look, screen_text

SIZES = [((80, 24), 1), ((99, 30), 1), ((100, 30), 2), ((120, 40), 2), ((140, 40), 4), ((160, 50), 4), ((200, 50), 4)]


def seen(app) -> list[Pane]:
    return [pane for pane in app.screen.query(Pane) if pane.region.area]


@pytest.mark.parametrize(("size", "panes"), SIZES)
async def test_as_many_panes_as_fit_with_true_numbers(opened: Opened, filled: Path, size, panes) -> None:
    async with opened(filled, size) as (app, _):
        assert len(seen(app)) == panes
        text = screen_text(app)
        funnel = app.snapshot.facts.funnel
        # Whatever the size: the pool, the funnel and the loss are there, in a pane or in a line.
        assert "175" in text and str(funnel.kept) in text
        assert f"{funnel.candidates}" in text and f"{funnel.pending}" in text and f"{funnel.accepted}" in text
        assert "120/150" in text and "1.9" in text
        assert f"kept {app.snapshot.usable}/48" in text
        assert "134 tok/s" in text
        assert max(len(line) for line in text.split("\n")) <= size[0]


async def test_all_four_panes_in_full(opened: Opened, filled: Path) -> None:
    async with opened(filled, (200, 50)) as (app, _):
        text = screen_text(app)
        db = database.open_project(filled)
        funnel = overview.funnel(db)
        db.conn.close()
        bars = [line.split("│")[1] for line in text.split("\n") if "━" in line or "╸" in line]
        rows = {" ".join(bar.replace("╸", "━").split("━")[0].split()) for bar in bars}
        assert f"candidates {funnel.candidates}" in rows
        assert f"✗ novelty {funnel.rejected['novelty']}" in rows
        assert f"accepted {funnel.accepted}" in rows
        heads = re.findall(r"▸ (instruction|input first|output first|classification) \d+", text)
        assert len(heads) == 8  # one per sample in flight
        assert "9. Suggest three names for a small bakery" in text
        assert "smoothed" in text and "◆ held-out" in text


async def test_tab_reaches_every_pane_where_one_fits(opened: Opened, filled: Path) -> None:
    async with opened(filled, (80, 24)) as (app, pilot):
        visited = []
        for _ in range(4):
            await pilot.press("tab")
            await pilot.pause()
            (pane,) = seen(app)
            assert pane.has_focus
            visited.append(pane.id)
        assert sorted(visited) == ["funnel", "live", "loss", "seeds"]


async def test_enter_opens_the_screen_of_the_pane(opened: Opened, filled: Path) -> None:
    async with opened(filled, (200, 50)) as (app, pilot):
        for pane, screen in (("seeds", "seeds"), ("live", "jobs"), ("funnel", "filters"), ("loss", "train")):
            app.screen.query_one(f"#{pane}").focus()
            await pilot.press("enter")
            await pilot.pause()
            assert app.current_mode == screen
            await pilot.press("1")
            await pilot.pause()


async def test_zoom_shows_one_pane_and_back(opened: Opened, filled: Path) -> None:
    async with opened(filled, (200, 50)) as (app, pilot):
        await pilot.press("z")
        await pilot.pause()
        assert [pane.id for pane in seen(app)] == ["live"]
        assert seen(app)[0].size.width > 190
        await pilot.press("z")
        await pilot.pause()
        assert len(seen(app)) == 4


async def test_number_keys_and_a_tiny_terminal(opened: Opened, filled: Path) -> None:
    async with opened(filled, (80, 24)) as (app, pilot):
        for number, name in enumerate(("cockpit", "review", "seeds", "filters", "train", "evaluate", "jobs"), 1):
            await pilot.press(str(number))
            await pilot.pause()
            assert app.current_mode == name
            for size in ((1, 1), (20, 5), (80, 24)):
                await pilot.resize_terminal(*size)
                await pilot.pause()
        assert "Jobs" in screen_text(app)


async def test_a_new_project_says_what_to_do_on_every_screen(opened: Opened, tmp_path: Path) -> None:
    db, _ = projects.ensure(tmp_path / "new")
    db.conn.close()
    async with opened(tmp_path / "new", (140, 40)) as (app, pilot):
        assert "Press n to start a generation" in screen_text(app)
        hints = {"2": "starts a generation", "4": "Nothing has been generated", "5": "freezes the accepted",
                 "6": "scores models", "7": "Press 1, then n"}  # fmt: skip
        for key, hint in hints.items():
            await pilot.press(key)
            for _ in range(200):  # some read the store in a thread
                await pilot.pause(0.02)
                if hint in screen_text(app):
                    break
            assert hint in screen_text(app), key


async def test_a_problem_with_the_store_is_told(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "alpaca.db").write_bytes(b"this is no database" * 100)
    from alpaca_tui.ui.app import CockpitApp

    app = CockpitApp(tmp_path)
    async with app.run_test(size=(120, 30)) as pilot:
        while not app.snapshot.problem:
            await pilot.pause(0.05)
        await pilot.pause()
        assert "is not a SQLite database" in screen_text(app)


async def test_ascii_draws_no_box_and_no_braille(opened: Opened, filled: Path) -> None:
    async with opened(filled, (160, 50), UiOptions(ascii=True)) as (app, pilot):
        for key in "1234567":
            await pilot.press(key)
            await pilot.pause()
            text = screen_text(app)
            foreign = {c for c in text if not c.isascii()}
            assert foreign <= set("áóéüß¿’"), foreign  # letters of the samples


async def test_the_snapshot_of_an_active_job_is_drawn_and_its_silence_is_marked(opened: Opened, project: Path) -> None:
    from alpaca_tui.jobs import live

    live.write_json(live.live_dir(project, 5) / "runner.json", {"at": 0.0})
    async with opened(project, (120, 40)) as (app, _):
        look(app)
        assert "G5 ! " in screen_text(app).split("\n")[-2]


async def test_the_newest_instructions_move_every_few_seconds_while_text_streams_in(
    opened: Opened, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(panes, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    async with opened(filled, (120, 40)) as (app, pilot):

        async def show(label: str, *, streaming: bool = True) -> str:
            snapshot = app.snapshot
            facts = replace(snapshot.facts, newest=(PoolLine(label, "Name a river."), *snapshot.facts.newest))
            jobs = snapshot.jobs if streaming else tuple(replace(job, live=()) for job in snapshot.jobs)
            app.show_snapshot(replace(snapshot, facts=facts, jobs=jobs))
            await pilot.pause()
            return screen_text(app)

        await show("7001")
        clock[0] += panes.NEWEST_EVERY_S
        assert "7002 Name" in await show("7002")
        assert "7003 Name" not in await show("7003")
        clock[0] += panes.NEWEST_EVERY_S
        assert "7004 Name" in await show("7004")
        assert "7005 Name" in await show("7005", streaming=False)
