"""The cockpit goes on where it was left: screen, lists, queries, curves, theme; no file keeps it from starting."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from alpaca_tui.store import database, decisions
from alpaca_tui.ui.app import CockpitApp
from alpaca_tui.ui.options import UiOptions
from alpaca_tui.ui.session import FILE
from alpaca_tui.ui.widgets.paged import PagedList

from .conftest import Opened, screen_text, toasts
from .test_few_colours import COMMAND
from .test_terminal import Terminal, terminals  # noqa: F401  (a fixture)

KEEP = UiOptions(restore=True)


def left(project: Path) -> Path:
    return project / "runs" / FILE


def timeless(app: CockpitApp) -> str:
    """The screen without the ages that grow meanwhile, and the blanks that give way to them."""
    return re.sub(r" +", " ", re.sub(r"\d+ ?s\b", "N s", screen_text(app)))


async def leave(opened: Opened, project: Path, *keys: str) -> None:
    """Press the keys, then quit."""
    async with opened(project, options=KEEP) as (app, pilot):
        for key in keys:
            await pilot.press(key)
            await app.workers.wait_for_complete()
            await pilot.pause()
        await pilot.press("q")


async def test_the_first_start_is_the_cockpit_and_leaves_a_private_file(opened: Opened, project: Path) -> None:
    async with opened(project, options=KEEP) as (app, pilot):
        assert app.current_mode == "cockpit" and not toasts(app)
        await pilot.press("q")
    assert left(project).stat().st_mode & 0o777 == 0o600
    assert [p.name for p in left(project).parent.glob("cockpit*")] == [FILE]


async def test_review_goes_on_at_its_card(opened: Opened, project: Path) -> None:
    await leave(opened, project, "2", "slash", *"in>2", "enter", "S", "s", "s")
    async with opened(project, options=KEEP) as (app, pilot):
        await pilot.pause()
        assert app.current_mode == "review"
        shown = screen_text(app)
        seen = json.loads(left(project).read_text())["places"]["review"]
        assert f"#{seen['sample']}" in shown and "newest first" in shown and "in>2" in shown
        await pilot.press("1", "2")  # leaving the screen keeps the place, too
        await pilot.pause()
        assert f"#{seen['sample']}" in screen_text(app)


async def test_a_card_that_was_judged_meanwhile_gives_way_to_the_next(opened: Opened, project: Path) -> None:
    await leave(opened, project, "2", "s", "s")
    sample = json.loads(left(project).read_text())["places"]["review"]["sample"]
    db = database.open_project(project)
    decisions.decide(db, "accept", [sample])
    following = next(r["id"] for r in db.query("SELECT id FROM samples WHERE state = 'pending' AND id > ?", [sample]))
    db.conn.close()
    async with opened(project, options=KEEP) as (app, pilot):
        await pilot.pause()
        assert app.screen._card.row.id == following  # type: ignore[attr-defined]


async def test_every_other_screen_goes_on_where_it_was(opened: Opened, project: Path) -> None:
    size = (140, 40)
    async with opened(project, size, options=KEEP) as (app, pilot):
        for keys in (
            ("1", "l", "l", "z"),
            ("3", "slash", *"status:on kind:classification", "enter", "o", "j", "j"),
            ("4", "l", "l", "f", "tab", "j", "j"),
            ("5", "plus", "right", "y", "s", "z"),
            ("6", "d", "right"),
            ("7", "j", "j", "o"),
            ("1",),
        ):
            for key in keys:
                await pilot.press({" ": "space", ":": "colon"}.get(key, key))
            await app.workers.wait_for_complete()
            await pilot.pause()
        before = {}
        for number in "1234567":
            await pilot.press(number)
            await app.workers.wait_for_complete()
            await pilot.pause()
            before[number] = (timeless(app), app.screen.focused and app.screen.focused.id)
        await pilot.press("q")
    async with opened(project, size, options=KEEP) as (app, pilot):
        assert app.current_mode == "jobs"
        for number in "1234567":
            await pilot.press(number)
            await app.workers.wait_for_complete()
            await pilot.pause()
            app.clear_notifications()
            await pilot.pause()
            text, focused = before[number]
            if number != "5":
                assert timeless(app) == text, number
            assert (app.screen.focused and app.screen.focused.id) == focused, number
        await pilot.press("5")
        await pilot.pause()
        look = app.screen.look  # type: ignore[attr-defined]
        assert look.window is not None and look.cursor is not None and look.log and look.smoothing == 0.97
        assert app.screen._zoomed  # type: ignore[attr-defined]


async def test_a_reject_is_found_again_though_newer_ones_came(opened: Opened, project: Path) -> None:
    await leave(opened, project, "4", "tab", "j", "j", "j")
    place = json.loads(left(project).read_text())["places"]["filters"]
    db = database.open_project(project)
    made = next(db.query("SELECT id, completion_id FROM candidates WHERE stage = 'rejected' AND id = ?", [place["id"]]))
    place["row"] -= 2  # as if two newer ones lay above it now
    db.conn.close()
    value = json.loads(left(project).read_text())
    value["places"]["filters"] = place
    left(project).write_text(json.dumps(value))
    async with opened(project, options=KEEP) as (app, pilot):
        await pilot.pause()
        assert app.screen.query_one("#reject-list", PagedList).current.id == made["id"]


async def test_a_theme_chosen_by_key_lasts_until_the_configured_one_changes(opened: Opened, project: Path) -> None:
    await leave(opened, project, "T")
    chosen = json.loads(left(project).read_text())["theme"]
    async with opened(project, options=KEEP) as (app, _):
        assert app.theme == chosen != "alpaca-night"
    (project / "config.toml").write_text('[ui]\ntheme = "alpaca-clear"\n')
    async with opened(project, options=KEEP) as (app, _):
        assert app.theme == "alpaca-clear"


@pytest.mark.parametrize("options", [UiOptions(restore=True, fresh=True), UiOptions(), UiOptions(True, readonly=True)])
async def test_a_fresh_start_and_a_watching_one_begin_at_the_cockpit(
    opened: Opened, project: Path, options: UiOptions
) -> None:
    await leave(opened, project, "7")
    before = left(project).read_bytes()
    async with opened(project, options=options) as (app, pilot):
        assert app.current_mode == "cockpit"
        await pilot.press("3", "q")
    written = json.loads(left(project).read_text())["screen"]
    assert written == "seeds" if options.fresh else left(project).read_bytes() == before


TORN: list[Any] = [
    b"",
    b"{",
    b"[1, 2]",
    b"\xff\xfe\x00",
    b'{"version": 2, "places": {}}',
    b'{"version": 1, "places": [1]}',
    b"[" * 60_000,
    b" " * 70_000 + b"{}",
]


@pytest.mark.parametrize("content", TORN, ids=range(len(TORN)))
async def test_a_broken_file_is_told_once_and_passed_over(opened: Opened, project: Path, content: bytes) -> None:
    left(project).write_bytes(content)
    async with opened(project, options=KEEP) as (app, pilot):
        await pilot.pause()
        assert app.current_mode == "cockpit"
        assert toasts(app).count("could not be read") == 1 and "Nothing is lost" in toasts(app)
        await pilot.press("2", "q")
    async with opened(project, options=KEEP) as (app, _):
        assert app.current_mode == "review" and "could not be read" not in toasts(app)


WRONG: tuple[Any, ...] = (None, True, -1, 10**30, 1.5, "no[/such]\x1b[2J", [], ["x"], [1, float("nan")], {"a": 1})


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
async def test_values_that_make_no_sense_are_passed_over(opened: Opened, project: Path, wrong: Any) -> None:
    names = ("query", "order", "sample", "seed", "row", "kind", "id", "x", "run", "of", "window", "cursor", "log")
    names += ("smoothing", "overlay", "zoomed", "pair", "task", "job", "story", "pane", "focus")
    places = {name: dict.fromkeys(names, wrong) for name in ("cockpit", "review", "seeds", "filters", "train")}
    places |= {name: dict.fromkeys(names, wrong) for name in ("evaluate", "jobs")} | {"jobs!": wrong}
    left(project).write_text(json.dumps({"version": 1, "screen": wrong, "theme": wrong, "places": places}))
    async with opened(project, options=KEEP) as (app, pilot):
        for number in "1234567":
            await pilot.press(number)
            await app.workers.wait_for_complete()
            await pilot.pause()
        assert app.is_running
        await pilot.press("q")
    assert app.return_code == 0


async def test_where_it_cannot_be_written_nothing_is_said(opened: Opened, project: Path) -> None:
    target = project / "elsewhere"
    target.write_text("untouched")
    temporary = left(project).with_suffix(f".{os.getpid()}.tmp")
    temporary.symlink_to(target)  # as somebody would who wants another file overwritten
    async with opened(project, options=KEEP) as (app, pilot):
        await pilot.press("2", "q")
    assert app.return_code == 0 and target.read_text() == "untouched"


async def test_the_way_is_kept_while_it_runs(project: Path) -> None:
    """What a SIGKILL can lose is the last few seconds: saving does not wait for the end."""
    app = CockpitApp(project, KEEP, watch=False)
    async with app.run_test() as pilot:
        await pilot.press("7")
        await pilot.pause()
        app.save_session()
        assert json.loads(left(project).read_text())["screen"] == "jobs"
        before = left(project).stat().st_mtime_ns
        app.save_session()
        assert left(project).stat().st_mtime_ns == before  # unchanged, so unwritten


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_the_command_goes_on_where_a_lost_terminal_left_it(
    project: Path, terminals: list[Terminal], number: signal.Signals  # noqa: F811
) -> None:  # fmt: skip
    def started(*flags: str) -> Terminal:
        terminals.append(Terminal(project, COMMAND.format(flags), 120, 40))
        return terminals[-1]

    terminal = started()
    terminal.wait_for("kept 22/48")
    terminal.child.send("7")
    terminal.wait_for("Log of job 5")
    while number == signal.SIGKILL and not (left(project).exists() and b'"jobs"' in left(project).read_bytes()):
        terminal.read(0.1)
    terminal.child.kill(number)
    terminal.end()
    again = started()
    again.wait_for("Log of job 5")
    again.child.send("q")
    assert again.end() == 0
    fresh = started("--fresh")
    fresh.wait_for("Live generation")
    fresh.child.send("q")
    assert fresh.end() == 0
