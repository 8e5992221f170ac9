"""Builds the snapshot: the database's facts, the live files of the jobs at work, the machine."""

from __future__ import annotations

import math
import shutil
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alpaca_tui.jobs import live
from alpaca_tui.ui.curves import GrowingCurve
from alpaca_tui.ui.snapshot import Curve, Facts, Gpu, JobView, Machine, PoolLine, Snapshot

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpaca_tui.store.jobs import JobRow

NEWEST_IN_POOL = 40
METRICS = ("loss", "eval_loss", "learning_rate", "grad_norm")
MEASURED = ("probe_peak_bytes", "probe_planned_bytes", "probe_reserved_bytes", "peak_memory_bytes", "tokens_per_s")
_DISK_STEP = 100_000_000  # bytes: a finer figure would flicker while others write
_GPU_STEP = 100_000_000


def connect(project: Path, *, readonly: bool) -> Database:
    """A connection of the calling thread. Read-only does not migrate and cannot write.

    Raises AlpacaError where the project cannot be opened.
    """
    from sqlite_utils import Database as Opened

    from alpaca_tui.core.errors import AlpacaError
    from alpaca_tui.store import database

    if not readonly:
        return database.open_project(project)
    path = database.database_path(project)
    try:
        conn = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
        conn.execute("PRAGMA query_only = ON")
        conn.execute("SELECT 1 FROM project")
    except sqlite3.Error as error:
        raise AlpacaError(f"{path} cannot be read: {error}; check the path and its permissions") from error
    return Opened(conn)


class StoreReader:
    """Reads the facts; keeps the training curves and reads only what was added to them."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._training: tuple[int, int] | None = None
        self._growing: dict[str, GrowingCurve] = {}

    def facts(self) -> Facts:
        """What the database says now."""
        from alpaca_tui.store import browse, datasets, decisions, evaluations, jobs, overview, wanted

        db = self._db
        seeds, enabled, classification = browse.seed_counts(db)
        rows = tuple(reversed(jobs.all_jobs(db)))
        return Facts(
            seeds=seeds,
            seeds_enabled=enabled,
            classification=classification,
            funnel=overview.funnel(db),
            newest=tuple(PoolLine(str(id), text) for id, text in browse.newest_in_pool(db, NEWEST_IN_POOL)),
            wanted=wanted.count_waiting(db),
            jobs=rows,
            datasets=tuple(d.name for d in datasets.all_datasets(db)),
            evaluations=evaluations.count(db),
            decisions_per_hour=round(decisions.pace(db)),
            training=self._newest_training(rows),
            measured=self._measured(),
        )

    def pace(self) -> int:
        """Decisions an hour, which falls with time alone."""
        from alpaca_tui.store import decisions

        return round(decisions.pace(self._db))

    def _newest_training(self, rows: tuple[JobRow, ...]) -> tuple[int, dict[str, Curve]] | None:
        trainings = [r for r in rows if r.kind == "train"]
        job = next((r for r in trainings if r.active), trainings[0] if trainings else None)
        if job is None:
            return None
        if self._training != (job.id, job.attempt):  # a resumed run writes some steps again
            self._training = (job.id, job.attempt)
            self._growing = {name: GrowingCurve(job.id, name) for name in METRICS}
        return job.id, {name: curve for name, g in self._growing.items() if (curve := g.extend(self._db)).steps}

    def _measured(self) -> tuple[tuple[str, float], ...]:
        from alpaca_tui.store import metrics

        return () if self._training is None else tuple(metrics.newest(self._db, self._training[0], MEASURED).items())


def job_views(project: Path, rows: tuple[JobRow, ...], now: float) -> tuple[JobView, ...]:
    """The jobs, those at work with their live files."""
    return tuple(_view(project, row, now) if row.active else JobView(row) for row in rows)


def _view(project: Path, row: JobRow, now: float) -> JobView:
    age = live.heartbeat_age(project, row.id)
    since = row.started_at or row.created_at
    return JobView(
        row,
        None if age is None else math.floor(age),
        max(0, math.floor(now - since)),
        tuple(live.read_live(project, row.id)),
    )


def machine(project: Path, *, busy: bool = False) -> Machine:
    """GPUs and disk, rounded so that small changes don't count as news; the processor too while a job is at work."""
    try:
        free: int | None = shutil.disk_usage(project).free // _DISK_STEP * _DISK_STEP
    except OSError:
        free = None
    gpus = _gpus()
    if gpus or not busy:
        return Machine(gpus, free)
    from alpaca_tui.jobs import hardware

    host = hardware.host(project)
    used = (host.ram_total - host.ram_available) // _GPU_STEP * _GPU_STEP
    return Machine(gpus, free, hardware.cpu_use(), used, host.ram_total)


def _gpus() -> tuple[Gpu, ...]:
    from alpaca_tui.jobs import hardware

    return tuple(
        Gpu(g.index, g.memory_used // _GPU_STEP * _GPU_STEP, g.memory_total, g.utilisation, g.temperature)
        for g in hardware.gpus()
    )


def read_snapshot(project: Path, db: Database) -> Snapshot:
    """Everything at once: for tests, screenshots and the first look."""
    facts = StoreReader(db).facts()
    return Snapshot(project.name, facts, job_views(project, facts.jobs, time.time()), machine(project), loaded=True)


def with_facts(snapshot: Snapshot, facts: Facts, project: Path) -> Snapshot:
    """The snapshot with new facts and fresh live files."""
    return replace(snapshot, facts=facts, jobs=job_views(project, facts.jobs, time.time()), problem=None, loaded=True)
