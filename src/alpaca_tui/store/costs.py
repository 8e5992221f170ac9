"""What model calls have cost: money, where prices were known."""

from __future__ import annotations

from sqlite_utils import Database

_PER_ACCEPTED = """
SELECT count(DISTINCT s.id) FROM samples s JOIN completions c ON c.id = s.completion_id
WHERE s.state = 'accepted' AND (:job IS NULL OR c.job_id = :job)
"""


def spent(db: Database, job_id: int | None = None) -> float | None:
    """Money that the calls of one job (or of all) have cost; None where none of them had a price."""
    query = "SELECT sum(cost) FROM completions WHERE cost IS NOT NULL AND (:job IS NULL OR job_id = :job)"
    value = db.execute(query, {"job": job_id}).fetchone()[0]
    return None if value is None else float(value)


def per_accepted(db: Database, job_id: int | None = None) -> float | None:
    """What is spent for each accepted sample that came of it, rejected work included; None before there is one."""
    money = spent(db, job_id)
    accepted = int(db.execute(_PER_ACCEPTED, {"job": job_id}).fetchone()[0])
    return money / accepted if money is not None and accepted else None


def of_job(db: Database, job_id: int) -> dict[str, float | None]:
    """Both, of one job, as they are reported."""
    return {"cost": spent(db, job_id), "cost_per_accepted": per_accepted(db, job_id)}
