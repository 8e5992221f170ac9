"""Replays of the filter on a project's candidates: look at what would change, apply it, undo it.

A replay asks no model. It decides instructions, and samples go with them; where the rules for instances have changed
since, or on demand, the samples are judged anew too. A sample on which a person has had a say (accepted, rejected,
edited or rescued it) is never touched, whatever becomes of its instruction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.errors import AlpacaError, RefusedError
from alpaca_tui.core.records import Neighbour
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.store import jobs, replay_instances
from alpaca_tui.store.database import now, write
from alpaca_tui.store.flips import RECLASSIFIED
from alpaca_tui.store.neighbours import Progress, quiet
from alpaca_tui.store.replay_plan import make_plan, threshold_curve
from alpaca_tui.store.replay_records import By, Outcome, Plan, SampleOutcome, Tally

__all__ = ["By", "CandidateChange", "Replay", "SampleChange", "Tally", "apply", "preview", "threshold_curve", "undo"]


@dataclass(frozen=True, slots=True)
class CandidateChange:
    """A candidate that changes sides: kept before and not after, or the other way round."""

    id: int
    instruction: str
    before: str | None
    """The rule that rejected it; None: it was kept."""
    after: str | None
    to_stage: str
    """``rejected``, or where it goes on: ``classification``, ``instance``, or ``done`` if it has been there."""
    score: float | None = None
    neighbour: Neighbour | None = None
    """With the score, what ``novelty`` or ``duplicate`` says of a newly rejected one."""


@dataclass(frozen=True, slots=True)
class SampleChange:
    """A sample that goes with its instruction or by a rule of its own: filtered by ``rule``, or back (None)."""

    id: int
    candidate_id: int
    from_state: str
    to_state: str
    rule: str | None


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay changes."""

    threshold: float
    tokenizer: TokenizerName
    rules: tuple[str, ...]
    before: Tally
    after: Tally
    candidates: tuple[CandidateChange, ...]
    samples: tuple[SampleChange, ...]
    untouched: tuple[int, ...]
    """Samples left alone, for a person had a say, though their instruction is now rejected."""
    samples_before: Tally | None = None
    samples_after: Tally | None = None
    """How many samples pass the rules (a person may have rejected them since), where those were asked again."""
    applied: int | None = None
    """The journal's number, where it was applied."""


def preview(db: Database, threshold: float, *, progress: Progress = quiet, **by: Unpack[By]) -> Replay:
    """What a replay at ``threshold`` would change; changes nothing (save for completing stored pairs).

    Raises UsageError for an unknown rule or a threshold outside 0 to 1.
    """
    return _changes(db, make_plan(db, threshold, progress=progress, brief=True, **by))


def apply(db: Database, threshold: float, *, progress: Progress = quiet, **by: Unpack[By]) -> Replay:
    """Carry out what ``preview`` says, in one transaction, and journal it for ``undo``.

    Newly kept candidates go on where they stopped, so that a later generation fills them; newly rejected ones take
    their pending samples with them. Raises RefusedError while a generation is active, AlpacaError if the project
    changed while the replay was worked out, and what ``preview`` raises.
    """
    _refuse_while_generating(db)
    seen = _state(db)
    plan = make_plan(db, threshold, progress=progress, **by)
    with write(db):
        _refuse_while_generating(db)
        if _state(db) != seen:
            raise AlpacaError("the project changed while the replay was worked out; nothing was applied, try again")
        changes = _changes(db, plan)
        replay_id = _journal(db, plan)
        _change_verdicts(db, replay_id, plan)
        _change_candidates(db, replay_id, plan, changes)
        _change_samples(db, replay_id, plan)
        if plan.samples is not None:
            replay_instances.change_verdicts(db, replay_id, plan.samples, plan.tokenizer)
    return replace(changes, applied=replay_id)


def undo(db: Database) -> int:
    """Take back the last applied replay; return its number. Samples that a person has judged since stay as they are.

    Raises AlpacaError where there is none, RefusedError where a generation is active or has gone on since.
    """
    with write(db):
        _refuse_while_generating(db)
        row = db.execute(
            "SELECT id, last_completion_id FROM replays WHERE undone_at IS NULL ORDER BY id DESC LIMIT 1"
        ).fetchone()
        if row is None:
            raise AlpacaError("no replay has been applied, so there is nothing to undo")
        replay_id, last_completion_id = row
        if last_completion_id != _last(db, "completions"):
            raise RefusedError(
                f"generation has gone on since replay {replay_id} was applied, so it cannot be undone; "
                "apply the former threshold instead: alpaca-tui filter --threshold X --apply"
            )
        query = {"replay": replay_id}
        for name in ("drop_verdicts", "restore_verdicts", "restore_samples", "restore_candidates"):
            db.execute(resources.query(f"replay_{name}"), query)
        replay_instances.restore_verdicts(db, replay_id)
        db.execute("UPDATE replays SET undone_at = ? WHERE id = ?", [now(), replay_id])
    return int(replay_id)


def _refuse_while_generating(db: Database) -> None:
    active = [job.id for job in jobs.active(db) if job.kind == "generate"]
    if active:
        raise RefusedError(
            f"job {active[0]} is generating in this project; wait for it, or stop it with: "
            f"alpaca-tui jobs stop {active[0]}"
        )


def _last(db: Database, table: str) -> int:
    return int(db.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0])


def _state(db: Database) -> tuple[Any, ...]:
    """What a plan depends on, in brief."""
    seeds = db.execute("SELECT count(*), total(revision) FROM seeds").fetchone()
    undone = db.execute("SELECT count(undone_at) FROM replays").fetchone()[0]
    return (_last(db, "completions"), _last(db, "candidates"), _last(db, "replays"), undone, *seeds)


