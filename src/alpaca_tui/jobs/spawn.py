"""Enqueueing, starting, stopping and resuming jobs, from whatever front end; none of them is a job's parent."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from sqlite_utils import Database

from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.jobs import logs
from alpaca_tui.jobs.endpoints import check_endpoints
from alpaca_tui.jobs.live import live_dir
from alpaca_tui.jobs.models import EMBEDDED
from alpaca_tui.jobs.packcheck import check_pack
from alpaca_tui.jobs.reconcile import reconcile
from alpaca_tui.jobs.specs import SPECS, GenerateSpec, Spec
from alpaca_tui.store import jobs
from alpaca_tui.store.database import open_project, write

START_TIMEOUT_S = 60.0
# Two generations would take the same candidates from the queues, and pay for them twice; two trainings would share
# the memory of the same GPUs, which is planned for one.
_ONE_AT_A_TIME = {"generate": "generating", "train": "training"}


def submit(db: Database, project: Path, kind: str, spec: Spec) -> int:
    """Enqueue a job and start it; return its id.

    A model SPEC that is a directory is stored as an absolute path: the worker runs elsewhere. Raises UsageError for
    an unknown kind or a faulty prompt pack, AlpacaError where the job can't be started (its row says so too).
    """
    if kind not in SPECS or not isinstance(spec, SPECS[kind]):
        raise UsageError(f"a job of kind {kind!r} with a {type(spec).__name__} is unknown; kinds: {', '.join(SPECS)}")
    if isinstance(spec, GenerateSpec):
        named = [spec.model, *filter(None, [spec.output_model])]
        check_endpoints(project, named, spec.budget, spec.workers)
        check_pack(project, spec.recipe, spec.model, spec.options, spec.output_model)
    reconcile(db, project)  # a dead run must not block a new one
    values = spec.model_dump(mode="json")
    for name in ("model", "output_model"):
        if values.get(name) is not None:
            values[name] = _absolute(values[name])
    if "models" in values:
        values["models"] = [_absolute(model) for model in values["models"]]
    with write(db):
        _refuse_second(db, kind)
        job_id = jobs.enqueue(db, kind, values)
    start(project, job_id)
    return job_id


def _refuse_second(db: Database, kind: str) -> None:
    if kind not in _ONE_AT_A_TIME:
        return
    running = [job.id for job in jobs.active(db) if job.kind == kind]
    if running:
        raise UsageError(
            f"job {running[0]} is {_ONE_AT_A_TIME[kind]} in this project already; "
            f"wait for it, or stop it with: alpaca-tui jobs stop {running[0]}"
        )


def _absolute(model: str) -> str:
    path = Path(model).expanduser()
    return str(path.absolute()) if model != EMBEDDED and path.is_dir() else model


def start(project: Path, job_id: int) -> None:
    """Start a queued job's runner, detached; return once it has taken the job (or another runner has).

    Raises AlpacaError, with what the runner said last, where it could not; the job is failed then.
    """
    project = project.absolute()
    command = [sys.executable, "-m", "alpaca_tui.jobs.runner", "--project", str(project), "--job", str(job_id)]
    log = logs.runner_log_path(project, job_id)
    try:
        for directory in (log.parent, live_dir(project, job_id)):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = log.stat().st_size if log.exists() else 0
        with logs.open_append(log) as output:
            # This process only detaches the runner: it ends when the runner has the job, or has failed to take it.
            detaching = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=project,
                start_new_session=True,
            )
        code = detaching.wait(START_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        detaching.kill()
        detaching.wait()
        raise AlpacaError(
            f"the runner of job {job_id} has not begun within {START_TIMEOUT_S:.0f} s; is the machine overloaded? "
            f"See {log}"
        ) from error
    except OSError as error:
        _fail(project, job_id, f"the runner could not be started: {error.strerror or error}")
        raise AlpacaError(f"job {job_id} could not be started in {project}: {error.strerror or error}") from error
    if code != 0:
        said = logs.error_line(log, before) or logs.tail(log, count=3, start=before) or f"it ended with code {code}"
        _fail(project, job_id, f"the runner could not start: {said}")
        raise AlpacaError(f"job {job_id} could not be started: {said}")


def _fail(project: Path, job_id: int, reason: str) -> None:
    # Only a job that is still queued: one that runs by now, or has ended, is none of ours.
    with suppress(AlpacaError, sqlite3.Error):
        db = open_project(project)
        if jobs.get(db, job_id).state == "queued":
            jobs.set_state(db, job_id, "failed", reason=reason)


def resume(db: Database, project: Path, job_id: int, budget: float | None = None) -> None:
    """Queue a stopped, failed or interrupted job again and start it, from now on with that budget (None: as it was).

    Raises UsageError where it can't be resumed, AlpacaError where it can't be started.
    """
    reconcile(db, project)
    with write(db):
        _refuse_second(db, jobs.get(db, job_id).kind)
        jobs.requeue(db, job_id)
        if budget is not None:
            jobs.set_budget(db, job_id, budget)
    start(project, job_id)


def stop(db: Database, project: Path, job_id: int) -> jobs.JobRow:
    """Ask a job to stop; its runner sees to it. Raises UsageError where there is nothing to stop."""
    if job_id in reconcile(db, project):
        return jobs.get(db, job_id)
    return jobs.request_stop(db, job_id)
