"""Reads what the Train screen needs beside the snapshot, in threads, with a connection that lives for one reading."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.ui import reader
from alpaca_tui.ui.curves import read_whole, read_window, spliced
from alpaca_tui.ui.run_facts import RunDetails
from alpaca_tui.ui.snapshot import Curve, JobView, TrainingView

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpaca_tui.ui.screens.train import TrainScreen

Window = tuple[float, float]
RunKey = tuple[int, int, str]
"""A run's id, attempt and state: what was read of an ended run stays true."""


class RunReader:
    """Keeps what it has read; every answer is what is known now, and the screen is drawn again when more is."""

    def __init__(self, screen: TrainScreen) -> None:
        self._screen = screen
        self._runs: dict[RunKey, dict[str, Curve]] = {}
        self._details: dict[int, RunDetails] = {}
        self._window: tuple[int, Window, dict[str, Curve]] | None = None

    def run(self, job: JobView) -> TrainingView:
        """A run's curves; empty ones until they are read."""
        return TrainingView(job, self._runs.get(_key(job), {}))

    def details(self, job: JobView | None) -> RunDetails:
        """Events and checkpoints of a run."""
        return RunDetails() if job is None else self._details.get(job.row.id, RunDetails())

    def refined(self, training: TrainingView, window: Window | None) -> TrainingView:
        """The run with finer curves in the window, where such are read."""
        if window is None or self._window is None or self._window[0] != training.job.row.id:
            return training
        part, found = self._window[1], self._window[2]
        if window[0] < part[0] or window[1] > part[1]:
            return training
        fine = {
            name: spliced(curve, found[name]) if name in found else curve for name, curve in training.curves.items()
        }
        return replace(training, curves=fine)

    def read_run(self, job: JobView) -> None:
        """Read the curves of a run, once for each state."""
        key = _key(job)
        if key in self._runs:
            return

        def act(db: Database) -> Callable[[], None]:
            curves = {name: read_whole(db, job.row.id, name) for name in reader.METRICS}
            return lambda: self._runs.update({key: curves})

        self._background(act, f"run-{job.row.id}")

    def read_window(self, job: JobView, window: Window) -> None:
        """Read the curves finer, a window's length further on both sides: panning then has them."""
        margin = window[1] - window[0]
        wide = (window[0] - margin, window[1] + margin)

        def act(db: Database) -> Callable[[], None]:
            found = {name: read_window(db, job.row.id, name, *wide) for name in reader.METRICS}

            def keep() -> None:
                self._window = (job.row.id, wide, {name: curve for name, curve in found.items() if curve.steps})

            return keep

        self._background(act, "window")

    def read_details(self, job: JobView) -> None:
        """Look at the events and checkpoints of a run."""
        project = self._screen.cockpit.project

        def act(db: Database) -> Callable[[], None]:
            from alpaca_tui.jobs import checkpoints
            from alpaca_tui.store import jobs, metrics

            details = RunDetails(
                tuple(jobs.events(db, job.row.id)),
                checkpoints.checkpoints(project, job.row.id),
                tuple(metrics.newest(db, job.row.id, reader.MEASURED).items()),
            )
            return lambda: self._details.update({job.row.id: details})

        self._background(act, "details")

    def _background(self, act: Callable[[Database], Callable[[], None]], group: str) -> None:
        screen = self._screen
        app = screen.cockpit

        def run() -> None:
            try:
                db = reader.connect(app.project, readonly=True)
            except AlpacaError:
                return  # the watcher says what is wrong with the project
            try:
                keep = act(db)
            except (sqlite3.Error, OSError):
                return
            finally:
                db.conn.close()
            app.call_from_thread(self._keep, keep)

        screen.run_worker(run, thread=True, group=group, exclusive=True, exit_on_error=False)

    def _keep(self, keep: Callable[[], None]) -> None:
        keep()
        if self._screen.is_mounted:
            self._screen.draw()


def _key(job: JobView) -> RunKey:
    return job.row.id, job.row.attempt, job.row.state
