"""Frozen data sets: membership, split, content hash, card."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.core.exchange import Record
from alpaca_tui.core.query import Query
from alpaca_tui.store import finding
from alpaca_tui.store.database import now, write


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A frozen data set: its name, hash and card (counts, split seed, where the rows came from)."""

    id: int
    name: str
    content_hash: str
    card: dict[str, Any]
    created_at: float


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a data set; ``split`` is 'train' or 'held_out'."""

    position: int
    split: str
    instruction: str
    input: str
    output: str


def freeze(db: Database, name: str, *, held_out: float = 0.1, seed: int = 0, query: Query | None = None) -> DatasetRow:
    """Fix all accepted samples (of those that ``query`` finds) as the data set ``name`` with a train/held-out split.

    The split is drawn by candidate, so that two instances of one instruction never lie on both sides. At least one
    example is held out where there are two or more candidates. Raises AlpacaError where nothing is accepted,
    UsageError where the name is taken.
    """
    if not 0.0 <= held_out < 1.0:
        raise UsageError(f"the held-out share must be at least 0 and below 1, not {held_out}")
    with write(db):
        rows = list(db["current_samples"].rows_where("state = 'accepted'", order_by="id"))
        if rows and query is not None:
            found = set(finding.sample_ids(db, query))
            rows = [row for row in rows if row["id"] in found]
            if not rows:
                raise AlpacaError(f"there is nothing to freeze: no accepted sample is found by {query}")
        if not rows:
            raise AlpacaError(
                "there is nothing to freeze: no sample is accepted yet; accept some in the Review screen (a) "
                "or with: alpaca-tui review accept ID"
            )
        chosen = _held_out_candidates([r["candidate_id"] for r in rows], held_out, seed)
        examples = [
            Example(
                i,
                "held_out" if r["candidate_id"] in chosen else "train",
                r["instruction"],
                r["input"],
                r["output"],
            )
            for i, r in enumerate(rows)
        ]
        card = {"source": "accepted samples", "held_out_share": held_out, "split_seed": seed} | _sizes(examples)
        if query is not None:
            card["query"] = str(query)
        dataset_id = _insert(db, name, examples, card)
        for example, row in zip(examples, rows, strict=True):
            db.execute(
                "UPDATE dataset_rows SET sample_id = ?, sample_revision = ? WHERE dataset_id = ? AND position = ?",
                [row["id"], row["revision"], dataset_id, example.position],
            )
    return get(db, name)


def take(
    db: Database, name: str, records: Sequence[Record], *, held_out: float = 0.1, seed: int = 0, source: str = ""
) -> DatasetRow:
    """Store records from elsewhere as a frozen data set.

    Where no record is held out already, the split is drawn by instruction. Raises UsageError where the name is taken.
    """
    if not 0.0 <= held_out < 1.0:
        raise UsageError(f"the held-out share must be at least 0 and below 1, not {held_out}")
    given = any(split == "held_out" for split, *_ in records)
    numbers = {instruction: i for i, instruction in enumerate(dict.fromkeys(r[1] for r in records))}
    drawn = set() if given else _held_out_candidates(list(numbers.values()), held_out, seed)
    rows = [
        Example(i, "held_out" if numbers[record[1]] in drawn else record[0], *record[1:])
        for i, record in enumerate(records)
    ]
    card = {"source": source, "held_out_share": None if given else held_out, "split_seed": None if given else seed}
    with write(db):
        _insert(db, name, rows, card | _sizes(rows))
    return get(db, name)


def _held_out_candidates(candidate_ids: Sequence[int], share: float, seed: int) -> set[int]:
    distinct = sorted(set(candidate_ids))
    wanted = round(len(distinct) * share)
    if share > 0 and len(distinct) > 1:
        wanted = min(max(1, wanted), len(distinct) - 1)
    return set(random.Random(seed).sample(distinct, wanted))


def _sizes(examples: Sequence[Example]) -> dict[str, int]:
    held_out = sum(e.split == "held_out" for e in examples)
    return {"examples": len(examples), "train": len(examples) - held_out, "held_out": held_out}


def _insert(db: Database, name: str, examples: Sequence[Example], card: dict[str, Any]) -> int:
    try:
        row = db["datasets"].insert(
            {
                "name": name,
                "content_hash": content_hash(examples),
                "card": json.dumps(card),
                "created_at": now(),
            }
        )
    except sqlite3.IntegrityError as error:
        raise UsageError(f"a data set named {name!r} exists already; frozen data sets never change") from error
    dataset_id = int(row.last_pk)
    db["dataset_rows"].insert_all(
        {
            "dataset_id": dataset_id,
            "position": e.position,
            "split": e.split,
            "instruction": e.instruction,
            "input": e.input,
            "output": e.output,
        }
        for e in examples
    )
    return dataset_id


def content_hash(examples: Sequence[Example]) -> str:
    """sha256 over the rows in order, each as a JSON list [split, instruction, input, output]."""
    digest = hashlib.sha256()
    for e in examples:
        line = json.dumps([e.split, e.instruction, e.input, e.output], ensure_ascii=False)
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def get(db: Database, name: str) -> DatasetRow:
    """The data set ``name``. Raises UsageError where there is none."""
    for r in db["datasets"].rows_where("name = ?", [name]):
        return _row(r)
    names = ", ".join(d.name for d in all_datasets(db)) or "none yet"
    raise UsageError(
        f"there is no data set {name!r} (there are: {names}); freeze one with: alpaca-tui dataset freeze {name}"
    )


def all_datasets(db: Database) -> list[DatasetRow]:
    """Every data set, oldest first."""
    return [_row(r) for r in db["datasets"].rows_where(order_by="id")]


def _row(r: dict) -> DatasetRow:
    return DatasetRow(r["id"], r["name"], r["content_hash"], json.loads(r["card"]), r["created_at"])


def examples(db: Database, dataset_id: int, split: str | None = None) -> list[Example]:
    """The rows of a data set in order, of one split or both."""
    rows = db["dataset_rows"].rows_where(
        "dataset_id = :dataset AND (:split IS NULL OR split = :split)",
        {"dataset": dataset_id, "split": split},
        order_by="position",
    )
    return [Example(r["position"], r["split"], r["instruction"], r["input"], r["output"]) for r in rows]
