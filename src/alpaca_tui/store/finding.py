"""The query grammar as SQL: which samples (or rejects) a query finds, in which order.

Every value is a bound parameter. Conditions on a sample's own row use its indexes; those on texts, verdicts and origins
are looked up by key for the rows that are left.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.query import Compare, Is, Query, Words
from alpaca_tui.store.flips import FLIPPED

Order = Literal["oldest", "newest", "nearest", "longest", "random"]
ORDERS: tuple[Order, ...] = ("oldest", "newest", "nearest", "longest", "random")
ORDER_NAMES = {
    "oldest": "oldest first",
    "newest": "newest first",
    "nearest": "nearest to a threshold",
    "longest": "longest first",
    "random": "random audit",
}

ROUGE_RULES = ("novelty", "near_duplicate_instance", "echo")
"""The rules whose score is a ROUGE-L."""

_ROUGE = (
    "coalesce((SELECT max(v.score) FROM (SELECT score FROM candidate_verdicts WHERE candidate_id = s.candidate_id "
    f"AND rule IN {ROUGE_RULES} UNION ALL SELECT score FROM sample_verdicts WHERE sample_id = s.id "
    f"AND rule IN {ROUGE_RULES}) v), 0)"
)
_NEAREST = (
    "(SELECT min(abs(v.score - v.threshold)) FROM (SELECT score, threshold FROM candidate_verdicts "
    f"WHERE candidate_id = s.candidate_id AND rule IN {ROUGE_RULES} UNION ALL SELECT score, threshold "
    f"FROM sample_verdicts WHERE sample_id = s.id AND rule IN {ROUGE_RULES}) v)"
)
_ORDER_SQL = {
    "oldest": "s.id",
    "newest": "s.id DESC",
    "nearest": f"{_NEAREST} IS NULL, {_NEAREST}, s.id",
    "longest": "length(r.instruction) + length(r.input) + length(r.output) DESC, s.id",
    # A multiplicative hash (Knuth, The Art of Computer Programming, volume 3, section 6.4): the same at every look.
    "random": "(s.id * 2654435761 + 1013904223) % 4294967296, s.id",
}
_NUMBERS = {
    "rouge": _ROUGE,
    "len": "word_count(r.instruction)",
    "in": "word_count(r.input)",
    "out": "word_count(r.output)",
    "margin": "abs(c.classification_margin)",
    "id": "s.id",
}
_AMONG = "IN (SELECT value FROM json_each({}))"
_CONDITIONS = {
    "status": "s.state {}",
    "rule": "(s.rejected_by {0} OR EXISTS (SELECT 1 FROM sample_verdicts v WHERE v.sample_id = s.id AND v.passed = 0 "
    "AND v.rule {0}) OR EXISTS (SELECT 1 FROM candidate_verdicts v WHERE v.candidate_id = s.candidate_id "
    "AND v.passed = 0 AND v.rule {0}))",
    "kind": "CASE c.is_classification WHEN 1 THEN 'classification' ELSE 'generation' END {}",
    "doubtful": f"CASE WHEN c.low_margin = 1 AND NOT {FLIPPED.format('c.id')} THEN 'yes' ELSE 'no' END {{}}",
    "edited": "CASE r.author WHEN 'person' THEN 'yes' ELSE 'no' END {}",
    "seed": "EXISTS (SELECT 1 FROM demonstrations d JOIN seeds e ON e.id = d.seed_id WHERE d.completion_id = "
    "c.completion_id AND (folded(e.task_id) {0} OR CAST(e.id AS TEXT) {0}))",
    "model": "EXISTS (SELECT 1 FROM completions o WHERE o.id IN (s.completion_id, c.completion_id) "
    "AND folded(o.model) {})",
    "tag": "EXISTS (SELECT 1 FROM sample_tags t WHERE t.sample_id = s.id AND folded(t.tag) {})",
    "reason": "(s.state = 'rejected' AND EXISTS (SELECT 1 FROM decisions d WHERE d.id = (SELECT max(id) FROM decisions "
    "WHERE sample_id = s.id AND undone_at IS NULL AND action IN ('accept', 'reject')) AND folded(d.reason) {}))",
}


@dataclass(frozen=True, slots=True)
class _Where:
    sql: str
    values: dict[str, object]


def _where(
    query: Query,
    numbers: Mapping[str, str] = _NUMBERS,
    conditions: Mapping[str, str] = _CONDITIONS,
    texts: str = "r.instruction, r.input, r.output",
) -> _Where:
    parts: list[str] = []
    values: dict[str, object] = {}
    for n, term in enumerate(query.terms):
        name, condition = f"q{n}", term.condition
        if isinstance(condition, Words):
            sql = f"holds_words(:{name}, {texts})"
            values[name] = condition.text.casefold()
        elif isinstance(condition, Compare):
            sql = f"{numbers[condition.field]} {condition.operator} :{name}"
            values[name] = condition.number
        else:
            sql = conditions[condition.field].format(_AMONG.format(f":{name}"))
            values[name] = json.dumps([value.casefold() for value in condition.values])
        # NULL (no margin) stands in no relation; its contrary then holds.
        parts.append(f"NOT coalesce({sql}, 0)" if term.negated else f"({sql})")
    return _Where(" AND ".join(parts) or "1", values)


def _from(*used: str) -> str:
    """The tables that these pieces of SQL speak of."""
    text = " ".join(used)
    joins = "FROM samples s"
    if "r." in text:
        joins += " JOIN sample_revisions r ON r.sample_id = s.id AND r.revision = s.revision"
    if "c." in text:
        joins += " JOIN candidates c ON c.id = s.candidate_id"
    return joins


def _prepare(db: Database) -> None:
    db.conn.create_function("word_count", 1, _word_count, deterministic=True)
    db.conn.create_function("holds_words", -1, _holds_words, deterministic=True)
    db.conn.create_function("folded", 1, _folded, deterministic=True)


def _word_count(text: str) -> int:
    return len(text.split())


def _holds_words(words: str, *texts: str) -> bool:
    return any(words in text.casefold() for text in texts)


def _folded(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def sample_ids(db: Database, query: Query, order: Order = "oldest", *, after: int = 0, limit: int = -1) -> list[int]:
    """The ids of the samples (with an id above ``after``) that the query finds; ``limit`` -1: all."""
    _prepare(db)
    where, by = _where(query), _ORDER_SQL[order]
    sql = f"SELECT s.id {_from(where.sql, by)} WHERE s.id > :after AND {where.sql} ORDER BY {by} LIMIT :limit"
    rows = db.execute(sql, where.values | {"after": after, "limit": limit})
    return [sample_id for (sample_id,) in rows]


def count_samples(db: Database, query: Query, *, after: int = 0) -> int:
    """How many samples (with an id above ``after``) the query finds."""
    _prepare(db)
    where = _where(query)
    sql = f"SELECT count(*) {_from(where.sql)} WHERE s.id > :after AND {where.sql}"
    return db.execute(sql, where.values | {"after": after}).fetchone()[0]


def is_found(db: Database, query: Query, sample_id: int) -> bool:
    """Whether the query finds this sample (now)."""
    _prepare(db)
    where = _where(query)
    sql = f"SELECT 1 {_from(where.sql)} WHERE s.id = :sample AND {where.sql}"
    return db.execute(sql, where.values | {"sample": sample_id}).fetchone() is not None


_REJECT_NUMBERS = {"rouge": "x.score", "len": "word_count(x.instruction)", "id": "x.id"}
_REJECT_CONDITIONS = {"rule": "x.rejected_by {}", "kind": "x.kind {}"}


def _rejects(query: Query) -> tuple[str, dict[str, object]]:
    """The rejects that the query finds, as a source of rows and a condition, with its values."""
    where = _where(query, _REJECT_NUMBERS, _REJECT_CONDITIONS, "x.instruction, x.input, x.output")
    # What asks for no text and no score is answered from the indexes.
    plain = all(isinstance(term.condition, Is) for term in query.terms)
    source = "rejects" if plain else f"({resources.query('rejects_in_full').rstrip().rstrip(';')})"
    return f"FROM {source} x WHERE {where.sql}", where.values


def count_rejects(db: Database, query: Query) -> int:
    """How many instructions and samples that the rules threw out the query finds."""
    _prepare(db)
    found, values = _rejects(query)
    return db.execute(f"SELECT count(*) {found}", values).fetchone()[0]


def page_reject_keys(db: Database, query: Query, offset: int, limit: int) -> list[tuple[str, int, str]]:
    """A page of (kind, id, rule) of what the rules threw out: instructions, then samples, the newest first."""
    _prepare(db)
    found, values = _rejects(query)
    sql = f"SELECT x.kind, x.id, x.rejected_by {found} ORDER BY x.kind, x.id DESC LIMIT :limit OFFSET :offset"
    return db.execute(sql, values | {"limit": limit, "offset": offset}).fetchall()
