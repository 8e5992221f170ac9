"""Reads that only the screens need: pages of long lists, the neighbours of a card, small counts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui.ui.snapshot import PoolLine


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


def newest_in_pool(db: Database, limit: int) -> tuple[PoolLine, ...]:
    """The newest instructions that passed the filter, newest first."""
    rows = db.execute(
        "SELECT id, instruction FROM candidates WHERE stage <> 'rejected' ORDER BY id DESC LIMIT ?", [limit]
    )
    return tuple(PoolLine(str(id), text) for id, text in rows)


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


def seed_ids(db: Database, words: str = "") -> list[int]:
    """The seeds that hold the words in their instruction, name or id; in the order of import."""
    like = "%" + re.sub(r"([\\%_])", r"\\\1", words) + "%"
    rows = db.execute(
        "SELECT id FROM current_seeds WHERE :words = '' OR instruction LIKE :like ESCAPE '\\' "
        "OR name LIKE :like ESCAPE '\\' OR task_id LIKE :like ESCAPE '\\' ORDER BY id",
        {"words": words, "like": like},
    )
    return [id for (id,) in rows]


def seed_lines(db: Database, ids: Sequence[int]) -> list[SeedLine]:
    """The seeds of these ids, in that order."""
    rows = db.execute(
        "SELECT s.id, s.name, s.instruction, s.is_classification, s.enabled "
        "FROM json_each(?) wanted JOIN current_seeds s ON s.id = wanted.value ORDER BY wanted.key",
        [json.dumps(list(ids))],
    )
    return [SeedLine(id, name, text, bool(c), bool(enabled)) for id, name, text, c, enabled in rows]


_REJECTS = (
    "FROM (SELECT 'instruction' AS kind, id, rejected_by FROM candidates WHERE stage = 'rejected' "
    "UNION ALL SELECT 'sample', id, rejected_by FROM samples WHERE state = 'filtered') "
    "WHERE :rule = '' OR rejected_by = :rule"
)


def count_rejects(db: Database, rule: str = "") -> int:
    """How many instructions and samples the rules threw out (one rule, or all)."""
    return db.execute(f"SELECT count(*) {_REJECTS}", {"rule": rule}).fetchone()[0]


def page_rejects(db: Database, rule: str, offset: int, limit: int) -> list[Reject]:
    """A page of what the rules threw out, newest first within instructions, then samples."""
    keys = db.execute(
        f"SELECT kind, id, rejected_by {_REJECTS} ORDER BY kind, id DESC LIMIT :limit OFFSET :offset",
        {"rule": rule, "limit": limit, "offset": offset},
    ).fetchall()
    found = [_instruction(db, id) if kind == "instruction" else _sample(db, id, by) for kind, id, by in keys]
    return [reject for reject in found if reject is not None]


def _instruction(db: Database, id: int) -> Reject | None:
    row = db.execute(
        "SELECT v.rule, v.score, v.threshold, v.detail, c.instruction, "
        "CASE WHEN v.neighbour_seed_id IS NOT NULL THEN 'seed ' || v.neighbour_seed_id "
        "WHEN v.neighbour_candidate_id IS NOT NULL THEN 'candidate ' || v.neighbour_candidate_id END, "
        "coalesce(s.instruction, o.instruction) "
        "FROM candidates c JOIN candidate_verdicts v ON v.candidate_id = c.id AND v.rule = c.rejected_by "
        "LEFT JOIN current_seeds s ON s.id = v.neighbour_seed_id "
        "LEFT JOIN candidates o ON o.id = v.neighbour_candidate_id WHERE c.id = ?",
        [id],
    ).fetchone()
    return None if row is None else Reject("instruction", id, *row)


def _sample(db: Database, id: int, rule: str) -> Reject | None:
    row = db.execute(
        "SELECT v.rule, v.score, v.threshold, v.detail, "
        "s.instruction || char(10) || s.input || char(10) || s.output, "
        "CASE WHEN v.neighbour_sample_id IS NOT NULL THEN 'sample ' || v.neighbour_sample_id END, "
        "o.instruction || char(10) || o.input || char(10) || o.output "
        "FROM current_samples s LEFT JOIN sample_verdicts v ON v.sample_id = s.id AND v.rule = s.rejected_by "
        "LEFT JOIN current_samples o ON o.id = v.neighbour_sample_id WHERE s.id = ?",
        [id],
    ).fetchone()
    if row is None:
        return None
    return Reject("sample", id, row[0] or rule, *row[1:])


def reject_rules(db: Database) -> list[str]:
    """The rules that threw something out, the busiest first."""
    rows = db.execute(
        "SELECT rejected_by, count(*) n FROM (SELECT rejected_by FROM candidates WHERE stage = 'rejected' "
        "UNION ALL SELECT rejected_by FROM samples WHERE state = 'filtered') GROUP BY 1 ORDER BY n DESC, 1"
    )
    return [rule for rule, _ in rows]
