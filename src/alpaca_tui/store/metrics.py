"""Training metrics: one row a step and name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
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


@dataclass(frozen=True, slots=True)
class Slices:
    """One metric of one job in slices of ``stride`` steps: (newest step, lowest, highest, mean) of each that has rows.

    NaN where no value of a slice was a number.
    """

    stride: int
    rows: tuple[tuple[int, float, float, float], ...]


def slices(db: Database, job_id: int, name: str, stride: int, *, first: int = 0, last: int | None = None) -> Slices:
    """The slices of the steps from ``first`` to ``last``; slice n holds the steps n * stride … (n + 1) * stride - 1."""
    found = db.conn.execute(
        "SELECT max(step), min(value), max(value), avg(value) FROM metrics "
        "WHERE job_id = ? AND name = ? AND step BETWEEN ? AND ? GROUP BY step / ? ORDER BY 1",
        [job_id, name, first, 2**62 if last is None else last, max(1, stride)],
    )
    return Slices(
        stride,
        tuple((step, *(math.nan if v is None else v for v in values)) for step, *values in found),
    )


def span(db: Database, job_id: int, name: str) -> tuple[int, int] | None:
    """(first step, newest step) of one metric; None where there is none."""
    row = db.conn.execute(
        "SELECT min(step), max(step) FROM metrics WHERE job_id = ? AND name = ?", [job_id, name]
    ).fetchone()
    return None if row is None or row[0] is None else (int(row[0]), int(row[1]))


def newest(db: Database, job_id: int, names: Iterable[str]) -> dict[str, float]:
    """The newest value of each metric that has one which is a number."""
    found: dict[str, float] = {}
    for name in names:
        row = db.conn.execute(
            "SELECT value FROM metrics WHERE job_id = ? AND name = ? AND value IS NOT NULL ORDER BY step DESC LIMIT 1",
            [job_id, name],
        ).fetchone()
        if row is not None:
            found[name] = float(row[0])
    return found


def names(db: Database, job_id: int) -> list[str]:
    """Which metrics a job has recorded."""
    rows = db.query("SELECT DISTINCT name FROM metrics WHERE job_id = ? ORDER BY name", [job_id])
    return [r["name"] for r in rows]
