"""Ephemeral display: one snapshot file per worker, replaced atomically, so that a reader always sees a whole one.

``runs/<job>/live/<n>.json`` is worker n's, ``runs/<job>/live/runner.json`` the runner's heartbeat. Nothing here is
durable or needs to be: facts are in SQLite.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
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
    """What one worker is doing now. ``progress`` is a share from 0 to 1; times in seconds.

    ``eta_s``, ``eta_range_s`` (low, high), ``cost_to_go`` and its range are about the whole job; ``yields`` says what
    one call of each stage leads to on average.
    """

    at: float
    activity: str
    progress: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None
    slots: tuple[Slot, ...] = ()
    eta_range_s: tuple[float, float] | None = None
    yields: dict[str, float] | None = None
    cost_to_go: float | None = None
    cost_range: tuple[float, float] | None = None


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
        slots = tuple(replace(slot, text=slot.text[-MAX_SLOT_TEXT:]) for slot in snapshot.slots)
        write_json(self._path, asdict(replace(snapshot, slots=slots)))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a small file atomically (no fsync: it is only display); failures are ignored."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(value, ensure_ascii=False), "utf-8", errors="replace")
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a small file, or None where there is no readable one."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def read_live(project: Path, job_id: int) -> list[LiveSnapshot]:
    """The snapshots of all of a job's workers, by worker; unreadable ones are left out."""
    paths = [p for p in live_dir(project, job_id).glob("*.json") if p.stem.isdecimal()]
    found = []
    for path in sorted(paths, key=lambda p: int(p.stem)):
        value = read_json(path)
        # Another version's snapshot may have other fields: it is display, not worth failing for.
        with suppress(TypeError):
            if value is not None:
                slots = tuple(Slot(**slot) for slot in value.pop("slots", ()))
                ranges = {name: tuple(value.pop(name)) for name in ("eta_range_s", "cost_range") if value.get(name)}
                found.append(LiveSnapshot(**(value | ranges), slots=slots))
    return found


def beat(project: Path, job_id: int, pid: int, create_time: float) -> None:
    """Write the runner's heartbeat."""
    value = {"at": time.time(), "pid": pid, "create_time": create_time, "host": socket.gethostname()}
    write_json(live_dir(project, job_id) / "runner.json", value)


def heartbeat_age(project: Path, job_id: int) -> float | None:
    """Seconds since the runner's last heartbeat, or None where there was none."""
    value = read_json(live_dir(project, job_id) / "runner.json")
    at = value.get("at") if value else None
    return max(0.0, time.time() - at) if isinstance(at, int | float) else None


def beats_elsewhere(project: Path, job_id: int, within_s: float = 15.0) -> bool:
    """Whether the job's runner beats on another machine that shares the directory; its pid means nothing here."""
    value = read_json(live_dir(project, job_id) / "runner.json")
    age = heartbeat_age(project, job_id)
    return bool(value and age is not None and age < within_s and value.get("host") != socket.gethostname())


def clear_live(project: Path, job_id: int) -> None:
    """Remove what an earlier attempt left on display, and create the directories (0700) where missing."""
    directory = live_dir(project, job_id)
    for path in (directory.parent, directory):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in directory.iterdir():
        with suppress(OSError):
            path.unlink()
