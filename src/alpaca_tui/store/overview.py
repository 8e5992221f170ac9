"""What the cockpit and ``status`` show at a glance, in a few aggregate queries."""

from __future__ import annotations

from sqlite_utils import Database

from alpaca_tui.core.records import Funnel
from alpaca_tui.store import samples


def funnel(db: Database) -> Funnel:
    """Counts from response to accepted sample."""
    responses, unparsed = db.execute(
        "SELECT count(*), coalesce(sum(problem IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM candidates c WHERE c.completion_id = completions.id)), 0) "
        "FROM completions WHERE stage = 'instruction'"
    ).fetchone()
    stages = _counted(db, "SELECT stage, count(*) FROM candidates GROUP BY stage")
    rejected = _counted(
        db,
        "SELECT rejected_by, count(*) n FROM candidates WHERE stage = 'rejected' GROUP BY 1 ORDER BY n DESC",
    )
    filtered = _counted(
        db, "SELECT rejected_by, count(*) n FROM samples WHERE state = 'filtered' GROUP BY 1 ORDER BY n DESC"
    )
    states = samples.counts(db)
    total = sum(stages.values())
    return Funnel(
        completions=responses,
        unparsed=unparsed,
        candidates=total,
        kept=total - stages.get("rejected", 0),
        rejected=rejected,
        waiting=stages.get("classification", 0) + stages.get("instance", 0),
        samples=sum(states.values()),
        filtered=filtered,
        pending=states["pending"],
        accepted=states["accepted"],
        declined=states["rejected"],
    )


def ready(db: Database) -> int:
    """Samples that are pending or accepted: what a run's target counts. Read from an index alone."""
    return int(db.execute("SELECT count(*) FROM samples WHERE state IN ('pending', 'accepted')").fetchone()[0])


def _counted(db: Database, sql: str) -> dict[str, int]:
    return dict(db.execute(sql).fetchall())
