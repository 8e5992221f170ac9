"""Samples: what the person reviews, with verdicts and where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.records import Instance, ParsedInstance, PoolEntry, Verdict
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.store.database import now


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A sample in its current revision."""

    id: int
    candidate_id: int
    completion_id: int
    state: str
    rejected_by: str | None
    revision: int
    author: str
    instruction: str
    input: str
    output: str
    is_classification: bool
    classification_margin: float | None
    low_margin: bool = False
    """Whether classification was a close call."""


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """A stored verdict with its neighbour's text, for showing side by side."""

    rule: str
    passed: bool
    score: float | None
    threshold: float | None
    detail: str
    neighbour: str | None
    """Which row the neighbour is: 'seed 12', 'candidate 40', 'sample 7'."""
    neighbour_text: str | None
    part: Literal["instruction", "instance"] = "instance"
    """Whether the instruction was judged, or the input and output."""


@dataclass(frozen=True, slots=True)
class SampleOrigin:
    """Where a sample came from: the calls, and the instructions shown when it was invented."""

    instruction_completion_id: int
    completion_id: int
    model: str
    demonstrations: tuple[tuple[str, str], ...]
    """(label, instruction) of each demonstration, such as ('seed 12', 'Translate …')."""


def add(
    db: Database,
    candidate_id: int,
    completion_id: int,
    instruction: str,
    instance: ParsedInstance,
    verdicts: Sequence[Verdict],
    tokenizer: TokenizerName = "rouge",
    *,
    state: str = "pending",
    refused_by: str | None = None,
) -> tuple[int, bool]:
    """Store a sample with every rule's verdict; return (its id, whether it goes on to ``state``).

    ``tokenizer`` is the one that the verdicts' scores come from, ``refused_by`` what filters it out though none of its
    own rules does, such as the rule that rejected its instruction.
    """
    failed = next((v.rule for v in verdicts if not v.passed), refused_by)
    row = db["samples"].insert(
        {
            "candidate_id": candidate_id,
            "completion_id": completion_id,
            "position": instance.position,
            "state": "filtered" if failed else state,
            "rejected_by": failed,
            "created_at": now(),
        }
    )
    sample_id = int(row.last_pk)
    insert_revision(db, sample_id, 1, "model", instruction, instance.input, instance.output)
    set_verdicts(db, sample_id, verdicts, tokenizer)
    return sample_id, failed is None


def set_verdicts(db: Database, sample_id: int, verdicts: Sequence[Verdict], tokenizer: TokenizerName) -> None:
    """Store the rules' verdicts on a sample, in the place of earlier ones of the same rules."""
    # Not insert(replace=True): it looks for a rowid, which this table has none of.
    db.conn.executemany(
        "DELETE FROM sample_verdicts WHERE sample_id = ? AND rule = ?", [(sample_id, v.rule) for v in verdicts]
    )
    db["sample_verdicts"].insert_all(
        {
            "sample_id": sample_id,
            "rule": verdict.rule,
            "position": i,
            "passed": int(verdict.passed),
            "score": verdict.score,
            "threshold": verdict.threshold,
            "neighbour_sample_id": verdict.neighbour.id if verdict.neighbour else None,
            "detail": verdict.detail,
            "tokenizer": tokenizer,
            "parameters": verdict.parameters,
        }
        for i, verdict in enumerate(verdicts)
    )


def insert_revision(
    db: Database,
    sample_id: int,
    revision: int,
    author: str,
    instruction: str,
    input: str,
    output: str,
    completion_id: int | None = None,
) -> None:
    """Append one revision of a sample's text; ``completion_id`` is its call where that is not the sample's own."""
    db["sample_revisions"].insert(
        {
            "sample_id": sample_id,
            "revision": revision,
            "author": author,
            "instruction": instruction,
            "input": input,
            "output": output,
            "created_at": now(),
            "completion_id": completion_id,
        }
    )


def newest_revision(db: Database, sample_id: int) -> int:
    """The number of the sample's newest revision, current or not."""
    row = db.execute("SELECT max(revision) FROM sample_revisions WHERE sample_id = ?", [sample_id]).fetchone()
    return int(row[0])


