"""Suites: frozen lists of tasks that models are scored on, so that all of them get the very same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.errors import UsageError
from alpaca_tui.store import datasets, seeds
from alpaca_tui.store.database import now, write
from alpaca_tui.store.datasets import DatasetRow

SEEDS = "seeds"
"""The suite of the project's own seed tasks."""
HELD_OUT = "/held_out"


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """A suite: its name, the data set it is a part of (None: the seeds), and the hash over its tasks."""

    id: int
    name: str
    dataset_id: int | None
    content_hash: str


@dataclass(frozen=True, slots=True)
class SuiteTask:
    """One task with its reference ``output``; ``position`` is the row's place in the data set, or the seed's id."""

    position: int
    instruction: str
    input: str
    output: str
    is_classification: bool


def held_out(db: Database, dataset: DatasetRow) -> SuiteRow:
    """The held-out rows of a data set. Raises UsageError where it holds nothing out."""
    rows = db.execute(resources.query("held_out_tasks"), [dataset.id]).fetchall()
    if not rows:
        raise UsageError(
            f"the data set {dataset.name} holds nothing out; freeze one with: "
            "alpaca-tui dataset freeze NAME --held-out 0.1"
        )
    return _ensure(db, dataset.name + HELD_OUT, dataset.id, [_task(row) for row in rows])


def from_seeds(db: Database) -> SuiteRow:
    """The enabled seed tasks with the first instance of each, but for those that stand in a data set's training part.

    Samples are never trained on for being seeds, but an imported data set may hold the same task. Raises UsageError
    where none is left.
    """
    trained = {row[0] for row in db.execute("SELECT DISTINCT instruction FROM dataset_rows WHERE split = 'train'")}
    tasks = [
        SuiteTask(row.id, row.task.instruction, first.input, first.output, row.task.is_classification)
        for row in seeds.all_seeds(db)
        if row.enabled and row.task.instruction not in trained
        for first in row.task.instances[:1]
    ]
    if not tasks:
        raise UsageError("no seed task is left to evaluate on: all are off, or were trained on")
    return _ensure(db, SEEDS, None, tasks)


def find(db: Database, name: str | None) -> SuiteRow:
    """A suite by name: ``seeds``, a data set's name, or ``NAME/held_out``; None: that of the newest data set.

    Raises UsageError where there is none.
    """
    if name == SEEDS:
        return from_seeds(db)
    if name is None:
        known = datasets.all_datasets(db)
        if not known:
            raise UsageError(
                "there is no data set yet; freeze one with: alpaca-tui dataset freeze NAME, "
                "or evaluate on the seed tasks with: --suite seeds"
            )
        return held_out(db, known[-1])
    return held_out(db, datasets.get(db, name.removesuffix(HELD_OUT)))


def get(db: Database, suite_id: int) -> SuiteRow:
    """A suite by number."""
    return next(_row(r) for r in db["suites"].rows_where("id = ?", [suite_id]))


def tasks(db: Database, suite_id: int) -> list[SuiteTask]:
    """The tasks of a suite in order."""
    rows = db.execute(
        "SELECT position, instruction, input, output, is_classification FROM suite_tasks WHERE suite_id = ? "
        "ORDER BY position",
        [suite_id],
    )
    return [_task(row) for row in rows.fetchall()]


def _ensure(db: Database, name: str, dataset_id: int | None, tasks: Sequence[SuiteTask]) -> SuiteRow:
    content = _hash(tasks)
    with write(db):
        known = next((r for r in db["suites"].rows_where("name = ? AND content_hash = ?", [name, content])), None)
        if known is not None:
            return _row(known)
        row = db["suites"].insert(
            {"name": name, "dataset_id": dataset_id, "content_hash": content, "created_at": now()}
        )
        suite_id = int(row.last_pk)
        db.conn.executemany(
            "INSERT INTO suite_tasks (suite_id, position, instruction, input, output, is_classification) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [(suite_id, t.position, t.instruction, t.input, t.output, int(t.is_classification)) for t in tasks],
        )
    return SuiteRow(suite_id, name, dataset_id, content)


def _hash(tasks: Sequence[SuiteTask]) -> str:
    digest = hashlib.sha256()
    for t in tasks:
        line = json.dumps([t.position, t.instruction, t.input, t.output, t.is_classification], ensure_ascii=False)
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def _task(row: Sequence) -> SuiteTask:
    return SuiteTask(row[0], row[1], row[2], row[3], bool(row[4]))


def _row(r: dict) -> SuiteRow:
    return SuiteRow(r["id"], r["name"], r["dataset_id"], r["content_hash"])
