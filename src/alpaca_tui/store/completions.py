"""Model calls: one row each, with everything needed to repeat it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlite_utils import Database

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.records import Completion, PoolEntry, Request, Stage
from alpaca_tui.core.text import mended
from alpaca_tui.store.database import now


@dataclass(frozen=True, slots=True)
class Call:
    """A model call about to be made: the request, and how its prompt came about."""

    job_id: int
    stage: Stage
    template: str
    pack_hash: str
    model: str
    variables: Mapping[str, Any]
    request: Request
    candidate_id: int | None = None
    demonstrations: tuple[PoolEntry, ...] = ()
    sample_id: int | None = None
    """Whose output is written anew."""
    number: int = 0
    """Its place in its queue: the instruction call's number, the candidate's id or the sample's."""

    @property
    def queue(self) -> str:
        """Where the call comes from; with ``number``, what a lease is taken on."""
        return "output" if self.template == "output" else self.stage


def ensure_pack(db: Database, hash: str, name: str, files: Mapping[str, str]) -> None:
    """Keep the text of a prompt pack once, under its hash."""
    # Not insert(ignore=True): where the row is there already, that looks for a rowid, which this table has none of.
    if not db["packs"].count_where("hash = ?", [hash]):
        db["packs"].insert({"hash": hash, "name": name, "files": json.dumps(dict(files))})


def get(db: Database, completion_id: int) -> dict[str, Any]:
    """One model call as stored. Raises UsageError where there is none."""
    for row in db["completions"].rows_where("id = ?", [completion_id]):
        return row
    raise UsageError(f"there is no model call {completion_id}; a sample's calls are named in its review card")


def pack_files(db: Database, completion_id: int) -> tuple[str, dict[str, Any], dict[str, str]]:
    """What a call's prompt is rendered from: (template, variables, files of the pack)."""
    row = next(
        db.query(
            "SELECT c.template, c.variables, p.files FROM completions c JOIN packs p ON p.hash = c.pack_hash "
            "WHERE c.id = ?",
            [completion_id],
        )
    )
    return row["template"], json.loads(row["variables"]), json.loads(row["files"])


def record(
    db: Database, call: Call, completion: Completion, problem: str | None, faults: Mapping[str, int] | None = None
) -> int:
    """Store one model call and its demonstrations; return its id. Belongs inside the caller's transaction.

    ``faults`` is what mode ``faithful`` cost in it (``core.faults``).
    """
    row = db["completions"].insert(
        {
            "job_id": call.job_id,
            "stage": call.stage,
            "template": call.template,
            "candidate_id": call.candidate_id,
            "sample_id": call.sample_id,
            "pack_hash": call.pack_hash,
            "variables": json.dumps(dict(call.variables), ensure_ascii=False),
            "prompt_hash": hashlib.sha256(call.request.prompt.encode("utf-8", "surrogatepass")).hexdigest(),
            "model": call.model,
            "params": json.dumps(asdict(call.request.params)),
            "seed": call.request.seed,
            "text": mended(completion.text),
            "finish_reason": completion.finish_reason,
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.completion_tokens,
            "seconds": completion.seconds,
            "problem": _problem(completion, problem),
            "cost": completion.cost,
            "tokens_estimated": int(completion.tokens_estimated),
            "choice_logprobs": json.dumps(completion.choice_logprobs) if completion.choice_logprobs else None,
            "faults": json.dumps(dict(faults)) if faults else None,
            "created_at": now(),
        }
    )
    completion_id = int(row.last_pk)
    db["demonstrations"].insert_all(_demonstration_rows(completion_id, call.demonstrations))
    return completion_id


def _problem(completion: Completion, problem: str | None) -> str | None:
    if completion.error is None:
        return problem
    return mended(f"{problem or 'the call failed'}: {completion.error}")


def _demonstration_rows(completion_id: int, demonstrations: Sequence[PoolEntry]) -> list[dict[str, Any]]:
    return [
        {
            "completion_id": completion_id,
            "position": position,
            "seed_id": entry.id if entry.kind == "seed" else None,
            "candidate_id": entry.id if entry.kind == "candidate" else None,
        }
        for position, entry in enumerate(demonstrations)
    ]


def seeds_used(db: Database, job_id: int, stage: Stage, after: int = 0) -> tuple[set[int], int]:
    """(seeds of the job's stored calls of one stage, the last such call's id): what need not be asked again.

    With ``after``, of those calls only whose id is higher.
    """
    query = "SELECT id, seed FROM completions WHERE job_id = ? AND stage = ? AND id > ?"
    rows = db.execute(query, [job_id, stage, after]).fetchall()
    return {seed for _, seed in rows}, max((number for number, _ in rows), default=after)


def failures(db: Database, template: str, candidate_id: int | None, sample_id: int | None = None) -> int:
    """How many calls about this candidate (or sample) with this prompt have failed for good."""
    column, value = ("sample_id", sample_id) if sample_id is not None else ("candidate_id", candidate_id)
    where = f"{column} = ? AND template = ? AND finish_reason = 'error'"
    return int(db["completions"].count_where(where, [value, template]))


def choice_logprobs(db: Database, template: str, model: str, pack_hash: str) -> dict[str, Any]:
    """By instruction, what the calls about no candidate (content-free ones) answered; None: not told."""
    rows = db.query(
        "SELECT json_extract(variables, '$.instruction') AS subject, choice_logprobs FROM completions "
        "WHERE stage = 'classification' AND template = ? AND model = ? AND pack_hash = ? "
        "AND candidate_id IS NULL AND finish_reason <> 'error'",
        [template, model, pack_hash],
    )
    return {row["subject"]: json.loads(row["choice_logprobs"] or "null") for row in rows}


def faults(db: Database, job_id: int | None = None) -> dict[str, int]:
    """What mode ``faithful`` has cost so far, by fault; of one job, or of all."""
    rows = db.query(
        "SELECT f.key fault, sum(f.value) n FROM completions c, json_each(c.faults) f "
        "WHERE c.faults IS NOT NULL AND (:job IS NULL OR c.job_id = :job) GROUP BY 1 ORDER BY 2 DESC",
        {"job": job_id},
    )
    return {row["fault"]: row["n"] for row in rows}


def totals(db: Database, job_id: int) -> dict[str, int]:
    """Completions and generated tokens of one job; how many asked for new instructions, how many ran in a loop."""
    row = next(
        db.query(
            "SELECT count(*) completions, coalesce(sum(completion_tokens), 0) tokens, "
            "coalesce(sum(finish_reason = 'loop'), 0) loops, "
            "coalesce(sum(stage = 'instruction'), 0) instruction_calls FROM completions WHERE job_id = ?",
            [job_id],
        )
    )
    return dict(row)
