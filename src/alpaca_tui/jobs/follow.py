"""Following a job to its end, from whatever front end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sqlite_utils import Database

from alpaca_tui.jobs.live import LiveSnapshot, read_live
from alpaca_tui.jobs.reconcile import reconcile
from alpaca_tui.store import jobs
from alpaca_tui.store.jobs import JobRow


def follow(
    db: Database,
    project: Path,
    job_id: int,
    on_tick: Callable[[JobRow, list[LiveSnapshot]], None],
    interval: float = 0.5,
) -> JobRow:
    """Call ``on_tick`` every ``interval`` seconds until the job has ended, and once at its end; return its last row.

    A job whose runner is gone ends as interrupted. Not following any more (Ctrl-C) leaves the job running.
    """
    while True:
        reconcile(db, project)
        job = jobs.get(db, job_id)
        on_tick(job, read_live(project, job_id))
        if not job.active:
            return job
        time.sleep(interval)
