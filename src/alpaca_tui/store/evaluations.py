"""Evaluations: metrics of a model on a suite, with every output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui.store.database import now, write


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One model's result on one suite."""

    id: int
    job_id: int
    dataset_id: int
    suite: str
    model: str
    metrics: dict[str, float]
    created_at: float


@dataclass(frozen=True, slots=True)
class EvaluationItem:
    """A model's output for one held-out row; ``position`` is the row's place in the data set."""

    position: int
    output: str
    rouge_l: float


def record(
    db: Database,
    job_id: int,
    dataset_id: int,
    suite: str,
    model: str,
    metrics: Mapping[str, float],
    items: Sequence[EvaluationItem],
) -> int:
    """Store one model's result; return its id."""
    with write(db):
        row = db["evaluations"].insert(
            {
                "job_id": job_id,
                "dataset_id": dataset_id,
                "suite": suite,
                "model": model,
                "metrics": json.dumps(dict(metrics)),
                "created_at": now(),
            }
        )
        evaluation_id = int(row.last_pk)
        db["evaluation_items"].insert_all(
            {
                "evaluation_id": evaluation_id,
                "position": item.position,
                "output": item.output,
                "rouge_l": item.rouge_l,
            }
            for item in items
        )
    return evaluation_id


def all_evaluations(db: Database, job_id: int | None = None) -> list[EvaluationRow]:
    """Every evaluation (of one job), oldest first."""
    where, args = ("job_id = ?", [job_id]) if job_id is not None else (None, [])
    return [
        EvaluationRow(
            r["id"],
            r["job_id"],
            r["dataset_id"],
            r["suite"],
            r["model"],
            json.loads(r["metrics"]),
            r["created_at"],
        )
        for r in db["evaluations"].rows_where(where, args, order_by="id")
    ]


def items(db: Database, evaluation_id: int) -> list[EvaluationItem]:
    """The outputs of one evaluation in the data set's order."""
    rows = db["evaluation_items"].rows_where("evaluation_id = ?", [evaluation_id], order_by="position")
    return [EvaluationItem(r["position"], r["output"], r["rouge_l"]) for r in rows]
