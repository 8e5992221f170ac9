"""Training metrics: one row a step and name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui.store.database import now, write


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one job: steps ascending, values beside them (NaN where it was not a number)."""

    steps: tuple[int, ...]
    values: tuple[float, ...]


def record(db: Database, job_id: int, step: int, values: Mapping[str, float]) -> None:
    """Store the values of one step; a step that is run again after a resume replaces its row."""
    with write(db):
        db["metrics"].insert_all(
            (
                {"job_id": job_id, "name": name, "step": step, "value": _finite(value), "at": now()}
                for name, value in values.items()
            ),
            replace=True,
        )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def series(db: Database, job_id: int, name: str, *, after: int = -1) -> Series:
    """The values of one metric at steps greater than ``after``."""
    rows = db["metrics"].rows_where("job_id = ? AND name = ? AND step > ?", [job_id, name, after], order_by="step")
    pairs = [(r["step"], math.nan if r["value"] is None else r["value"]) for r in rows]
    return Series(tuple(s for s, _ in pairs), tuple(v for _, v in pairs))


def names(db: Database, job_id: int) -> list[str]:
    """Which metrics a job has recorded."""
    rows = db.query("SELECT DISTINCT name FROM metrics WHERE job_id = ? ORDER BY name", [job_id])
    return [r["name"] for r in rows]
