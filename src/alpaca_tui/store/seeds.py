"""Seed tasks: import, revisions, the human half of the pool, and what each seed led to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core import seedfile
from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.core.records import Instance, PoolEntry, SeedTask
from alpaca_tui.store.database import now, write

_NAMED = 5


@dataclass(frozen=True, slots=True)
class SeedRow:
    """A seed as stored: its task in the current revision."""

    id: int
    enabled: bool
    revision: int
    task: SeedTask


@dataclass(frozen=True, slots=True)
class SeedRevision:
    """One wording of a seed, and when it was written (seconds since the epoch)."""

    revision: int
    task: SeedTask
    created_at: float


@dataclass(frozen=True, slots=True)
class SeedUsage:
    """How often a seed was shown to the model, and what the calls that showed it led to.

    A call shows several seeds and counts for each of them. ``candidates`` are instructions, ``kept`` those that passed
    the filter; the other four are samples: ``filtered`` by a rule, the rest by what a person said.
    """

    drawn: int = 0
    candidates: int = 0
    kept: int = 0
    pending: int = 0
    accepted: int = 0
    rejected: int = 0
    filtered: int = 0


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did: seeds that are new, that have a new revision, and that were there already."""

    added: int
    revised: int
    unchanged: int


def add(db: Database, tasks: Iterable[SeedTask]) -> int:
    """Add the tasks whose ``task_id`` is new, all or none; return how many were added.

    Tasks whose id is known are passed over, whatever they say. Raises UsageError where a task is unfit.
    """
    added = 0
    with write(db):
        known = {row["task_id"] for row in db.query("SELECT task_id FROM seeds")}
        for task in map(_fit, tasks):
            if task.task_id in known:
                continue
            known.add(task.task_id)
            _insert(db, task)
            added += 1
    return added


def import_tasks(db: Database, tasks: Iterable[SeedTask], *, update: bool = False) -> ImportResult:
    """Take in the tasks of a file, all or none; the same file twice adds nothing.

    A known id with a text that the seed has now, or had in an earlier revision, is left alone: what a person edited
    here stays edited. A known id with any other text is a clash: AlpacaError, naming the ids, unless ``update``
    is set; then the file's text becomes a new revision. Raises UsageError where a task is unfit.
    """
    added = revised = unchanged = 0
    clashes: list[str] = []
    with write(db):
        known = {row.task.task_id: row for row in all_seeds(db)}
        for task in map(_fit, tasks):
            row = known.get(task.task_id)
            if row is None:
                seed_id = _insert(db, task)
                known[task.task_id] = SeedRow(seed_id, True, 1, task)
                added += 1
            elif task == row.task:
                unchanged += 1
            elif update:
                known[task.task_id] = _revise(db, row, task)
                revised += 1
            elif any(old.task == task for old in revisions(db, row.id)):
                unchanged += 1
            else:
                clashes.append(task.task_id)
        if clashes:
            names = ", ".join(clashes[:_NAMED]) + (f" and {len(clashes) - _NAMED} more" if clashes[_NAMED:] else "")
            raise AlpacaError(
                f"nothing was imported: the project has other texts under {len(clashes)} of these ids ({names}); "
                "give them new ids, or take the file's texts as new revisions with --update"
            )
    return ImportResult(added, revised, unchanged)


def revise(db: Database, seed_id: int, task: SeedTask) -> SeedRow:
    """Give a seed a new text as its next revision; earlier ones stay. The same text changes nothing.

    Raises UsageError where there is no such seed, where the task is unfit, or where its id is another one.
    """
    task = _fit(task)
    with write(db):
        row = get(db, seed_id)
        if task.task_id != row.task.task_id:
            raise UsageError(f"a revision keeps the seed's id {row.task.task_id!r}; add a new seed for another id")
        return row if task == row.task else _revise(db, row, task)


def set_enabled(db: Database, seed_ids: Sequence[int], enabled: bool) -> None:
    """Let seeds be drawn as demonstrations, or not, all or none. Raises UsageError where one does not exist."""
    with write(db):
        for seed_id in seed_ids:
            get(db, seed_id)
            db.execute("UPDATE seeds SET enabled = ? WHERE id = ?", [int(enabled), seed_id])


