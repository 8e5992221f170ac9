"""``jobs``: list, show, logs, stop, resume."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from typing import Annotated, Any

import typer

from alpaca_tui.cli import common
from alpaca_tui.cli.project import job_line

app = typer.Typer(no_args_is_help=True)
Id = Annotated[int, typer.Argument(metavar="ID")]


@app.command("list")
def list_jobs(ctx: typer.Context) -> None:
    """Every job, oldest first."""
    value = _status(ctx)
    text = "\n".join(job_line(job) for job in value["jobs"])
    common.emit(ctx, {"jobs": value["jobs"]}, text or "no jobs yet")


def _status(ctx: typer.Context) -> dict[str, Any]:
    from alpaca_tui.jobs import reconcile
    from alpaca_tui.jobs import status as statuses

    db = common.open_db(ctx)
    reconcile.reconcile(db, common.project_dir(ctx))
    return statuses.status(db, common.project_dir(ctx))


@app.command()
def show(ctx: typer.Context, job: Id) -> None:
    """One job: what it was asked, its story, its result."""
    from alpaca_tui.jobs import reconcile
    from alpaca_tui.store import costs, jobs

    db = common.open_db(ctx)
    reconcile.reconcile(db, common.project_dir(ctx))
    row, events = jobs.get(db, job), jobs.events(db, job)
    value = asdict(row) | {"events": [{"at": at, "kind": kind, "detail": detail} for at, kind, detail in events]}
    value |= costs.of_job(db, job)
    lines = [f"job {row.id}: {row.kind}, {row.state}" + (f" ({row.reason})" if row.reason else "")]
    lines += [f"  {key} = {item}" for key, item in _asked(row.spec).items()]
    lines += [f"  {_clock(at)}  {kind}: {detail}" for at, kind, detail in events]
    if value["cost"] is not None:
        lines.append(f"  cost so far: {value['cost']:.6g}, {_each(value['cost_per_accepted'])} an accepted sample")
    lines += [f"  result: {key} = {item}" for key, item in (row.result or {}).items()]
    common.emit(ctx, value, "\n".join(lines))


def _asked(spec: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """What a job was asked for, without what was left as it is; nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for key, item in spec.items():
        if isinstance(item, dict):
            found |= _asked(item, f"{prefix}{key}.")
        elif item not in (None, False):
            found[f"{prefix}{key}"] = item
    return found


def _each(cost: float | None) -> str:
    return "not yet known for" if cost is None else f"{cost:.6g} for"


def _clock(at: float) -> str:
    return datetime.datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")


@app.command()
def logs(
    ctx: typer.Context,
    job: Id,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="The last so many lines.")] = 50,
) -> None:
    """The end of a job's log."""
    from alpaca_tui.core.text import clean_text
    from alpaca_tui.jobs import live
    from alpaca_tui.store import jobs

    jobs.get(common.open_db(ctx), job)
    path = live.run_dir(common.project_dir(ctx), job) / "log"
    text = path.read_text("utf-8", errors="replace") if path.exists() else ""
    tail = clean_text("\n".join(text.splitlines()[-lines:]))
    common.emit(ctx, {"job": job, "log": tail}, tail or f"job {job} has written nothing yet")


@app.command()
def stop(ctx: typer.Context, job: Id) -> None:
    """Ask a job to save and stop; it can be resumed."""
    from alpaca_tui.jobs import reconcile
    from alpaca_tui.store import jobs

    db = common.open_db(ctx)
    reconcile.reconcile(db, common.project_dir(ctx))
    row = jobs.request_stop(db, job)
    common.emit(ctx, {"job": job, "state": row.state}, f"job {job} is {row.state}")


@app.command()
def resume(
    ctx: typer.Context,
    job: Id,
    budget: Annotated[
        float | None, typer.Option(min=0, help="Money a generation may spend in all, from now on.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Don't wait for it.")] = False,
) -> None:
    """Go on with a stopped, failed or interrupted job where it was."""
    from alpaca_tui.cli import work
    from alpaca_tui.jobs import reconcile, spawn

    db = common.open_db(ctx)
    reconcile.reconcile(db, common.project_dir(ctx))
    spawn.resume(db, common.project_dir(ctx), job, budget)
    work.attend(ctx, db, job, detach=detach)
