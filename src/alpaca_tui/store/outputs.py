"""Outputs that another model writes anew: the samples that wait for one, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.records import Verdict
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.store import samples

NO_OUTPUT = "output_model"
"""What filters out a sample that waited for another model's output and got none."""


@dataclass(frozen=True, slots=True)
class OutputRow:
    """A sample whose output is to be written anew: its text as it is now, and its state."""

    sample_id: int
    candidate_id: int
    revision: int
    state: str
    instruction: str
    input: str
    output: str


def queue(
    db: Database, model: str, limit: int, *, regenerate: bool = False, tries: int = 3, wanted: bool = False
) -> list[OutputRow]:
    """The oldest samples that wait for an output; with ``regenerate``, the pending ones not yet answered by ``model``.

    What a person has edited is never written over. Left out: what failed ``tries`` times, and (with ``regenerate``)
    what the model has answered already, usable or not. Without, nothing is left out for that: see ``drop``.
    ``wanted``: only those of instructions that a person flipped or rescued.
    """
    values = {"model": model, "limit": limit, "regenerate": int(regenerate), "tries": tries, "wanted": int(wanted)}
    return [OutputRow(*row) for row in db.execute(resources.query("output_queue"), values).fetchall()]


def count_waiting(db: Database) -> int:
    """How many samples wait for another model's output."""
    return db["samples"].count_where("state = 'waiting'")


def current(db: Database, sample_id: int) -> OutputRow | None:
    """The sample as it is now; None where it neither waits nor is pending (a person, or a rule, was first)."""
    row = samples.get(db, sample_id)
    if row is None or row.state not in ("waiting", "pending"):
        return None
    return OutputRow(row.id, row.candidate_id, row.revision, row.state, row.instruction, row.input, row.output)


def put(
    db: Database,
    row: OutputRow,
    completion_id: int,
    output: str,
    verdicts: Sequence[Verdict],
    tokenizer: TokenizerName = "rouge",
) -> bool:
    """Make the new output the sample's current revision; return whether it is pending now, and not filtered.

    The old output stays as a revision. ``verdicts`` take the place of earlier ones of the same rules. Belongs inside
    the caller's transaction.
    """
    number = samples.newest_revision(db, row.sample_id) + 1
    samples.insert_revision(
        db, row.sample_id, number, "model", row.instruction, row.input, output, completion_id=completion_id
    )
    samples.set_verdicts(db, row.sample_id, verdicts, tokenizer)
    failed = next((verdict.rule for verdict in verdicts if not verdict.passed), None)
    db.execute(
        "UPDATE samples SET revision = ?, state = ?, rejected_by = ? WHERE id = ?",
        [number, "filtered" if failed else "pending", failed, row.sample_id],
    )
    return failed is None


def drop(db: Database, row: OutputRow) -> None:
    """No usable output came: a waiting sample is filtered out, with that as its reason; a pending one stays as it is.

    Belongs inside the caller's transaction.
    """
    db.execute(
        "UPDATE samples SET state = 'filtered', rejected_by = ? WHERE id = ? AND state = 'waiting'",
        [NO_OUTPUT, row.sample_id],
    )
