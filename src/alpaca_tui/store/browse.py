"""Reads for browsing: pages of long lists, the neighbours of a card, small counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.query import Query, Value, holds
from alpaca_tui.store import finding


@dataclass(frozen=True, slots=True)
class Reject:
    """Something a rule threw out: an instruction before it got its instances, or a whole sample."""

    kind: str
    """'instruction' or 'sample'."""
    id: int
    rule: str
    score: float | None
    threshold: float | None
    detail: str
    text: str
    neighbour: str | None
    """Which row the nearest text is, such as 'seed 12'."""
    neighbour_text: str | None


@dataclass(frozen=True, slots=True)
class SeedLine:
    """One seed in the list."""

    id: int
    name: str
    instruction: str
    is_classification: bool
    enabled: bool


def newest_in_pool(db: Database, limit: int) -> list[tuple[int, str]]:
    """(candidate id, instruction) of the newest that passed the filter, newest first."""
    rows = db.execute(
        "SELECT id, instruction FROM candidates WHERE stage <> 'rejected' ORDER BY id DESC LIMIT ?", [limit]
    )
    return rows.fetchall()


def seed_counts(db: Database) -> tuple[int, int, int]:
    """(all seeds, enabled ones, enabled classification tasks)."""
    return db.execute(
        "SELECT count(*), coalesce(sum(enabled), 0), coalesce(sum(enabled AND is_classification), 0) FROM current_seeds"
    ).fetchone()


def neighbour_id(db: Database, state: str, from_id: int, *, forward: bool = True) -> int | None:
    """The next (or previous) sample of that state after (before) ``from_id``."""
    sql = (
        "SELECT min(id) FROM samples WHERE state = ? AND id > ?"
        if forward
        else "SELECT max(id) FROM samples WHERE state = ? AND id < ?"
    )
    return db.execute(sql, [state, from_id]).fetchone()[0]


def count_after(db: Database, state: str, from_id: int) -> int:
    """How many samples of that state have a greater id."""
    return db.execute("SELECT count(*) FROM samples WHERE state = ? AND id > ?", [state, from_id]).fetchone()[0]


def newest_sample(db: Database) -> int:
    """The greatest id of a sample; 0 where there is none."""
    return db.execute("SELECT coalesce(max(id), 0) FROM samples").fetchone()[0]


def completion_model(db: Database, completion_id: int) -> tuple[str, str, int] | None:
    """(model, stage, seed) of a model call."""
    return db.execute("SELECT model, stage, seed FROM completions WHERE id = ?", [completion_id]).fetchone()


def completion_text(db: Database, completion_id: int) -> tuple[str, str | None]:
    """(the model's raw answer, why not all of it could be read)."""
    return db.execute("SELECT text, problem FROM completions WHERE id = ?", [completion_id]).fetchone()


def seed_ids(db: Database, query: Query) -> list[int]:
    """The seeds that the query finds (words: in their instruction, name or id); in the order of import."""
    rows = db.execute(
        "SELECT id, task_id, name, instruction, is_classification, enabled, json_array_length(instances) "
        "FROM current_seeds ORDER BY id"
    )
    found = []
    for id, task_id, name, instruction, classification, enabled, instances in rows:
        values: dict[str, Value] = {
            "status": "on" if enabled else "off",
            "kind": "classification" if classification else "generation",
            "len": len(instruction.split()),
            "id": id,
            "instances": instances,
        }
        if holds(query, values, instruction, name, task_id):
            found.append(id)
    return found


def seed_lines(db: Database, ids: Sequence[int]) -> list[SeedLine]:
    """The seeds of these ids, in that order."""
    rows = db.execute(
        "SELECT s.id, s.name, s.instruction, s.is_classification, s.enabled "
        "FROM json_each(?) wanted JOIN current_seeds s ON s.id = wanted.value ORDER BY wanted.key",
        [json.dumps(list(ids))],
    )
    return [SeedLine(id, name, text, bool(c), bool(enabled)) for id, name, text, c, enabled in rows]


def tags_of(db: Database, ids: Sequence[int]) -> dict[int, list[str]]:
    """The tags of those of the samples that have any, in alphabetical order."""
    rows = db.execute(
        "SELECT sample_id, tag FROM sample_tags WHERE sample_id IN (SELECT value FROM json_each(?)) ORDER BY 1, 2",
        [json.dumps(list(ids))],
    )
    found: dict[int, list[str]] = {}
    for sample_id, tag in rows:
        found.setdefault(sample_id, []).append(tag)
    return found


def tag_counts(db: Database) -> list[tuple[str, int]]:
    """Every tag and on how many samples it is, the most used first."""
    return db.execute("SELECT tag, count(*) FROM sample_tags GROUP BY tag ORDER BY 2 DESC, 1").fetchall()


def page_rejects(db: Database, query: Query, offset: int, limit: int) -> list[Reject]:
    """A page of what the rules threw out and the query finds: instructions, then samples, the newest first."""
    keys = finding.page_reject_keys(db, query, offset, limit)
    found = [_instruction(db, id) if kind == "instruction" else _sample(db, id, by) for kind, id, by in keys]
    return [reject for reject in found if reject is not None]


def _instruction(db: Database, id: int) -> Reject | None:
    row = db.execute(resources.query("rejected_instruction"), {"id": id}).fetchone()
    return None if row is None else Reject("instruction", id, *row)


def _sample(db: Database, id: int, rule: str) -> Reject | None:
    row = db.execute(resources.query("rejected_sample"), {"id": id}).fetchone()
    return None if row is None else Reject("sample", id, row[0] or rule, *row[1:])


def latest_change(db: Database) -> Literal["decision", "replay"] | None:
    """What an undo would take back: the latest decision of a person, or the replay that was applied after it."""
    decided = db.execute(
        "SELECT max(coalesce((SELECT max(decided_at) FROM decisions WHERE undone_at IS NULL), 0),"
        " coalesce((SELECT max(decided_at) FROM rescues WHERE undone_at IS NULL), 0))"
    ).fetchone()[0]
    applied = db.execute("SELECT coalesce(max(applied_at), 0) FROM replays WHERE undone_at IS NULL").fetchone()[0]
    if not decided and not applied:
        return None
    return "replay" if applied > decided else "decision"
