"""What happens while nobody looks, told once: a job's end, a worker without a sign of life, a full disk."""

from __future__ import annotations

from dataclasses import dataclass

from alpaca_tui.ui.figures import duration, size
from alpaca_tui.ui.snapshot import DISK_LOW, STALE_S, JobView, Machine, Snapshot

_NEXT = {"generate": "2 reviews what it made.", "train": "6, then n, scores it.", "evaluate": "6 shows how they did."}
_ENOUGH = 1.1
"""Free space must come back to this many times the limit before a low disk is news again."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One event, as a person should hear of it."""

    text: str
    severity: str


class Alerts:
    """Compares each snapshot with what has been told. What is so at the first look is on the screen, and no news."""

    def __init__(self) -> None:
        self._told: set[tuple[int, int, str]] = set()
        self._jobs: tuple[JobView, ...] | None = None
        self._low = False

    def news(self, snapshot: Snapshot) -> list[Alert]:
        """What has happened since the snapshot before; every event once."""
        if not snapshot.loaded:
            return []
        first, found = self._jobs is None, []
        if snapshot.jobs is not self._jobs:
            self._jobs = snapshot.jobs
            for job in snapshot.jobs:
                found += self._of_job(job)
        found += self._of_disk(snapshot.machine)
        return [] if first else found

    def _of_job(self, job: JobView) -> list[Alert]:
        row = job.row
        silence = (row.id, row.attempt, "silent")
        if job.active:
            if not job.silent or row.state == "queued":
                self._told.discard(silence)
                return []
            key = silence
        else:
            key = (row.id, row.attempt, row.state)
        if key in self._told:
            return []
        self._told.add(key)
        return [_alert(job)] if key == silence or row.state != "stopped" else []

    def _of_disk(self, machine: Machine) -> list[Alert]:
        free = machine.disk_free
        if free is None:
            return []
        if self._low:
            self._low = free < DISK_LOW * _ENOUGH
            return []
        self._low = free < DISK_LOW
        advice = "Free some space: jobs stop where they can't write."
        return [Alert(f"The disk has only {size(free)} left. {advice}", "warning")] if self._low else []


def _alert(job: JobView) -> Alert:
    row, name = job.row, f"Job {job.row.id} ({job.row.kind})"
    if job.active:
        return Alert(f"{name} has given no sign of life for {STALE_S} s. 7 shows its log.", "warning")
    if row.state == "succeeded":
        took = f" after {duration(row.finished_at - row.started_at)}" if row.finished_at and row.started_at else ""
        return Alert(f"{name} is done{took}. {_NEXT.get(row.kind, '7 shows its log.')}", "information")
    what = "was interrupted" if row.state == "interrupted" else row.state
    reason = (row.reason or "no reason was given").rstrip(".")
    # Some reasons name the command that goes on already.
    way = "" if "resume" in reason else ", R there goes on where it was"
    return Alert(f"{name} {what}: {reason}. 7 shows its log{way}.", "error")
