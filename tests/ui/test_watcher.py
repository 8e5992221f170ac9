"""The watcher posts one message when something is new, and nothing when nothing is."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from alpaca_tui.jobs import live
from alpaca_tui.store import database, jobs, metrics
from alpaca_tui.ui import reader
from alpaca_tui.ui.app import CockpitApp
from alpaca_tui.ui.options import UiOptions
from alpaca_tui.ui.snapshot import Snapshot
from alpaca_tui.ui.watcher import SnapshotArrived, Watcher

from . import seeding
from .conftest import screen_text


class Watched:
    """A watcher that is asked to look, and what it posted."""

    def __init__(self, project: Path, *, readonly: bool = False) -> None:
        self.posted: list[Snapshot] = []
        options = UiOptions(readonly=readonly)
        self.watcher = Watcher(project, options, lambda message: self.posted.append(message.snapshot))
        self.db = reader.connect(project, readonly=readonly)
        self.watcher._reader = reader.StoreReader(self.db)

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.watcher.poke()  # do not wait for the rate limit
            self.watcher.look(self.db)


@pytest.fixture
def quiet(tmp_path: Path) -> Path:
    """A project where nothing runs."""
    made = seeding.Seeding(tmp_path / "quiet")
    made.calls(made.job("generate", seeding.GENERATE_SPEC))
    seeding.close(made.db)
    return made.project


def test_nothing_new_nothing_posted(quiet: Path) -> None:
    watched = Watched(quiet)
    watched.look()
    assert len(watched.posted) == 1 and watched.posted[0].facts.funnel.candidates > 20
    watched.watcher._next_machine = math.inf  # other programs fill the disk
    watched.look(20)
    assert len(watched.posted) == 1


def test_a_commit_of_another_process_is_news_once(quiet: Path) -> None:
    watched = Watched(quiet)
    watched.look()
    watched.watcher._next_machine = math.inf
    other = database.open_project(quiet)
    jobs.enqueue(other, "train", {"dataset": "x"})
    watched.look(5)
    news = watched.posted[1:]
    assert news[0].jobs[0].row.kind == "train"
    assert all(snapshot.facts == news[0].facts for snapshot in news)
    other.conn.close()


def test_live_text_arrives_while_a_job_runs_and_only_then(project: Path) -> None:
    watched = Watched(project)
    watched.look()
    before = len(watched.posted)
    slot = live.Slot("new instructions", "instruction", "written just now", 4)
    live.LiveWriter(project, 5).write(live.LiveSnapshot(time.time(), "writing", 0.9, slots=(slot,)), force=True)
    watched.look()
    assert len(watched.posted) == before + 1
    assert watched.posted[-1].job(5).slots == (slot,)  # type: ignore[union-attr]


def test_a_dead_runner_is_reconciled_but_not_in_read_only(project: Path) -> None:
    db = database.open_project(project)
    db.execute("UPDATE job_processes SET pid = 4000000, create_time = 1.0 WHERE job_id = 5")
    live.write_json(live.live_dir(project, 5) / "runner.json", {"at": 1.0})
    watcher = Watched(project, readonly=True)
    watcher.look(2)
    assert jobs.get(db, 5).state == "running"
    Watched(project).look(2)
    assert jobs.get(db, 5).state == "interrupted"
    db.conn.close()


def test_the_curve_is_read_on_from_where_it_was(project: Path) -> None:
    watched = Watched(project)
    watched.look()
    db = database.open_project(project)
    metrics.record(db, 2, 121, {"loss": 1.5})
    metrics.record(db, 2, 122, {"loss": math.nan})
    watched.look()
    curve = watched.posted[-1].training.curve("loss")  # type: ignore[union-attr]
    assert curve.steps == tuple(range(1, 123))
    assert curve.values[120] == 1.5 and math.isnan(curve.values[121])
    # A resumed run writes steps again that it had not saved.
    db.execute("UPDATE jobs SET attempt = 2 WHERE id = 2")
    metrics.record(db, 2, 121, {"loss": 1.25})
    watched.look()
    assert watched.posted[-1].training.curve("loss").values[120] == 1.25  # type: ignore[union-attr]
    db.conn.close()


def test_messages_that_wait_give_way_to_the_newest() -> None:
    one, two = SnapshotArrived(Snapshot("a")), SnapshotArrived(Snapshot("b"))
    assert two.can_replace(one)


async def test_the_running_app_is_told_and_an_idle_one_draws_nothing(quiet: Path) -> None:
    app = CockpitApp(quiet)
    drawn: list[object] = []
    async with app.run_test(size=(120, 40)) as pilot:
        while not app.snapshot.loaded or app.snapshot.machine.disk_free is None:
            await pilot.pause(0.05)
        await pilot.pause(0.3)
        app.watcher._next_machine = math.inf
        await pilot.pause(0.3)
        display = app._display
        app._display = lambda screen, renderable: (drawn.append(renderable), display(screen, renderable))[1]  # type: ignore
        await pilot.pause(1.5)
        assert drawn == []
        db = database.open_project(quiet)
        jobs.enqueue(db, "generate", seeding.GENERATE_SPEC)
        db.conn.close()
        while not app.snapshot.active:
            await pilot.pause(0.05)
        await pilot.pause(0.1)
        assert drawn and "G2 queued" in screen_text(app)


def test_a_missing_project_is_told_and_looked_for_again(tmp_path: Path) -> None:
    posted: list[Snapshot] = []
    watcher = Watcher(tmp_path, UiOptions(), lambda message: posted.append(message.snapshot))
    watcher.start()
    deadline = time.monotonic() + 30
    while not posted and time.monotonic() < deadline:
        time.sleep(0.02)
    assert posted and "holds no project" in (posted[0].problem or "")
    database.create_project(tmp_path).conn.close()
    while posted[-1].problem and time.monotonic() < deadline:
        time.sleep(0.02)
    watcher.stop()
    watcher.join(10)
    assert posted[-1].problem is None and posted[-1].loaded