def _fit(task: SeedTask) -> SeedTask:
    faults = seedfile.task_errors(task)
    if faults:
        raise UsageError(f"the seed {task.task_id!r} cannot be kept: " + "; ".join(text for _, text in faults))
    return seedfile.clean_task(task)


def _insert(db: Database, task: SeedTask) -> int:
    row = db["seeds"].insert({"task_id": task.task_id, "created_at": now()})
    seed_id = int(row.last_pk)
    _insert_revision(db, seed_id, 1, task)
    return seed_id


def _revise(db: Database, row: SeedRow, task: SeedTask) -> SeedRow:
    newest = db.execute("SELECT max(revision) FROM seed_revisions WHERE seed_id = ?", [row.id]).fetchone()[0]
    _insert_revision(db, row.id, newest + 1, task)
    db.execute("UPDATE seeds SET revision = ? WHERE id = ?", [newest + 1, row.id])
    return replace(row, revision=newest + 1, task=task)


def _insert_revision(db: Database, seed_id: int, revision: int, task: SeedTask) -> None:
    db["seed_revisions"].insert(
        {
            "seed_id": seed_id,
            "revision": revision,
            "name": task.name,
            "instruction": task.instruction,
            "instances": json.dumps([{"input": i.input, "output": i.output} for i in task.instances]),
            "is_classification": int(task.is_classification),
            "created_at": now(),
        }
    )


def all_seeds(db: Database, *, enabled_only: bool = False) -> list[SeedRow]:
    """Every seed in its current revision, in the order of import."""
    where = "enabled = 1" if enabled_only else None
    return [_row(row) for row in db["current_seeds"].rows_where(where, order_by="id")]


def get(db: Database, seed_id: int) -> SeedRow:
    """One seed in its current revision. Raises UsageError where there is none."""
    for row in db["current_seeds"].rows_where("id = ?", [seed_id]):
        return _row(row)
    raise UsageError(f"there is no seed {seed_id}; list them with: alpaca-tui seeds list")


def revisions(db: Database, seed_id: int) -> list[SeedRevision]:
    """Every wording of a seed, oldest first."""
    rows = db.query(
        "SELECT r.*, s.task_id FROM seed_revisions r JOIN seeds s ON s.id = r.seed_id "
        "WHERE r.seed_id = ? ORDER BY r.revision",
        [seed_id],
    )
    return [SeedRevision(r["revision"], _task(r), r["created_at"]) for r in rows]


def _row(row: dict[str, Any]) -> SeedRow:
    return SeedRow(row["id"], bool(row["enabled"]), row["revision"], _task(row))


def _task(row: dict[str, Any]) -> SeedTask:
    instances = tuple(Instance(i["input"], i["output"]) for i in json.loads(row["instances"]))
    return SeedTask(row["task_id"], row["name"], row["instruction"], instances, bool(row["is_classification"]))


def pool(db: Database) -> list[PoolEntry]:
    """The human-written instructions that may be drawn as demonstrations."""
    return [PoolEntry("seed", row.id, row.task.instruction) for row in all_seeds(db, enabled_only=True)]


def count(db: Database) -> int:
    """How many seeds the project holds, disabled ones included."""
    return db["seeds"].count


def usage(db: Database) -> dict[int, SeedUsage]:
    """By seed id, for every seed: how often it was shown, and what came of it."""
    return {
        row.pop("seed_id"): SeedUsage(**row)
        for row in db.query(resources.query("seed_usage"))  # every other column is a field
    }


def new_task_id(db: Database, prefix: str = "own") -> str:
    """An id that no seed has: ``own_001``, ``own_002`` …"""
    taken = {row["task_id"] for row in db.query("SELECT task_id FROM seeds")}
    number = 1
    while f"{prefix}_{number:03d}" in taken:
        number += 1
    return f"{prefix}_{number:03d}"


def export(db: Database, *, enabled_only: bool = False, ascii: bool = False) -> str:
    """The seeds in their current revisions as a canonical file, in the order of import.

    What was imported from a canonical file and not edited comes out byte for byte.
    """
    return seedfile.dump_seed_file((row.task for row in all_seeds(db, enabled_only=enabled_only)), ascii=ascii)
