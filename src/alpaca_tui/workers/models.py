"""From a model SPEC to something that answers: the only place that knows which backend serves which SPEC."""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database

from alpaca_tui.backends.base import Backend
from alpaca_tui.core.errors import UsageError
from alpaca_tui.jobs import models
from alpaca_tui.store import jobs

JOB_PREFIX = "job:"


def open_backend(spec: str, batch: int) -> Backend:
    """A backend for the SPEC, the model loaded. Raises AlpacaError with the reason where it can't be."""
    ref = models.resolve(spec)
    if ref.path is None:
        raise UsageError(f"{spec} is an endpoint; this version generates with local models only")
    models.check(ref.path)
    from alpaca_tui.backends.local import LocalBackend

    return LocalBackend(ref.path, max_batch=batch, adapter=ref.adapter)


def tuned(db: Database, spec: str) -> tuple[str, Path | None]:
    """(model SPEC, adapter directory) behind a SPEC: ``job:N`` is the model that training job N made.

    After full tuning that is a whole model, without an adapter.
    """
    if not spec.startswith(JOB_PREFIX):
        return spec, None
    number = spec.removeprefix(JOB_PREFIX)
    if not number.isdecimal():
        raise UsageError(f"cannot read the model {spec!r}; write job:N for what training job N made")
    job = jobs.get(db, int(number))
    if job.kind != "train" or job.state != "succeeded" or not job.result:
        raise UsageError(f"job {job.id} is a {job.kind} job that is {job.state}; it has no tuned model")
    made = Path(job.result["adapter"])
    return (str(made), None) if job.result.get("method") == "full" else (job.spec["model"], made)
