"""Evaluations: what a model answered on a suite, item by item, and the figures over all of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui.core.answers import AnswerScore, TaskLoss
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.records import Completion
from alpaca_tui.store.database import now, write


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One model on one suite; ``finished`` says whether every task is answered and ``metrics`` are there."""

    id: int
    job_id: int
    suite_id: int
    suite: str
    model: str
    metrics: dict[str, float]
    created_at: float
    finished: bool


@dataclass(frozen=True, slots=True)
class EvaluationItem:
    """A model's answer to one task; ``prompt_hash`` is None where it was not kept."""

    position: int
    prompt_hash: str | None
    output: str
    score: AnswerScore


def prompt_hash(prompt: str) -> str:
    """What is kept of a prompt: two models were asked alike where it is the same."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()


# Writing ----------------------------------------------------------------------------------------------------------


def begin(db: Database, job_id: int, suite_id: int, model: str) -> EvaluationRow:
    """The job's evaluation of that model: a new one, or what an earlier attempt left."""
    with write(db):
        if not db["evaluations"].count_where("job_id = ? AND model = ?", [job_id, model]):
            db["evaluations"].insert({"job_id": job_id, "suite_id": suite_id, "model": model, "created_at": now()})
    return next(row for row in all_evaluations(db, job_id, unfinished=True) if row.model == model)


def add_answer(
    db: Database, evaluation_id: int, position: int, prompt: str, completion: Completion, score: AnswerScore
) -> None:
    """Store one answer, in a transaction of its own."""
    with write(db):
        db["evaluation_answers"].insert(
            {
                "evaluation_id": evaluation_id,
                "position": position,
                "prompt_hash": prompt_hash(prompt),
                "output": completion.text.strip(),
                "finish_reason": completion.finish_reason,
                "tokens": completion.completion_tokens,
                "seconds": completion.seconds,
                "rouge_l": score.rouge_l,
                "exact": None if score.exact is None else int(score.exact),
                "words": score.words,
                "repetitive": int(score.repetitive),
            }
        )


def add_losses(db: Database, evaluation_id: int, losses: Mapping[int, TaskLoss]) -> None:
    """Store the losses of some tasks, by position."""
    with write(db):
        db.conn.executemany(
            "INSERT INTO evaluation_losses (evaluation_id, position, nats, tokens) VALUES (?, ?, ?, ?)",
            [(evaluation_id, position, loss.nats, loss.tokens) for position, loss in losses.items()],
        )


def finish(db: Database, evaluation_id: int, metrics: Mapping[str, float]) -> None:
    """Every task is answered: keep the figures."""
    with write(db):
        db["evaluations"].update(evaluation_id, {"metrics": json.dumps(dict(metrics)), "finished_at": now()})


# Reading ----------------------------------------------------------------------------------------------------------


def all_evaluations(db: Database, job_id: int | None = None, *, unfinished: bool = False) -> list[EvaluationRow]:
    """Every finished evaluation (of one job), oldest first; with ``unfinished`` also those at work or cut short."""
    return _select(
        db,
        "(:job IS NULL OR e.job_id = :job) AND (:all OR e.finished_at IS NOT NULL)",
        {"job": job_id, "all": int(unfinished)},
    )


def count(db: Database) -> int:
    """The number of finished evaluations."""
    return int(db["evaluations"].count_where("finished_at IS NOT NULL"))


def get(db: Database, evaluation_id: int) -> EvaluationRow:
    """One evaluation. Raises UsageError where there is none."""
    found = _select(db, "e.id = :id", {"id": evaluation_id})
    if not found:
        raise UsageError(f"there is no evaluation {evaluation_id}")
    return found[0]


def items(db: Database, evaluation_id: int) -> dict[int, EvaluationItem]:
    """The answers of one evaluation by position, in the suite's order."""
    rows = db["evaluation_answers"].rows_where("evaluation_id = ?", [evaluation_id], order_by="position")
    return {r["position"]: _item(r) for r in rows}


def losses(db: Database, evaluation_id: int) -> dict[int, TaskLoss]:
    """The losses of one evaluation by position; none for an endpoint."""
    rows = db["evaluation_losses"].rows_where("evaluation_id = ?", [evaluation_id], order_by="position")
    return {r["position"]: TaskLoss(r["nats"], r["tokens"]) for r in rows}


def tokens(db: Database, evaluation_id: int) -> tuple[int, float]:
    """(tokens of the answers, the sum of their seconds)."""
    row = db.execute(
        "SELECT coalesce(sum(tokens), 0), coalesce(sum(seconds), 0.0) FROM evaluation_answers WHERE evaluation_id = ?",
        [evaluation_id],
    ).fetchone()
    return int(row[0]), float(row[1])


def newest_pair(
    db: Database, models: Sequence[str] | None = None, suite: str | None = None
) -> tuple[EvaluationRow, EvaluationRow]:
    """Two finished evaluations on one suite, as new as can be: of the named models, else of the newest job with two.

    ``suite`` is a suite's name, or a data set's. Raises UsageError, with the command that mends it, where there are
    none.
    """
    rows = [r for r in all_evaluations(db) if suite is None or r.suite in (suite, f"{suite}/held_out")]
    if models is not None:
        first, second = models
        if first == second:
            raise UsageError("the two models are the same; name two different ones")
        for row in reversed(rows):
            other = {first: second, second: first}.get(row.model)
            fitting = [r for r in rows if r.model == other and r.suite_id == row.suite_id]
            if fitting:
                pair = (row, fitting[-1])
                return pair if row.model == first else (pair[1], pair[0])
        known = ", ".join(dict.fromkeys(r.model for r in rows)) or "none yet"
        raise UsageError(
            f"{first} and {second} have not been scored on one suite{f' ({suite})' if suite else ''}; scored are: "
            f"{known}; do it with: alpaca-tui evaluate --model {first} --model {second}"
        )
    for row in reversed(rows):
        peers = [r for r in rows if r.job_id == row.job_id]
        if len(peers) > 1:
            return peers[-2], peers[-1]
    where = f" on {suite}" if suite else ""
    raise UsageError(f"no two models have been scored{where} yet; do it with: alpaca-tui evaluate")


def _select(db: Database, where: str, args: dict) -> list[EvaluationRow]:
    rows = db.query(
        "SELECT e.id, e.job_id, e.suite_id, s.name AS suite, e.model, e.metrics, e.created_at, e.finished_at "
        f"FROM evaluations e JOIN suites s ON s.id = e.suite_id WHERE {where} ORDER BY e.id",
        args,
    )
    return [
        EvaluationRow(
            r["id"],
            r["job_id"],
            r["suite_id"],
            r["suite"],
            r["model"],
            json.loads(r["metrics"]),
            r["created_at"],
            r["finished_at"] is not None,
        )
        for r in rows
    ]


def _item(r: dict) -> EvaluationItem:
    score = AnswerScore(
        r["rouge_l"],
        None if r["exact"] is None else bool(r["exact"]),
        r["words"],
        not r["output"],
        bool(r["repetitive"]),
        r["finish_reason"] == "length",
    )
    return EvaluationItem(r["position"], r["prompt_hash"], r["output"], score)
