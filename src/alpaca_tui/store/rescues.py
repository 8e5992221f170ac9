"""Instructions that a person takes back in though a rule rejected them: the journal's other half.

A rescued instruction goes on where it stopped, so that the running or the next generation asks for what it lacks;
samples that left the queue with it come back. ``store.decisions`` undoes and redoes it in turn with the decisions on
samples.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.records import PoolEntry
from alpaca_tui.store.database import now


@dataclass(frozen=True, slots=True)
class Rescue:
    """One line of this half of the journal."""

    id: int
    batch: int
    candidate_id: int
    rule: str
    """The rule that had rejected it."""


def rescue(db: Database, first_id: int, batch: int, candidate_ids: Sequence[int]) -> list[Rescue]:
    """Take the instructions back in, in the caller's transaction. Ids are given from ``first_id`` on.

    Raises UsageError on an unknown candidate and on one that was not rejected.
    """
    made = []
    for n, candidate_id in enumerate(dict.fromkeys(candidate_ids)):
        rule = _rejected_by(db, candidate_id)
        made.append(Rescue(first_id + n, batch, candidate_id, rule))
    at = now()
    db["rescues"].insert_all(
        {"id": r.id, "batch": r.batch, "candidate_id": r.candidate_id, "from_rejected_by": r.rule, "decided_at": at}
        for r in made
    )
    for one in made:
        _take_in(db, one)
    return made


def _rejected_by(db: Database, candidate_id: int) -> str:
    row = None
    if 0 < candidate_id < 2**63:  # what SQLite can number
        query = "SELECT stage, rejected_by FROM candidates WHERE id = ?"
        row = db.execute(query, [candidate_id]).fetchone()
    if row is None:
        raise UsageError(f"there is no instruction {candidate_id}")
    if row[0] != "rejected":
        raise UsageError(f"instruction {candidate_id} was not rejected: there is nothing to rescue")
    return str(row[1])


def _take_in(db: Database, one: Rescue) -> None:
    ids = json.dumps([one.candidate_id])
    stage = db.execute(resources.query("replay_stages"), {"ids": ids}).fetchone()[1]
    db.execute("UPDATE candidates SET stage = ?, rejected_by = NULL WHERE id = ?", [stage, one.candidate_id])
    db.execute(resources.query("rescue_samples"), {"candidate": one.candidate_id, "rule": one.rule})


def _put_out(db: Database, one: Rescue) -> None:
    db.execute("UPDATE candidates SET stage = 'rejected', rejected_by = ? WHERE id = ?", [one.rule, one.candidate_id])
    db.execute(resources.query("rescue_undone_samples"), {"candidate": one.candidate_id, "rule": one.rule})


def turn_back(db: Database, batch: int) -> list[Rescue]:
    """Undo: the instructions of the batch are rejected again, and their undecided samples leave the queue."""
    found = _of(db, batch)
    for one in reversed(found):
        _put_out(db, one)
    db.execute("UPDATE rescues SET undone_at = ? WHERE batch = ?", [now(), batch])
    return found


def turn_again(db: Database, batch: int) -> list[Rescue]:
    """Redo: they are taken in once more, and what was made for them meanwhile is not asked for again."""
    found = _of(db, batch)
    for one in found:
        _take_in(db, one)
    db.execute("UPDATE rescues SET undone_at = NULL WHERE batch = ?", [batch])
    return found


def _of(db: Database, batch: int) -> list[Rescue]:
    query = "SELECT id, batch, candidate_id, from_rejected_by FROM rescues WHERE batch = ? ORDER BY id"
    return [Rescue(*row) for row in db.execute(query, [batch])]


def state(db: Database) -> tuple[int, int]:
    """(the newest line's id, how many lines are undone): changes whenever an instruction is taken in or put out."""
    return db.execute("SELECT coalesce(max(id), 0), count(undone_at) FROM rescues").fetchone()


def taken_in(db: Database) -> list[PoolEntry]:
    """The instructions that are kept because a person rescued them, in order of arrival."""
    rows = db.execute(
        "SELECT DISTINCT c.id, c.instruction FROM rescues r JOIN candidates c ON c.id = r.candidate_id "
        "WHERE r.undone_at IS NULL AND c.stage <> 'rejected' ORDER BY c.id"
    )
    return [PoolEntry("candidate", id, text) for id, text in rows]
