"""What happens while nobody looks is told once, rings once where asked for, and can be read again."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from alpaca_tui.jobs import live
from alpaca_tui.store import database, jobs
from alpaca_tui.ui import reader
from alpaca_tui.ui.alerts import Alerts
from alpaca_tui.ui.glyphs import ASCII, UNICODE
from alpaca_tui.ui.messages import MOST, Messages
from alpaca_tui.ui.snapshot import DISK_LOW, Snapshot
from alpaca_tui.ui.widgets.lines import TextView

from .conftest import Opened, look, toasts
from .test_few_colours import COMMAND
from .test_terminal import Terminal, terminals  # noqa: F401  (a fixture)

RUNNING = 5


def beat(project: Path, age: float) -> None:
    live.write_json(live.live_dir(project, RUNNING) / "runner.json", {"at": time.time() - age})


def end(project: Path, state: str, reason: str | None = None) -> None:
    db = database.open_project(project)
    assert jobs.set_state(db, RUNNING, state, reason=reason, exit_code=0 if state == "succeeded" else 1)
    db.conn.close()


def seen(project: Path) -> Snapshot:
    db = database.open_project(project)
    try:
        return reader.read_snapshot(project, db)
    finally:
        db.conn.close()


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("succeeded", None, "Job 5 (generate) is done after"),
        ("failed", "the loss became nan at step 3; lower the learning rate", "the loss became nan at step 3"),
        ("failed", "CUDA out of memory; try --method qlora", "failed: CUDA out of memory; try --method qlora. 7 shows"),
        ("interrupted", "its runner is gone", "was interrupted: its runner is gone. 7 shows its log, R there goes on"),
        ("interrupted", "gone; resume it with: alpaca-tui jobs resume 5", "jobs resume 5. 7 shows its log."),
    ],
)
def test_a_jobs_end_is_told_once(project: Path, state: str, reason: str | None, said: str) -> None:
    beat(project, 0)
    alerts = Alerts()
    assert alerts.news(Snapshot("wool")) == []  # nothing is read yet
    assert alerts.news(seen(project)) == []  # what had ended before is no news
    end(project, state, reason)
    (alert,) = alerts.news(seen(project))
    assert said in alert.text and alert.severity == ("information" if state == "succeeded" else "error")
    assert alerts.news(seen(project)) == []


def test_a_stop_that_somebody_asked_for_rings_nothing(project: Path) -> None:
    alerts = Alerts()
    alerts.news(seen(project))
    end(project, "stopped", "as asked")
    assert alerts.news(seen(project)) == []


def test_a_silent_worker_is_told_again_only_after_it_was_heard(project: Path) -> None:
    beat(project, 0)
    alerts = Alerts()
    told = [alerts.news(seen(project))]
    for age in (30, 40, 0, 50):
        beat(project, age)
        told.append(alerts.news(seen(project)))
    assert [len(news) for news in told] == [0, 1, 0, 0, 1]
    assert "no sign of life for 15 s" in told[1][0].text


def test_a_low_disk_is_told_once_until_there_is_room_again(project: Path) -> None:
    alerts, snapshot = Alerts(), replace(seen(project), jobs=())
    counts = []
    for free in (9 * DISK_LOW, DISK_LOW - 1, DISK_LOW // 2, DISK_LOW + 1, DISK_LOW - 1, 2 * DISK_LOW, DISK_LOW - 1):
        news = alerts.news(replace(snapshot, machine=replace(snapshot.machine, disk_free=free)))
        counts.append(len(news))
    assert counts == [0, 1, 0, 0, 0, 0, 1]


async def test_toasts_can_be_read_again_newest_first(opened: Opened, project: Path) -> None:
    beat(project, 0)
    async with opened(project) as (app, pilot):
        await pilot.press("m")
        await pilot.pause()
        assert "Nothing has been said yet" in app.screen.query_one("#reading", TextView).text
        await pilot.press("m")
        app.say("first")
        app.say("twice", "warning")
        app.say("twice", "warning")
        end(project, "failed", "the [/loss] became \x1b[2Jnan")
        look(app)
        await pilot.pause()
        assert "the [/loss] became ␛[2Jnan" in toasts(app)
        app.clear_notifications()
        await pilot.press("colon", *"what was said")
        await app.workers.wait_for_complete()
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        text = app.screen.query_one("#reading", TextView).text
        heads = [line for line in text.split("\n") if line[2:3] == ":"]
        assert [head.split()[2] for head in heads] == ["error", "warning", "note"]
        assert "warning  ×2" in heads[1]
        assert text.index("␛[2Jnan") < text.index("twice") < text.index("first")


def test_messages_are_bounded_and_need_no_colour() -> None:
    messages = Messages()
    for number in range(2 * MOST):
        messages.keep(f"number {number}", ("information", "warning", "error")[number % 3], 0.0)
    lines = [line.plain for line in messages.paragraphs(UNICODE)]
    assert sum("number" in line for line in lines) == MOST and f"number {2 * MOST - 1}" in lines
    messages.keep("x" * 100_000, "error", 0.0)
    assert max(len(line.plain) for line in messages.paragraphs(UNICODE)) < 3000
    assert all(line.plain.isascii() for line in messages.paragraphs(ASCII))


@pytest.mark.parametrize(
    ("flags", "config", "rings"), [((), "", 0), (("--bell",), "", 1), ((), "[ui]\nbell = true", 1)]
)
def test_the_bell_rings_once_for_an_event_and_only_where_asked_for(
    project: Path, terminals: list[Terminal], flags: tuple[str, ...], config: str, rings: int  # noqa: F811
) -> None:  # fmt: skip
    (project / "config.toml").write_text(config)
    beat(project, -600)
    terminal = Terminal(project, COMMAND.format(flags), 120, 40)
    terminals.append(terminal)
    terminal.wait_for("kept 22/48")
    end(project, "failed", "the loss became nan at step 3")
    terminal.wait_for("the loss became nan at step 3. 7")
    terminal.read(1.0)
    terminal.child.send("q")
    assert terminal.end() == 0
    sequences = re.compile(rb"\x1b\][^\x07]*\x07")  # such as the pointer's shape; a BEL ends them
    assert sequences.sub(b"", terminal.bytes).count(b"\x07") == rings