def _changes(db: Database, plan: Plan) -> Replay:
    flips = [outcome for outcome in plan.outcomes if (outcome.before is None) != (outcome.after is None)]
    kept = json.dumps([outcome.id for outcome in flips if outcome.after is None])
    stages = dict(db.execute(resources.query("replay_stages"), {"ids": kept}).fetchall())
    moves, untouched = _sample_moves(db, plan)
    return Replay(
        plan.threshold,
        plan.tokenizer,
        plan.rules,
        plan.before,
        plan.after,
        tuple(_candidate_change(outcome, stages.get(outcome.id, "rejected")) for outcome in flips),
        tuple(
            SampleChange(m.id, m.candidate_id, m.from_state, m.to_state, m.to_rule)
            for m in moves
            if m.to_state != m.from_state
        ),
        tuple(untouched),
        plan.samples_before,
        plan.samples_after,
    )


def _candidate_change(outcome: Outcome, to_stage: str) -> CandidateChange:
    said = next((verdict for verdict in outcome.verdicts if verdict.rule == outcome.after), None)
    score, neighbour = (said.score, said.neighbour) if said else (None, None)
    after = outcome.after
    return CandidateChange(outcome.id, outcome.instruction, outcome.before, after, to_stage, score, neighbour)


def _sample_moves(db: Database, plan: Plan) -> tuple[list[SampleOutcome], list[int]]:
    """What becomes of the samples of the candidates whose outcome differs, and the ids of those left to the person.

    A filtered sample that none of its own rules threw out went with its instruction, and comes back with it. Where the
    samples were judged anew, what becomes of every one of them.
    """
    after = {outcome.id: outcome.after for outcome in plan.outcomes}
    found: Sequence[SampleOutcome] | None = plan.samples
    if found is None:
        found = _with_instructions(db, {o.id: o.after for o in plan.outcomes if o.before != o.after})
    untouched = [s.id for s in found if s.decided and s.from_state in ("pending", "accepted") and after[s.candidate_id]]
    return [s for s in found if s.moves], untouched


def _with_instructions(db: Database, changed: Mapping[int, str | None]) -> list[SampleOutcome]:
    """The samples of the candidates that ``changed``, which says what rejects each now, or None."""
    rows = db.execute(resources.query("replay_samples"), {"ids": json.dumps(list(changed))}).fetchall()
    outcomes = []
    for sample_id, candidate_id, state, by, decided, failed in rows:
        to: tuple[str, str | None] = (state, by)
        rule = changed[candidate_id]
        went_along = state == "filtered" and not failed and by != RECLASSIFIED
        if not decided and (went_along or (state == "pending" and rule)):
            to = ("filtered", rule) if rule else ("pending", None)
        outcomes.append(SampleOutcome(sample_id, candidate_id, state, by, *to, decided=bool(decided)))
    return outcomes


def _journal(db: Database, plan: Plan) -> int:
    row = db["replays"].insert(
        {
            "applied_at": now(),
            "threshold": plan.threshold,
            "tokenizer": plan.tokenizer,
            "rules": json.dumps(plan.rules),
            "last_completion_id": _last(db, "completions"),
        }
    )
    return int(row.last_pk)


def _change_verdicts(db: Database, replay_id: int, plan: Plan) -> None:
    db.execute(resources.query("replay_new_verdicts"))
    db.conn.executemany(
        "INSERT INTO temp.new_verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                outcome.id,
                v.rule,
                plan.places[v.rule],
                int(v.passed),
                v.score,
                v.threshold,
                v.neighbour.id if v.neighbour and v.neighbour.kind == "seed" else None,
                v.neighbour.id if v.neighbour and v.neighbour.kind == "candidate" else None,
                v.detail,
                plan.tokenizer,
                v.parameters,
            )
            for outcome in plan.outcomes
            for v in outcome.verdicts
        ),
    )
    values = {"replay": replay_id, "untouched": json.dumps(plan.untouched)}
    db.execute(resources.query("replay_journal_changed"), values)
    db.execute(resources.query("replay_journal_added"), {"replay": replay_id})
    db.execute(resources.query("replay_drop_verdicts"), {"replay": replay_id})
    db.execute(resources.query("replay_give_verdicts"), {"replay": replay_id})
    db.execute("DROP TABLE temp.new_verdicts")


def _change_candidates(db: Database, replay_id: int, plan: Plan, changes: Replay) -> None:
    to_stage = {change.id: change.to_stage for change in changes.candidates}
    rows = [
        (replay_id, o.id, o.stage, o.before, to_stage.get(o.id, o.stage), o.after)
        for o in plan.outcomes
        if o.before != o.after
    ]
    db.conn.executemany("INSERT INTO replay_candidates VALUES (?, ?, ?, ?, ?, ?)", rows)
    db.conn.executemany(
        "UPDATE candidates SET stage = ?, rejected_by = ? WHERE id = ?", [(row[4], row[5], row[1]) for row in rows]
    )


def _change_samples(db: Database, replay_id: int, plan: Plan) -> None:
    moves, _ = _sample_moves(db, plan)
    db.conn.executemany(
        "INSERT INTO replay_samples VALUES (?, ?, ?, ?, ?, ?)",
        [(replay_id, m.id, m.from_state, m.from_rule, m.to_state, m.to_rule) for m in moves],
    )
    db.conn.executemany(
        "UPDATE samples SET state = ?, rejected_by = ? WHERE id = ?", [(m.to_state, m.to_rule, m.id) for m in moves]
    )
