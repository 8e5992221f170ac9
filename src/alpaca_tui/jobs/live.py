"""Ephemeral display: one snapshot file per worker, replaced atomically, so that a reader always sees a whole one.

``runs/<job>/live/<n>.json`` is worker n's, ``runs/<job>/live/runner.json`` the runner's heartbeat. Nothing here is
durable or needs to be: facts are in SQLite.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MAX_SLOT_TEXT = 4000
"""Characters of a slot's text that are shown; the end of it, where the writing happens."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One sample in flight: what it is, its stage, and its text so far."""

    label: str
    stage: str
    text: str
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class LiveSnapshot:
    """What one worker is doing now. ``progress`` is a share from 0 to 1; times in seconds."""

    at: float
    activity: str
    progress: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None
    slots: tuple[Slot, ...] = ()


def run_dir(project: Path, job_id: int) -> Path:
    """The directory of a job's log, snapshots and outputs."""
    return project / "runs" / str(job_id)


def live_dir(project: Path, job_id: int) -> Path:
    """The directory of a job's snapshots."""
    return run_dir(project, job_id) / "live"


class LiveWriter:
    """Writes a worker's snapshot, at most ``hz`` times a second unless forced."""

    def __init__(self, project: Path, job_id: int, worker: int = 0, hz: float = 6.0) -> None:
        self._path = live_dir(project, job_id) / f"{worker}.json"
        self._interval = 1.0 / hz
        self._due = 0.0

    def due(self) -> bool:
        """Whether the next ``write`` would not be skipped; lets the caller save building a snapshot."""
        return time.monotonic() >= self._due

    def write(self, snapshot: LiveSnapshot, *, force: bool = False) -> None:
        """Replace the file. A full disk is not worth stopping work for: display is skipped then."""
        if not force and not self.due():
            return
        self._due = time.monotonic() + self._interval
        write_json(self._path, asdict(snapshot))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a small file atomically (no fsync: it is only display); failures are ignored."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(value, ensure_ascii=False), "utf-8", errors="replace")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)


def read_live(project: Path, job_id: int) -> list[LiveSnapshot]:
    """The snapshots of all of a job's workers, by worker; unreadable ones are left out."""
    found = []
    for path in sorted(live_dir(project, job_id).glob("[0-9]*.json")):
        value = _read(path)
        if value is not None:
            slots = tuple(Slot(**slot) for slot in value.pop("slots", ()))
            found.append(LiveSnapshot(**value, slots=slots))
    return found


def heartbeat_age(project: Path, job_id: int) -> float | None:
    """Seconds since the runner's last heartbeat, or None where there was none."""
    value = _read(live_dir(project, job_id) / "runner.json")
    return None if value is None else max(0.0, time.time() - float(value["at"]))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
