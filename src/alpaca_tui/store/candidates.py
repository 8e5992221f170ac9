"""Candidate instructions: verdicts, the queues of the later stages, the machine half of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui.core.records import PoolEntry, Verdict
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.store.database import now
from alpaca_tui.store.wanted import WANTED


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """A candidate waiting for its next stage."""

    id: int
    instruction: str
    is_classification: bool | None


def add(
    db: Database,
    completion_id: int,
    position: int,
    instruction: str,
    verdicts: Sequence[Verdict],
    tokenizer: TokenizerName = "rouge",
    queue: str = "classification",
) -> tuple[int, bool]:
    """Store a candidate with every rule's verdict; return (its id, whether it was kept).

    ``tokenizer`` is the one that the verdicts' scores come from, ``queue`` the stage where a kept one goes on.
    """
    failed = next((v.rule for v in verdicts if not v.passed), None)
    row = db["candidates"].insert(
        {
            "completion_id": completion_id,
            "position": position,
            "instruction": instruction,
            "stage": "rejected" if failed else queue,
            "rejected_by": failed,
            "created_at": now(),
        }
    )
    candidate_id = int(row.last_pk)
    db["candidate_verdicts"].insert_all(
        {
            "candidate_id": candidate_id,
            "rule": verdict.rule,
            "position": i,
            "passed": int(verdict.passed),
            "score": verdict.score,
            "threshold": verdict.threshold,
            "neighbour_seed_id": _neighbour(verdict, "seed"),
            "neighbour_candidate_id": _neighbour(verdict, "candidate"),
            "detail": verdict.detail,
            "tokenizer": tokenizer,
            "parameters": verdict.parameters,
        }
        for i, verdict in enumerate(verdicts)
    )
    return candidate_id, failed is None


def _neighbour(verdict: Verdict, kind: str) -> int | None:
    return verdict.neighbour.id if verdict.neighbour and verdict.neighbour.kind == kind else None


_WANTED_FIRST = "id NOT IN (SELECT candidate_id FROM flips UNION ALL SELECT candidate_id FROM rescues), id"


def waiting(
    db: Database, stage: str, limit: int, is_classification: bool | None = None, *, wanted: bool = False
) -> list[CandidateRow]:
    """The oldest candidates in the queue of ``stage`` ('classification' or 'instance') that no worker has taken.

    Those that a person flipped or rescued come first: somebody waits for them; with ``wanted``, no others come. With
    ``is_classification``, of all of them only those that are (or are not) classification tasks.
    """
    free = "stage = ? AND id NOT IN (SELECT number FROM leases WHERE queue = ? AND expires_at > ?)"
    values: list[object] = [stage, stage, now()]
    if is_classification is not None:
        free, values = f"{free} AND is_classification = ?", [*values, int(is_classification)]
    if wanted:
        free = f"{free} AND {WANTED.format('id')}"
    rows = db["candidates"].rows_where(free, values, order_by=_WANTED_FIRST, limit=limit)
    return [CandidateRow(r["id"], r["instruction"], _optional_bool(r["is_classification"])) for r in rows]


def _optional_bool(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def set_classification(
    db: Database,
    candidate_id: int,
    is_classification: bool,
    margin: float | None,
    bias: float | None = None,
    low_margin: bool = False,
) -> None:
    """Settle whether the candidate is a classification task and queue it for its instances.

    ``margin`` is the log-odds of yes against no, less the model's ``bias`` where that was measured.
    """
    db.execute(
        "UPDATE candidates SET is_classification = ?, classification_margin = ?, classification_bias = ?, "
        "low_margin = ?, stage = 'instance' WHERE id = ? AND stage = 'classification'",
        [int(is_classification), margin, bias, int(low_margin), candidate_id],
    )


def kind(db: Database, candidate_id: int) -> bool | None:
    """Whether the candidate is a classification task as of now; a person may have said otherwise since."""
    row = db.execute("SELECT is_classification FROM candidates WHERE id = ?", [candidate_id]).fetchone()
    return _optional_bool(row[0]) if row else None


def rejected_by(db: Database, candidate_id: int) -> str | None:
    """The rule that rejects the candidate as of now; None where it is kept."""
    row = db.execute("SELECT rejected_by FROM candidates WHERE id = ?", [candidate_id]).fetchone()
    return row[0] if row else None


def finish(db: Database, candidate_id: int) -> None:
    """The candidate has been through every stage."""
    db.execute("UPDATE candidates SET stage = 'done' WHERE id = ? AND stage = 'instance'", [candidate_id])


def count_waiting(db: Database) -> dict[str, int]:
    """How many candidates are in the queue of each stage, taken or not."""
    query = "SELECT stage, count(*) FROM candidates WHERE stage IN ('classification', 'instance') GROUP BY stage"
    return dict(db.execute(query).fetchall())


def pool(db: Database, *, classification_only: bool = False, after: int = 0) -> list[PoolEntry]:
    """Machine-made instructions that may be drawn as demonstrations, those with an id above ``after``.

    Kept by the filter, and not thrown out by a person: an instruction all of whose reviewed samples were
    rejected is no model for others.
    """
    kinds = "AND c.is_classification = 1 " if classification_only else ""
    rows = db.query(
        "SELECT c.id, c.instruction FROM candidates c WHERE c.id > ? AND c.stage <> 'rejected' AND ("
        " NOT EXISTS (SELECT 1 FROM samples s WHERE s.candidate_id = c.id AND s.state = 'rejected')"
        " OR EXISTS (SELECT 1 FROM samples s WHERE s.candidate_id = c.id AND s.state IN ('pending', 'accepted'))"
        f") {kinds}ORDER BY c.id",
        [after],
    )
    return [PoolEntry("candidate", row["id"], row["instruction"]) for row in rows]


def kept(db: Database, after: int = 0) -> list[PoolEntry]:
    """Every instruction (with an id above ``after``) that passed the filter, in order of arrival."""
    rows = db.query("SELECT id, instruction FROM candidates WHERE id > ? AND stage <> 'rejected' ORDER BY id", [after])
    return [PoolEntry("candidate", row["id"], row["instruction"]) for row in rows]


def count_kept(db: Database) -> int:
    """How many candidates passed the filter."""
    return db["candidates"].count_where("stage <> 'rejected'")
