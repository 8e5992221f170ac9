"""The other half of a flip: a candidate that changes its kind, and its samples of the kind that it no longer has.

The decision itself is a line of the journal (``store.decisions``).
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.errors import UsageError

RECLASSIFIED = "reclassified"
"""What takes the samples of the other kind out of the queue."""

FLIPPED = (
    "EXISTS (SELECT 1 FROM flips f JOIN decisions d ON d.batch = f.batch "
    "WHERE f.candidate_id = {} AND d.undone_at IS NULL)"
)
"""SQL: a flip of that candidate is in force."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Whether a candidate is a classification task, and the stage it is in."""

    is_classification: bool
    stage: str


def kind_of(db: Database, candidate_id: int) -> Kind:
    """The candidate's kind. Raises UsageError where there is no such candidate, or nothing to flip."""
    row = None
    if 0 < candidate_id < 2**63:
        row = db.execute("SELECT is_classification, stage FROM candidates WHERE id = ?", [candidate_id]).fetchone()
    if row is None:
        raise UsageError(f"there is no candidate {candidate_id}")
    if row[1] == "rejected":
        raise UsageError(f"candidate {candidate_id} was rejected by the filter; its classification decides nothing")
    if row[0] is None:
        raise UsageError(
            f"candidate {candidate_id} has not been classified (its task was written whole, or it is not its turn yet)"
        )
    return Kind(bool(row[0]), row[1])


def turn(db: Database, batch: int, candidate_id: int, before: Kind) -> None:
    """Flip the candidate and queue it for its instances; remember for undo under the journal's batch."""
    db["flips"].insert(
        {
            "batch": batch,
            "candidate_id": candidate_id,
            "from_kind": int(before.is_classification),
            "from_stage": before.stage,
        }
    )
    _set(db, candidate_id, not before.is_classification, "instance")
    settle(db, candidate_id)


def turn_back(db: Database, batch: int) -> None:
    """Undo: the candidate is what it was. A batch without a flip is left alone."""
    for candidate_id, kind, stage in _of(db, batch):
        _set(db, candidate_id, bool(kind), stage)
        settle(db, candidate_id)


def turn_again(db: Database, batch: int) -> None:
    """Redo: flipped once more; instances that were made since the flip come back, else they are asked for."""
    for candidate_id, kind, _ in _of(db, batch):
        template = "input_first" if kind else "output_first"
        asked = db["completions"].count_where(
            "candidate_id = ? AND template = ? AND finish_reason <> 'error'", [candidate_id, template]
        )
        _set(db, candidate_id, not kind, "done" if asked else "instance")
        settle(db, candidate_id)


def settle(db: Database, candidate_id: int) -> None:
    """Let the samples of the candidate's own kind be in the queue, and those of the other be out of it."""
    # Two statements of which either may find nothing to do; together they leave every sample where it belongs.
    for name in ("flip_out", "flip_in"):
        db.execute(resources.query(name), {"candidate": candidate_id, "reason": RECLASSIFIED})


def is_flipped(db: Database, candidate_id: int) -> bool:
    """Whether a person has said what the candidate is, so that the model's doubt no longer matters."""
    return db.execute(f"SELECT {FLIPPED.format('?')}", [candidate_id]).fetchone()[0] == 1


def _of(db: Database, batch: int) -> list[tuple[int, int, str]]:
    query = "SELECT candidate_id, from_kind, from_stage FROM flips WHERE batch = ?"
    return db.execute(query, [batch]).fetchall()


def _set(db: Database, candidate_id: int, is_classification: bool, stage: str) -> None:
    db.execute(
        "UPDATE candidates SET is_classification = ?, stage = ? WHERE id = ?",
        [int(is_classification), stage, candidate_id],
    )
