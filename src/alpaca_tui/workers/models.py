"""From a model SPEC to something that answers: the only place that knows which backend serves which SPEC."""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database

from alpaca_tui import config
from alpaca_tui.backends.base import Backend
from alpaca_tui.core.budget import Ledger
from alpaca_tui.core.errors import UsageError
from alpaca_tui.jobs import models
from alpaca_tui.jobs.endpoints import context_length
from alpaca_tui.store import jobs

JOB_PREFIX = "job:"


def open_backend(
    spec: str,
    batch: int | None,
    adapter: Path | None = None,
    *,
    project: Path | None = None,
    ledger: Ledger | None = None,
) -> Backend:
    """A backend for the SPEC, the model loaded, with ``adapter`` merged into a local one.

    ``batch`` is how many requests it answers at once, None what suits it.

    An endpoint is set up as the ``project``'s config.toml says, and spends from ``ledger``. Raises
    AlpacaError with the reason where it can't be.
    """
    ref = models.resolve(spec)
    if ref.path is None:
        from alpaca_tui.backends.endpoint import EndpointBackend

        settings = (config.load(project) if project else config.Config()).endpoint_for(ref.base_url, ref.section)
        if project is not None:
            settings = settings.model_copy(update={"context_length": context_length(project, ref)})
        return EndpointBackend(ref.name, settings, batch or 8, ledger)
    models.check(ref.path)
    from alpaca_tui.backends.local import LocalBackend

    return LocalBackend(ref.path, max_batch=batch, adapter=adapter or ref.adapter)


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


def open_model(db: Database, spec: str, batch: int, project: Path | None = None) -> Backend:
    """A backend for a SPEC or ``job:N``. Raises as ``open_backend`` and ``tuned``."""
    base, adapter = tuned(db, spec)
    return open_backend(base, batch, adapter, project=project)


def local_model(db: Database, spec: str) -> tuple[Path, Path | None] | None:
    """(checked model directory, adapter if there is one) behind a SPEC or ``job:N``; None for an endpoint."""
    base, adapter = tuned(db, spec)
    ref = models.resolve(base)
    if ref.path is None:
        return None
    models.check(ref.path)
    return ref.path, adapter or ref.adapter
