"""Seeds, filters, train, evaluate and jobs: true contents, and every action reaches the store."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from alpaca_tui.jobs import logs
from alpaca_tui.jobs.specs import GenerateSpec
from alpaca_tui.store import database, datasets, decisions, jobs
from alpaca_tui.ui.options import UiOptions
from alpaca_tui.ui.screens.dialogs import Choice
from alpaca_tui.ui.widgets.lines import TextView
from alpaca_tui.ui.widgets.paged import PagedList

from .conftest import Opened, screen_text, toasts


async def test_seeds_are_listed_searched_and_shown_in_full(opened: Opened, filled: Path) -> None:
    async with opened(filled) as (app, pilot):
        await pilot.press("3")
        await pilot.pause()
        assert app.screen.query_one(PagedList).count == 175
        assert "Harden this deployment script" in screen_text(app)
        assert "BUILD_DIR must be set" in app.screen.query_one("#seed-task", TextView).text
        await pilot.press("G")
        await pilot.pause()
        assert app.screen.query_one(PagedList).cursor == 174
        await pilot.press("slash", *"register")
        await pilot.pause()
        found = app.screen.query_one(PagedList)
        assert 0 < found.count < 20 and "egister" in screen_text(app)
        await pilot.press("enter", "escape")
        await pilot.pause()
        assert found.count == 175


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_train_shows_curve_run_and_data_sets(opened: Opened, filled: Path, size: tuple[int, int]) -> None:
    async with opened(filled, size) as (app, pilot):
        await pilot.press("5")
        await pilot.pause()
        text = screen_text(app)
        assert "step 120/150" in text and "held-out 2.1" in text and "lr 6.0e-05" in text
        assert "RUN 2" in text and "succeeded" in text and "smollm2-135m" in text
        if size[1] > 30:
            assert "DATA SETS" in text and "4 + 2 held out" in text and "gradient norm" in text


async def test_freezing_a_data_set(opened: Opened, project: Path) -> None:
    async with opened(project) as (app, pilot):
        await pilot.press("5", "f")
        await pilot.pause()
        app.screen.query_one("#field-name", Input).value = "first"
        await pilot.press("enter")
        await pilot.pause()
        assert "exists already" in screen_text(app)  # the form stays, with the reason
        app.screen.query_one("#field-name", Input).value = "second"
        await pilot.press("enter")
        await pilot.pause()
        db = database.open_project(project)
        frozen = datasets.get(db, "second")
        db.conn.close()
        assert frozen.card["examples"] == 6
        assert "Frozen: second" in toasts(app)


async def test_nothing_accepted_nothing_to_freeze(opened: Opened, tmp_path: Path) -> None:
    from alpaca_tui.store import projects

    projects.ensure(tmp_path / "new")[0].conn.close()
    async with opened(tmp_path / "new") as (app, pilot):
        await pilot.press("5", "f", "n")
        await pilot.pause()
        assert "Nothing is accepted yet" in toasts(app) and "no data set yet" in toasts(app)
        assert len(app.screen_stack) == 1


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_evaluations_side_by_side(opened: Opened, filled: Path, size: tuple[int, int]) -> None:
    async with opened(filled, size) as (app, pilot):
        await pilot.press("6")
        await pilot.pause()
        text = screen_text(app)
        assert "2.730 ✓" in text and "0.127 ✓" in text and "3.108" in text
        assert "Held-out task 1 of 2" in text
        everything = "\n".join(view.text for view in app.screen.query(TextView))
        assert "smollm2-135m says:" in everything and "job:2 says:" in everything
        await pilot.press("right")
        await pilot.pause()
        assert "Held-out task 2 of 2" in screen_text(app)


async def test_jobs_are_listed_with_state_reason_and_heartbeat(opened: Opened, filled: Path) -> None:
    async with opened(filled, (140, 40)) as (app, pilot):
        await pilot.press("7")
        await pilot.pause()
        text = screen_text(app)
        assert "● running" in text and "62 %" in text and "heartbeat" in text
        assert "✗ interrupted" in text and "its runner (process 4242) is gone" in text
        assert text.count("✓ succeeded") == 3


async def test_the_log_is_followed(opened: Opened, project: Path) -> None:
    log = logs.log_path(project, 5)
    log.write_bytes(b"one\nstep 1/3\rstep 2/3\rstep 3/3\n\x1b[31mred\x1b[0m\n")
    async with opened(project) as (app, pilot):
        await pilot.press("7")
        await pilot.pause()
        app.screen._follow_log()
        view = app.screen.query_one("#job-log", TextView)
        assert view.text.split("\n") == ["one", "step 3/3", "red"]
        with log.open("ab") as file:
            file.write(b"".join(b"line %d\n" % i for i in range(5000)))
        app.screen._follow_log()
        await pilot.pause()
        assert view.text.endswith("line 4999") and len(view.text.split("\n")) <= 400
        assert "line 4999" in screen_text(app)
        await pilot.press("o")
        await pilot.pause()
        assert "running" in view.text and "Story of job 5" in screen_text(app)


async def test_stopping_asks_first(opened: Opened, project: Path) -> None:
    def state() -> str:
        db = database.open_project(project)
        try:
            return jobs.get(db, 5).state
        finally:
            db.conn.close()

    async with opened(project) as (app, pilot):
        await pilot.press("7", "S")
        await pilot.pause()
        assert "Stop job 5 (generate)?" in screen_text(app)
        await pilot.press("n")
        await pilot.pause()
        assert state() == "running"
        await pilot.press("S")
        await pilot.pause()
        await pilot.press("y")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert state() == "stopping"
        await pilot.press("down", "down", "R")
        await pilot.pause()
        assert "only stopped, failed or interrupted jobs" in toasts(app)


async def test_the_form_keeps_what_is_wrong_with_the_reason(opened: Opened, project: Path) -> None:
    async with opened(project) as (app, pilot):
        await pilot.press("n")
        await pilot.pause()
        values = app.screen.values
        assert values == {
            "target": "48", "model": "smollm2-135m", "recipe": "self-instruct", "seed": "3", "threshold": "0.7",
        }  # fmt: skip
        for target, said in (("many", "must be a whole number"), ("3", "are there already"), ("0", "1 or more")):
            app.screen.query_one("#field-target", Input).value = target
            await pilot.press("enter")
            await pilot.pause()
            assert said in screen_text(app), target
        app.screen.query_one("#field-target", Input).value = "60"
        app.screen.query_one("#field-model", Input).value = "/no/such/model"
        await pilot.press("enter")
        await pilot.pause()
        assert "/no/such/model" in str(app.screen.query_one("#error").render())
        await pilot.press("escape")
        await pilot.pause()
    db = database.open_project(project)
    assert len(jobs.all_jobs(db)) == 5  # nothing was started
    db.conn.close()


async def test_a_generation_from_the_cockpit_obeys_the_config_and_completes_what_was_rescued_at_any_target(
    opened: Opened, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "[generate.options]\nhuman = 4\nmachine = 4\n"
    config = f"[generate]\nbatch = 3\noutput_model = 'openai:m@http://127.0.0.1:1/v1'\n{options}"
    (project / "config.toml").write_text(config)
    db = database.open_project(project)
    (lost,) = db.execute("SELECT id FROM candidates WHERE stage = 'rejected' LIMIT 1").fetchone()
    decisions.rescue(db, candidate_ids=[lost])
    db.conn.close()
    async with opened(project) as (app, pilot):
        asked: list[GenerateSpec] = []
        monkeypatch.setattr(app.work, "submit", lambda kind, spec, name: asked.append(spec))
        await pilot.press("n")
        await pilot.pause()
        assert "rescued or flipped" in screen_text(app)
        app.screen.query_one("#field-target", Input).value = "3"
        await pilot.press("enter")
        await pilot.pause()
    (spec,) = asked
    assert (spec.target, spec.batch, spec.output_model) == (3, 3, "openai:m@http://127.0.0.1:1/v1")
    assert (spec.options.human, spec.options.machine) == (4, 4)


async def test_a_choice_is_changed_by_keys(opened: Opened, project: Path) -> None:
    async with opened(project) as (app, pilot):
        await pilot.press("5", "n")
        await pilot.pause()
        method = app.screen.query_one("#field-method", Choice)
        method.focus()
        before = method.value
        await pilot.press("right")
        assert method.value != before
        await pilot.press("left")
        assert method.value == before


@pytest.mark.parametrize(
    ("keys", "shown", "hidden"),
    [
        ("2", "#card", "#why"), ("3", "#seed-list", "#seed-task"), ("4", "#funnel-list", "#reject-list"),
        ("6", "#task", "#output-1"), ("6b", "#blind-task", "#blind-left"), ("7", "#job-list", "#job-log"),
    ],
)  # fmt: skip
async def test_z_shows_the_pane_in_focus_alone_and_all_again(
    opened: Opened, project: Path, keys: str, shown: str, hidden: str
) -> None:
    async with opened(project, (140, 40)) as (app, pilot):
        await pilot.press(*keys)
        await pilot.pause()
        before = app.screen.query_one(shown).region.area
        await pilot.press("z")
        await pilot.pause()
        assert app.screen.query_one(shown).region.area >= before and not app.screen.query_one(hidden).region.area
        await pilot.press("tab")  # nothing that is out of sight takes the focus
        assert app.screen.focused is not None and app.screen.focused.region.area
        await pilot.press("z")
        await pilot.pause()
        assert app.screen.query_one(hidden).region.area


async def test_a_zoomed_pane_is_zoomed_at_the_next_start(opened: Opened, project: Path) -> None:
    keep = UiOptions(restore=True)
    async with opened(project, (140, 40), keep) as (app, pilot):
        await pilot.press("7", "tab", "z")
        await pilot.pause()
        await pilot.press("q")
    async with opened(project, (140, 40), keep) as (app, pilot):
        await pilot.pause()
        assert not app.screen.query_one("#job-list").region.area
        assert app.screen.query_one("#job-log").region.height > 25
