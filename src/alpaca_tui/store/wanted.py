"""What a person waits for whatever a run aims at: instructions that were flipped or rescued and are not complete."""

from __future__ import annotations

from sqlite_utils import Database

from alpaca_tui.store.database import now

WANTED = (
    "{0} IN (SELECT f.candidate_id FROM flips f CROSS JOIN decisions d ON d.batch = f.batch WHERE d.undone_at IS NULL "
    "UNION ALL SELECT candidate_id FROM rescues WHERE undone_at IS NULL)"
)
"""SQL: a flip or a rescue of that candidate is in force. CROSS: the few flips are read first, not every decision."""

_FREE = "NOT EXISTS (SELECT 1 FROM leases l WHERE l.queue = {} AND l.number = {} AND l.expires_at > :now)"


def count_waiting(db: Database, *, instances: bool = True, outputs: bool = False) -> int:
    """How many wait for what they lack and are in no worker's hands.

    ``instances``: candidates that wait for their kind or their instances; ``outputs``: samples that wait for another
    model's output.
    """
    found = 0
    if instances:
        found += _count(
            db,
            "SELECT count(*) FROM candidates c WHERE c.stage IN ('classification', 'instance') "
            f"AND {WANTED.format('c.id')} AND {_FREE.format('c.stage', 'c.id')}",
        )
    if outputs:
        free = _FREE.format("'output'", "s.id")
        found += _count(
            db,
            "SELECT count(*) FROM samples s JOIN candidates c ON c.id = s.candidate_id WHERE s.state = 'waiting' "
            f"AND c.stage <> 'rejected' AND {WANTED.format('c.id')} AND {free}",
        )
    return found


def _count(db: Database, query: str) -> int:
    return int(db.execute(query, {"now": now()}).fetchone()[0])
