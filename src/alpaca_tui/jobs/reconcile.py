"""Jobs whose runner is gone: what the table says is brought in line with what is."""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database

from alpaca_tui.jobs import live, logs, processes
from alpaca_tui.store import jobs
from alpaca_tui.store.database import now

QUEUED_GRACE_S = 30.0
"""How long a queued job may be without a runner: the time between enqueueing and the runner's taking it."""
_LEFTOVER_GRACE_S = 5.0


def reconcile(db: Database, project: Path) -> list[int]:
    """Turn every active job whose runner is gone into an interrupted one; return their ids.

    What is left of its workers is ended first (the kernel has told them already), so that a resume never works
    beside them. A runner is (pid, create time): a pid that another process got since counts as gone.
    """
    changed = []
    for job in jobs.active(db):
        reason = _loss(db, project, job)
        if reason is None:
            continue
        recorded = jobs.processes(db, job.id, job.attempt)
        processes.kill_all([(p.pid, p.create_time) for p in recorded], _LEFTOVER_GRACE_S)
        tail = logs.tail(logs.log_path(project, job.id)) or None
        if jobs.set_state(db, job.id, "interrupted", reason=reason, log_tail=tail, attempt=job.attempt):
            changed.append(job.id)
    return changed


def _loss(db: Database, project: Path, job: jobs.JobRow) -> str | None:
    """Why the job counts as interrupted, in one sentence; None where its runner is at work (or about to be)."""
    resume = f"resume it with: alpaca-tui jobs resume {job.id}"
    if job.state == "queued":
        if now() - jobs.state_since(db, job.id) <= QUEUED_GRACE_S:
            return None
        return f"no runner ever took the job; {resume}"
    runner = next((p for p in jobs.processes(db, job.id, job.attempt) if p.role == "runner"), None)
    if runner is None:
        return f"the job has no runner on record; {resume}"
    if processes.alive(runner.pid, runner.create_time) or live.beats_elsewhere(project, job.id):
        return None
    return (
        f"its runner (process {runner.pid}) is gone: it was killed or the machine was restarted; "
        f"what was saved is kept, {resume}"
    )
