"""What runs and what there is, as one JSON object."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from alpaca_tui.jobs import live
from alpaca_tui.jobs.reconcile import reconcile
from alpaca_tui.store import completions, costs, datasets, jobs, overview, seeds


def status(db: Database, project: Path) -> dict[str, Any]:
    """The object that ``alpaca-tui status --json`` prints, after reconciling jobs whose runner is gone.

    Times in seconds (``…_at``: since the epoch), shares from 0 to 1. ``candidates.kept`` counts those that no rule has
    rejected. Of a job that has ended, the live values are null and ``progress`` is 1 where it succeeded.
    """
    reconcile(db, project)
    funnel = overview.funnel(db)
    return {
        "project": str(project.absolute()),
        "seeds": seeds.count(db),
        "completions": funnel.completions,
        "unparsed": funnel.unparsed,
        "candidates": {
            "total": funnel.candidates,
            "kept": funnel.kept,
            "waiting": funnel.waiting,
            "rejected": funnel.rejected,
        },
        "samples": {
            "total": funnel.samples,
            "pending": funnel.pending,
            "accepted": funnel.accepted,
            "rejected": funnel.declined,
            "filtered": funnel.filtered,
        },
        "cost": {"spent": costs.spent(db), "per_accepted": costs.per_accepted(db)},
        "datasets": [_dataset(row) for row in datasets.all_datasets(db)],
        "jobs": [_job(db, project, job) for job in jobs.all_jobs(db)],
    }


def _dataset(row: datasets.DatasetRow) -> dict[str, Any]:
    sizes = {key: row.card.get(key) for key in ("examples", "train", "held_out")}
    return {"name": row.name, "content_hash": row.content_hash} | sizes


def _job(db: Database, project: Path, job: jobs.JobRow) -> dict[str, Any]:
    faithful = (job.spec.get("options") or {}).get("mode") == "faithful"
    snapshots = live.read_live(project, job.id) if job.state in ("running", "stopping") else []
    # Ranks work on the same step, so the first one's progress is the job's; their tokens add up.
    speeds = [s.tokens_per_s for s in snapshots if s.tokens_per_s is not None]
    # Each worker of a generation estimates the whole job's end: the most careful of them is believed.
    slowest = max((s for s in snapshots if s.eta_s is not None), key=lambda s: s.eta_s or 0.0, default=None)
    eta = slowest.eta_s if slowest else None
    progress = snapshots[0].progress if snapshots else (1.0 if job.state == "succeeded" else None)
    ended = job.finished_at or time.time()
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "attempt": job.attempt,
        "reason": job.reason,
        "activity": snapshots[0].activity if snapshots else None,
        "heartbeat_age_s": live.heartbeat_age(project, job.id) if job.active else None,
        "progress": progress,
        "tokens_per_s": sum(speeds) if speeds else None,
        "eta_s": eta,
        "eta_range_s": list(slowest.eta_range_s) if slowest and slowest.eta_range_s else None,
        "cost_to_go": slowest.cost_to_go if slowest else None,
        "cost_range": list(slowest.cost_range) if slowest and slowest.cost_range else None,
        "yields": next((s.yields for s in snapshots if s.yields), None),
        "workers": len(snapshots),
        "projected_end_at": time.time() + eta if eta is not None else None,
        "target": job.spec.get("target"),
        # What reading as the public codebases do has cost so far.
        **(costs.of_job(db, job.id) if job.kind == "generate" else {}),
        "faults": completions.faults(db, job.id) if faithful else None,
        "started_at": job.started_at,
        "elapsed_s": max(0.0, ended - job.started_at) if job.started_at else None,
    }
