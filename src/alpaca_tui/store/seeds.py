"""Seed tasks: import, revisions, the human half of the pool."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui.core.records import Instance, PoolEntry, SeedTask
from alpaca_tui.store.database import now, write


@dataclass(frozen=True, slots=True)
class SeedRow:
    """A seed as stored: its task in the current revision."""

    id: int
    enabled: bool
    revision: int
    task: SeedTask


def add(db: Database, tasks: Iterable[SeedTask]) -> int:
    """Add the tasks whose ``task_id`` is new, all or none; return how many were added."""
    added = 0
    with write(db):
        known = {row["task_id"] for row in db.query("SELECT task_id FROM seeds")}
        for task in tasks:
            if task.task_id in known:
                continue
            known.add(task.task_id)
            row = db["seeds"].insert({"task_id": task.task_id, "created_at": now()})
            _insert_revision(db, int(row.last_pk), 1, task)
            added += 1
    return added


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


def _row(row: dict) -> SeedRow:
    instances = tuple(Instance(i["input"], i["output"]) for i in json.loads(row["instances"]))
    task = SeedTask(row["task_id"], row["name"], row["instruction"], instances, bool(row["is_classification"]))
    return SeedRow(row["id"], bool(row["enabled"]), row["revision"], task)


def pool(db: Database) -> list[PoolEntry]:
    """The human-written instructions that may be drawn as demonstrations."""
    return [PoolEntry("seed", row.id, row.task.instruction) for row in all_seeds(db, enabled_only=True)]


def count(db: Database) -> int:
    """How many seeds the project holds, disabled ones included."""
    return db["seeds"].count
