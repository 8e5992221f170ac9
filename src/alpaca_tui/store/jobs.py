"""Jobs: rows, states, processes, events. The only place where a job's state changes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.jobstates import ACTIVE, RESUMABLE, may_follow
from alpaca_tui.store import leases
from alpaca_tui.store.database import now, write


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as stored. Times in seconds since the epoch."""

    id: int
    kind: str
    state: str
    spec: dict[str, Any]
    attempt: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    stop_requested_at: float | None
    exit_code: int | None
    reason: str | None
    log_tail: str | None
    result: dict[str, Any] | None

    @property
    def active(self) -> bool:
        """Whether a process is at work on it, or about to be."""
        return self.state in ACTIVE


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """A process of a job, identified by pid and creation time together."""

    role: str
    rank: int
    pid: int
    create_time: float


def enqueue(db: Database, kind: str, spec: dict[str, Any]) -> int:
    """Add a job in state ``queued``; return its id."""
    with write(db):
        row = db["jobs"].insert({"kind": kind, "state": "queued", "spec": json.dumps(spec), "created_at": now()})
        job_id = int(row.last_pk)
        event(db, job_id, "state", "queued")
    return job_id


def get(db: Database, job_id: int) -> JobRow:
    """One job. Raises UsageError where there is none."""
    known = 0 < job_id < 2**63  # what SQLite can number
    row = next((_row(r) for r in db["jobs"].rows_where("id = ?", [job_id])), None) if known else None
    if row is None:
        raise UsageError(f"there is no job {job_id}; list them with: alpaca-tui jobs list")
    return row


def all_jobs(db: Database, kind: str | None = None) -> list[JobRow]:
    """Every job, oldest first."""
    where, args = ("kind = ?", [kind]) if kind else (None, [])
    return [_row(r) for r in db["jobs"].rows_where(where, args, order_by="id")]


def active(db: Database) -> list[JobRow]:
    """The jobs that a process is at work on, or about to be, oldest first."""
    marks = ", ".join("?" * len(ACTIVE))
    return [_row(r) for r in db["jobs"].rows_where(f"state IN ({marks})", sorted(ACTIVE), order_by="id")]


def _row(r: dict) -> JobRow:
    fields = dict(r)
    fields["spec"] = json.loads(fields["spec"])
    fields["result"] = json.loads(fields["result"]) if fields["result"] else None
    return JobRow(**fields)


def set_state(
    db: Database,
    job_id: int,
    state: str,
    *,
    reason: str | None = None,
    exit_code: int | None = None,
    log_tail: str | None = None,
    attempt: int | None = None,
) -> bool:
    """Go over to ``state`` if the present one allows it; return whether it did.

    With ``attempt``, only while that attempt is the present one. A loser of a race (two reconcilers, a runner that
    ends while a stop is asked for) changes nothing.
    """
    with write(db):
        job = get(db, job_id)
        if not may_follow(job.state, state) or attempt not in (None, job.attempt):
            return False
        changes: dict[str, Any] = {"state": state}
        if state == "running":
            changes |= {
                "started_at": now(),
                "finished_at": None,
                "reason": None,
                "exit_code": None,
                "log_tail": None,
            }
        elif state not in ACTIVE:
            changes |= {"finished_at": now(), "reason": reason, "exit_code": exit_code, "log_tail": log_tail}
        db["jobs"].update(job_id, changes)
        event(db, job_id, "state", state if reason is None else f"{state}: {reason}")
    return True


def claim(db: Database, job_id: int, pid: int, create_time: float) -> JobRow | None:
    """Take a queued job for the runner (pid, create_time): it is running from now on. None where it isn't queued.

    State and runner change in one transaction: no reader ever sees a running job without its runner.
    """
    with write(db):
        if not set_state(db, job_id, "running"):
            return None
        job = get(db, job_id)
        add_process(db, job_id, job.attempt, "runner", 0, pid, create_time)
        if job.kind == "generate":  # one at a time, so all leases are those of workers that are gone
            leases.clear(db)
    return job


def requeue(db: Database, job_id: int) -> None:
    """Queue an ended job again as its next attempt. Raises UsageError where it can't be resumed."""
    with write(db):
        job = get(db, job_id)
        if job.state not in RESUMABLE:
            raise UsageError(f"job {job_id} is {job.state}; only stopped, failed or interrupted jobs can be resumed")
        db["jobs"].update(
            job_id,
            {
                "state": "queued",
                "attempt": job.attempt + 1,
                "stop_requested_at": None,
                "finished_at": None,
                "reason": None,
                "exit_code": None,
            },
        )
        event(db, job_id, "state", f"queued again (attempt {job.attempt + 1})")


def set_budget(db: Database, job_id: int, budget: float) -> None:
    """Give a generation another budget, and say so in its story. Raises UsageError for another kind of job."""
    with write(db):
        job = get(db, job_id)
        if job.kind != "generate":
            raise UsageError(f"job {job_id} is a {job.kind} job; only a generation has a budget")
        db["jobs"].update(job_id, {"spec": json.dumps(job.spec | {"budget": budget})})
        event(db, job_id, "note", f"the budget is {budget:g} from now on")


def request_stop(db: Database, job_id: int) -> JobRow:
    """Ask for a stop; the runner carries it out. A job that has not started is stopped at once."""
    with write(db):
        job = get(db, job_id)
        if job.state == "queued":
            set_state(db, job_id, "stopped", reason="stopped before it started")
        elif job.state == "running":
            db["jobs"].update(job_id, {"stop_requested_at": now()})
            set_state(db, job_id, "stopping")
        elif job.state != "stopping":
            raise UsageError(f"job {job_id} is {job.state}; there is nothing to stop")
    return get(db, job_id)


def set_result(db: Database, job_id: int, result: dict[str, Any]) -> None:
    """Store what the job achieved (counts, losses, paths)."""
    with write(db):
        db["jobs"].update(job_id, {"result": json.dumps(result)})


def add_process(db: Database, job_id: int, attempt: int, role: str, rank: int, pid: int, create_time: float) -> None:
    """Record a process of the job, so that it can be found and stopped whatever its session."""
    with write(db):
        db["job_processes"].insert(
            {
                "job_id": job_id,
                "attempt": attempt,
                "role": role,
                "rank": rank,
                "pid": pid,
                "create_time": create_time,
            },
            replace=True,
        )


def processes(db: Database, job_id: int, attempt: int) -> list[ProcessRow]:
    """The processes recorded for one attempt."""
    rows = db["job_processes"].rows_where("job_id = ? AND attempt = ?", [job_id, attempt])
    return [ProcessRow(r["role"], r["rank"], r["pid"], r["create_time"]) for r in rows]


def state_since(db: Database, job_id: int) -> float:
    """When the job entered its present state, in seconds since the epoch."""
    row = db.execute("SELECT max(at) FROM job_events WHERE job_id = ? AND kind = 'state'", [job_id]).fetchone()
    return float(row[0]) if row[0] is not None else get(db, job_id).created_at


def event(db: Database, job_id: int, kind: str, detail: str) -> None:
    """Append to the job's story: state changes, guard events, checkpoints, notes."""
    db["job_events"].insert({"job_id": job_id, "at": now(), "kind": kind, "detail": detail})


def events(db: Database, job_id: int) -> list[tuple[float, str, str]]:
    """The job's story: (time, kind, detail), oldest first."""
    rows = db["job_events"].rows_where("job_id = ?", [job_id], order_by="id")
    return [(r["at"], r["kind"], r["detail"]) for r in rows]
