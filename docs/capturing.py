"""What the screenshots, the tour and the goldens share: a project, a stopped clock, and the screen as text.

The project of the goldens is filled by ``tests/ui/seeding.py`` through the store's own functions and judged by the real
rules; no model wrote its texts. The clock stands still, the time zone is UTC and the machine's gauges are given, so
that every machine draws the same cells.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from unittest import mock

from rich.segment import Segment
from rich.style import Style
from textual.pilot import Pilot

from alpaca_tui.jobs import live, spawn
from alpaca_tui.jobs.specs import GenerateSpec
from alpaca_tui.store import comparisons, database, evaluations, jobs, samples
from alpaca_tui.ui import reader
from alpaca_tui.ui.app import CockpitApp
from alpaca_tui.ui.options import UiOptions
from alpaca_tui.ui.screens.review import ReviewScreen
from alpaca_tui.ui.snapshot import Machine

NOW = 1_790_000_000.0
"""The stopped clock: 2026-09-21 14:13:20 UTC."""
WARM_UP_S = 300.0
"""How long a generation may take to have something to show."""
FEWEST_PENDING = 12
MACHINE = Machine((), 212_000_000_000, 61, 5_400_000_000, 16_000_000_000)
"""The gauges of the pictures: no GPU."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: its size in cells, and the keys that lead to it."""

    name: str
    size: tuple[int, int]
    keys: tuple[str, ...] = ()
    theme: str = "alpaca-night"
    sample: str = ""
    """Show the sample whose instruction begins like this."""


@contextmanager
def stopped() -> Iterator[None]:
    """The clock at ``NOW``, in UTC, on a terminal without a say of its own."""
    with mock.patch.dict(os.environ, {"TZ": "UTC", "COLORTERM": "truecolor", "TERM": "xterm-256color"}):
        for name in ("NO_COLOR", "TEXTUAL_THEME", "TEXTUAL_ANIMATIONS"):
            os.environ.pop(name, None)
        time.tzset()
        with mock.patch("time.time", lambda: NOW), mock.patch.object(reader, "machine", lambda _: MACHINE):
            yield
    time.tzset()


def fill(project: Path) -> None:
    """Make the project of the pictures."""
    tests = str(Path(__file__).resolve().parent.parent / "tests")
    if tests not in sys.path:
        sys.path.insert(0, tests)
    from ui import seeding

    made = seeding.fill(project)
    # Every two evaluations of a suite, so that the blind comparison has the same sides each time.
    for one, other in combinations(evaluations.all_evaluations(made.db), 2):
        if one.suite_id == other.suite_id:
            comparisons.open_comparison(made.db, one, other, seed=7)
    seeding.close(made.db)


@contextmanager
def generating(project: Path) -> Iterator[None]:
    """The project while it generates again: text is in flight, and there is something to review."""
    db = database.open_project(project)
    try:
        pending, accepted = (samples.counts(db)[state] for state in ("pending", "accepted"))
        spec = GenerateSpec(target=pending + accepted + 44, seed=len(jobs.all_jobs(db)))
        job_id = spawn.submit(db, project, "generate", spec)
        end = time.monotonic() + WARM_UP_S
        while samples.counts(db)["pending"] < FEWEST_PENDING or not _writing(project, job_id):
            if time.monotonic() > end:
                raise SystemExit(f"job {job_id} made too little in {WARM_UP_S:.0f} s; see its log")
            time.sleep(0.5)
        try:
            yield
        finally:
            spawn.stop(db, project, job_id)
    finally:
        db.conn.close()


def _writing(project: Path, job_id: int) -> bool:
    found = live.read_live(project, job_id)
    return bool(found) and sum(len(slot.text) >= 60 for slot in found[0].slots) >= 6


def copied(project: Path, to: Path) -> None:
    """The project without its models: the database as it is at this moment, and what its jobs show."""
    to.mkdir(parents=True)
    source, target = sqlite3.connect(project / "alpaca.db"), sqlite3.connect(to / "alpaca.db")
    with closing(source), closing(target):
        source.backup(target)
    for name in ("live", "log"):
        for path in (project / "runs").glob(f"*/{name}"):
            place = to / path.relative_to(project)
            place.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if path.is_dir() else shutil.copy)(path, place)


async def lead(app: CockpitApp, pilot: Pilot[None], project: Path, shot: Shot) -> None:
    """Press the shot's keys on the snapshot of the project."""
    db = database.open_project(project)
    try:
        app.show_snapshot(reader.read_snapshot(project, db))
        await pilot.pause()
        for key in shot.keys:
            await pilot.press(key)
            await app.workers.wait_for_complete()
            await pilot.pause()
        if shot.sample:
            found = [row.id for row in samples.page(db, limit=10_000) if row.instruction.startswith(shot.sample)]
            if found and isinstance(app.screen, ReviewScreen):
                app.screen.show_sample(found[0])
                await pilot.pause()
    finally:
        db.conn.close()


async def capture(project: Path, shot: Shot) -> list[list[Segment]]:
    """The screen's rows, as they go to the terminal."""
    app = CockpitApp(project, UiOptions(theme=shot.theme), watch=False)
    async with app.run_test(size=shot.size) as pilot:
        await lead(app, pilot, project, shot)
        strips = app.screen._compositor.render_strips()
        return [[s for s in strip if not s.control] for strip in strips]


def plain(rows: Sequence[Sequence[Segment]]) -> str:
    """The text of the rows, without blanks at the ends."""
    return "\n".join("".join(s.text for s in row).rstrip() for row in rows)


def readable(rows: Sequence[Sequence[Segment]]) -> str:
    """The text, then each row's styles as ``column+width style``: a difference is legible in a plain diff."""
    styles = []
    for number, row in enumerate(rows):
        runs: list[tuple[int, int, str]] = []
        column = 0
        for segment in row:
            name, width = _style(segment.style), segment.cell_length
            if runs and runs[-1][2] == name:
                runs[-1] = (runs[-1][0], runs[-1][1] + width, name)
            else:
                runs.append((column, width, name))
            column += width
        styles.append(f"{number:>3}  " + "; ".join(f"{at}+{width} {name}" for at, width, name in runs))
    return plain(rows) + "\n--- styles\n" + "\n".join(styles) + "\n"


def _style(style: Style | None) -> str:
    if style is None:
        return "none"
    return str(Style.from_color(style.color, style.bgcolor)) + "".join(
        f" {name}" for name in ("bold", "dim", "italic", "underline", "reverse", "strike") if getattr(style, name)
    )
