"""Work taken by workers: at most one has each piece, a dead one's comes back, a late one's answer is refused."""

from __future__ import annotations

from collections.abc import Sequence

from sqlite_utils import Database

from alpaca_tui.store.database import now, write

LEASE_S = 120.0
"""How long a lease holds unless renewed: longer than the longest single step of a model on a slow machine."""


def held(db: Database, queue: str) -> set[int]:
    """The numbers of a queue that are taken by now."""
    rows = db.execute("SELECT number FROM leases WHERE queue = ? AND expires_at > ?", [queue, now()])
    return {number for (number,) in rows}


def counts(db: Database) -> dict[str, int]:
    """How much is taken by now, by queue, over all workers."""
    return dict(db.execute("SELECT queue, count(*) FROM leases WHERE expires_at > ? GROUP BY queue", [now()]))


def take(db: Database, job_id: int, worker: int, work: Sequence[tuple[str, int]]) -> list[int]:
    """Take pieces of work, each (queue, number); return their fencing tokens.

    Belongs inside the transaction in which they were found to be free. An expired lease is taken over.
    """
    until, tokens = now() + LEASE_S, []
    for queue, number in work:
        db.execute("DELETE FROM leases WHERE queue = ? AND number = ? AND expires_at <= ?", [queue, number, now()])
        added = db.execute(
            "INSERT INTO leases (job_id, worker, queue, number, expires_at) VALUES (?, ?, ?, ?, ?)",
            [job_id, worker, queue, number, until],
        )
        assert added.lastrowid is not None
        tokens.append(added.lastrowid)
    return tokens


def settle(db: Database, token: int) -> bool:
    """Give the lease up for the answer that the caller's transaction stores; False: it is not the caller's any more.

    Then nothing may be stored: another worker has the piece, or has answered it. An expired lease that nobody has
    taken over is still good.
    """
    return db.execute("DELETE FROM leases WHERE id = ?", [token]).rowcount == 1


def renew(db: Database, tokens: Sequence[int]) -> None:
    """Make the leases last for ``LEASE_S`` from now; those that are lost stay lost."""
    with write(db):
        db.conn.executemany("UPDATE leases SET expires_at = ? WHERE id = ?", [(now() + LEASE_S, t) for t in tokens])


def release(db: Database, job_id: int, worker: int) -> None:
    """Give back what a worker has taken, as when it leaves or is found dead."""
    with write(db):
        db.execute("DELETE FROM leases WHERE job_id = ? AND worker = ?", [job_id, worker])


def clear(db: Database) -> None:
    """Give back everything: a new attempt begins, and whoever still works for an earlier one is fenced out."""
    db.execute("DELETE FROM leases")