def get(db: Database, sample_id: int) -> SampleRow | None:
    """One sample, or None."""
    return next((_row(r) for r in db["current_samples"].rows_where("id = ?", [sample_id])), None)


def page(
    db: Database, state: str | None = None, *, after: int = 0, limit: int = 50, newest_first: bool = False
) -> list[SampleRow]:
    """Samples of one state (or all) by id: those after ``after``, or before it when ``newest_first``."""
    where = "id > :after" if not newest_first else "(:after = 0 OR id < :after)"
    if state is not None:
        where += " AND state = :state"
    order = "id DESC" if newest_first else "id"
    rows = db["current_samples"].rows_where(where, {"after": after, "state": state}, order_by=order, limit=limit)
    return [_row(r) for r in rows]


def _row(r: dict) -> SampleRow:
    return SampleRow(
        id=r["id"],
        candidate_id=r["candidate_id"],
        completion_id=r["completion_id"],
        state=r["state"],
        rejected_by=r["rejected_by"],
        revision=r["revision"],
        author=r["author"],
        instruction=r["instruction"],
        input=r["input"],
        output=r["output"],
        is_classification=bool(r["is_classification"]),
        classification_margin=r["classification_margin"],
        low_margin=bool(r["low_margin"]),
    )


def ids(db: Database, state: str | None) -> list[int]:
    """The ids of all samples of one state (or of all), oldest first."""
    where, args = ("state = ?", [state]) if state else (None, [])
    return [r["id"] for r in db["samples"].rows_where(where, args, select="id", order_by="id")]


def counts(db: Database) -> dict[str, int]:
    """How many samples are in each state."""
    found = {r["state"]: r["n"] for r in db.query("SELECT state, count(*) n FROM samples GROUP BY state")}
    return {state: found.get(state, 0) for state in ("pending", "accepted", "rejected", "filtered")}


def verdicts(db: Database, sample_id: int) -> list[VerdictRow]:
    """Every verdict on the sample and on its instruction, in the rules' order."""
    return [
        VerdictRow(
            r["rule"],
            bool(r["passed"]),
            r["score"],
            r["threshold"],
            r["detail"],
            r["neighbour"],
            r["neighbour_text"],
            "instruction" if r["part"] == 1 else "instance",
        )
        for r in db.query(resources.query("sample_verdicts"), {"sample_id": sample_id})
    ]


def origin(db: Database, sample_id: int) -> SampleOrigin | None:
    """Which model calls and which demonstrations made the sample; None where there is no such sample."""
    rows = list(db.query(resources.query("sample_origin"), {"sample_id": sample_id}))
    if not rows:
        return None
    shown = tuple((r["label"], r["instruction"]) for r in rows if r["label"] is not None)
    first = rows[0]
    return SampleOrigin(first["instruction_completion_id"], first["completion_id"], first["model"], shown)


def whole_tasks(db: Database, after: int = 0) -> list[tuple[PoolEntry, Instance]]:
    """Machine-made tasks that may be drawn as demonstrations: each candidate with its first pending or accepted sample.

    The instruction is the candidate's, as it was invented. Only candidates with an id above ``after``.
    """
    rows = db.query(
        "SELECT c.id, c.instruction, s.input, s.output "
        "FROM current_samples s JOIN candidates c ON c.id = s.candidate_id "
        "WHERE s.id IN (SELECT min(id) FROM samples WHERE +state IN ('pending', 'accepted') AND candidate_id > ? "
        "GROUP BY candidate_id) AND c.stage <> 'rejected' ORDER BY c.id",
        [after],
    )
    return [(PoolEntry("candidate", r["id"], r["instruction"]), Instance(r["input"], r["output"])) for r in rows]


def known_texts(db: Database, after: int = 0) -> list[tuple[int, str, str, str]]:
    """(id, instruction, input, output) of every sample (with an id above ``after``) that passed the rules, in order.

    The output of one that waits for another model's is not known yet.
    """
    rows = db.query(
        "SELECT id, instruction, input, CASE WHEN state = 'waiting' THEN '' ELSE output END AS output "
        "FROM current_samples WHERE id > ? AND state <> 'filtered' ORDER BY id",
        [after],
    )
    return [(r["id"], r["instruction"], r["input"], r["output"]) for r in rows]
