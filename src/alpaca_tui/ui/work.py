"""Starting, stopping and resuming jobs from the cockpit, off the event loop."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from alpaca_tui.core.errors import AlpacaError

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpaca_tui.jobs.specs import Spec
    from alpaca_tui.ui.app import CockpitApp


class Work:
    """What the screens ask for; each call returns at once and says later how it went."""

    def __init__(self, app: CockpitApp) -> None:
        self._app = app

    def _background(self, act: Callable[[Database], str], doing: str) -> None:
        """Run ``act`` in a thread with a connection of its own; say what it returns, or what went wrong."""
        app = self._app
        app.say(doing)

        def run() -> None:
            from alpaca_tui.store import database

            try:
                db = database.open_project(app.project)
                try:
                    said, severity = act(db), "information"
                finally:
                    db.conn.close()
            except (AlpacaError, sqlite3.Error, OSError) as error:
                said, severity = str(error), "error"
            app.call_from_thread(app.say, said, severity)
            app.watcher.poke()

        app.run_worker(run, thread=True, group="work", exit_on_error=False)

    def submit(self, kind: str, spec: Spec, name: str) -> None:
        """Enqueue the job and start it."""

        def act(db: Database) -> str:
            from alpaca_tui.jobs import spawn

            job_id = spawn.submit(db, self._app.project, kind, spec)
            return f"{name} has started as job {job_id}. It goes on when the cockpit is closed."

        self._background(act, f"Starting: {name.lower()}")

    def stop(self, job_id: int) -> None:
        """Ask the job to stop."""

        def act(db: Database) -> str:
            from alpaca_tui.jobs import spawn

            job = spawn.stop(db, self._app.project, job_id)
            return f"Job {job_id} is {job.state}."

        self._background(act, f"Asking job {job_id} to stop")

    def resume(self, job_id: int) -> None:
        """Queue the job again and start it."""

        def act(db: Database) -> str:
            from alpaca_tui.jobs import spawn

            spawn.resume(db, self._app.project, job_id)
            return f"Job {job_id} goes on where it was."

        self._background(act, f"Resuming job {job_id}")
