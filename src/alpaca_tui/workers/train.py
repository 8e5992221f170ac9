"""The training worker: ``accelerate launch … -m alpaca_tui.workers.train --project DIR --job N``, once per rank."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alpaca_tui.core.errors import Cancelled, UsageError
from alpaca_tui.jobs import models, shapes
from alpaca_tui.jobs.live import LiveSnapshot, run_dir
from alpaca_tui.jobs.specs import TrainSpec
from alpaca_tui.store import jobs as job_store
from alpaca_tui.store import metrics
from alpaca_tui.training.config import TrainConfig
from alpaca_tui.training.prove import prove_result
from alpaca_tui.training.run import TrainResult
from alpaca_tui.training.run import run as train
from alpaca_tui.workers import preflight
from alpaca_tui.workers.base import WorkerContext, worker_main

Planned = tuple[dict[str, Any], Callable[[int], float]]
"""The plan of a job, and its peak in bytes for a micro-batch of so many tokens."""


def configuration(spec: TrainSpec, output_dir: Path) -> tuple[TrainConfig, Planned | None]:
    """The model's preset with the job's own values over it, and the plan it runs by (None: sizes unknown).

    Raises AlpacaError with the reason where it can't work.
    """
    ref = models.resolve(spec.model)
    if ref.path is None:
        raise UsageError(f"{spec.model} is an endpoint; only a local model can be tuned")
    facts = models.check(ref.path)
    launch = preflight.check_training(spec)
    config = preflight.training_config(spec, facts.parameters, ref.path, output_dir, launch)
    shape = shapes.known_shape(spec.model)
    if shape is None:
        return config, None
    return config, (preflight.planned(shape, config, launch), preflight.planned_bytes(shape, config, launch))


class Report:
    """Metrics and events into the store, progress into the live snapshot."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._began = time.monotonic()
        self._progress_at_start: float | None = None

    def say(self, activity: str, progress: float | None = None) -> None:
        """Show what is being done besides stepping."""
        if self._context.rank == 0:
            self._context.live.write(LiveSnapshot(time.time(), activity, progress), force=True)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """One step's numbers. Only rank 0 is called."""
        progress = values.pop("progress", None)
        metrics.record(self._context.db, self._context.job.id, step, values)
        if progress is None:
            return
        if self._progress_at_start is None:
            self._began, self._progress_at_start = time.monotonic(), progress
        gained = progress - self._progress_at_start
        eta = (time.monotonic() - self._began) / gained * (1 - progress) if gained > 0 else None
        activity = f"step {step}, loss {values['loss']:.3f}"
        snapshot = LiveSnapshot(time.time(), activity, progress, values.get("tokens_per_s"), eta)
        self._context.live.write(snapshot, force=True)

    def event(self, kind: str, message: str) -> None:
        """One line of the job's story. Only rank 0 is called."""
        print(message, flush=True)
        job_store.event(self._context.db, self._context.job.id, kind, message)


def result_row(result: TrainResult, start: dict[str, Any]) -> dict[str, Any]:
    """What ``train`` reports and the store keeps. ``start`` is what was stored when the run began."""
    return start | {
        "steps": result.steps,
        "loss_first": result.loss_first,
        "loss_last": result.loss_last,
        "eval_loss_first": result.eval_loss_first,
        "eval_loss_last": result.eval_loss_last,
        "adapter": str(result.adapter) if result.adapter else None,
    }


def run(context: WorkerContext) -> None:
    """Carry out the job's spec; raises Cancelled after a stop, with a checkpoint saved."""
    spec = TrainSpec.model_validate(context.job.spec)
    report = Report(context)
    report.say(f"loading {spec.model}")
    output_dir = run_dir(context.project, context.job.id) / "output"
    config, planned = configuration(spec, output_dir)
    plan, planned_bytes = planned or (None, None)
    # Every value that decides the run, presets included, is stored before its first step.
    start = {"method": config.method, "settings": config.model_dump(mode="json"), "plan": plan}
    if context.rank == 0:
        job_store.set_result(context.db, context.job.id, (context.job.result or {}) | start)
    train_rows, held_out_rows = preflight.examples_of(context.db, context.project, spec)
    about = preflight.about(context.db, spec, plan)
    result = train(
        config,
        train_rows,
        held_out_rows,
        report.metrics,
        report.event,
        context.stopping,
        about=about,
        planned_bytes=planned_bytes,
    )
    if context.rank == 0:
        if result.adapter is not None:
            report.say("proving the result in a fresh process", 1.0)
            prove_result(result.adapter, config, held_out_rows or train_rows, report.event, context.stopping)
        job_store.set_result(context.db, context.job.id, result_row(result, start))
    if result.stopped:
        raise Cancelled


if __name__ == "__main__":
    sys.exit(worker_main(run))
