"""What ``train`` says before it starts, ``train --export``, and ``models merge``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from alpaca_tui.cli import common
from alpaca_tui.core.errors import UsageError

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpaca_tui.jobs.launching import Asked
    from alpaca_tui.jobs.specs import TrainSpec


def method(value: str) -> Asked:
    """The method asked for. Raises UsageError for another word."""
    from alpaca_tui.jobs.launching import Asked

    known = get_args(Asked)
    if value not in known:
        raise UsageError(f"unknown method {value!r}; use {', '.join(known[:-1])} or {known[-1]}")
    return cast("Asked", value)


def announce(db: Database, project: Path, spec: TrainSpec) -> None:
    """Say how it will run and what encoding does to the data, before anything is loaded.

    Raises UsageError or RefusedError where it cannot work.
    """
    from alpaca_tui.workers import preflight

    launch = preflight.check_training(spec)
    where = f"{launch.gpus} GPU(s)" if launch.gpus else "the CPU"
    plan = f"; {launch.option.verdict}: {launch.option.reason}" if launch.option else ""
    common.narrate(
        f"{launch.method}{' with offload' if launch.offload else ''} on {where}, recipe {launch.recipe}{plan}"
    )
    report = preflight.encoding(db, project, spec, launch)
    if report is not None:
        common.narrate(f"{report.summary} ({report.eos_supervised / max(1, report.examples):.0%} teach the end token)")


def result_text(value: dict[str, Any]) -> str:
    """A finished training for a person; settings and plan are in ``--json`` and in the model card."""
    return "\n".join(f"{key:<16} {item}" for key, item in value.items() if key not in ("settings", "plan"))


def export(ctx: typer.Context, db: Database, project: Path, spec: TrainSpec, folder: Path) -> None:
    """Write the training to a folder that machines without the project can run."""
    from alpaca_tui.workers import preflight

    path = preflight.export(db, project, spec, folder.expanduser().absolute())
    launch = f"accelerate launch --config_file {path / 'recipe.yaml'} -m alpaca_tui.training.main {path}"
    common.emit(ctx, {"folder": str(path), "launch": launch}, f"{path} holds the training; start it with:\n{launch}")


def merge(
    ctx: typer.Context,
    adapter: Annotated[
        str, typer.Argument(metavar="JOB|ADAPTER", help="A training job's number or an adapter's folder.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new model directory.")],
    force: Annotated[bool, typer.Option("--force", help="Replace OUT where it exists.")] = False,
) -> None:
    """Fold an adapter into its base: a model directory of its own, in safetensors, read back and proven."""
    from alpaca_tui.jobs import merging

    db = common.open_db(ctx) if adapter.isdecimal() or adapter.startswith("job:") else None
    value = merging.merge(db, adapter, out.expanduser().absolute(), force=force)
    common.emit(ctx, value, f"{value['model']} is a model of its own, read back and sound; it says: {value['says']}")
