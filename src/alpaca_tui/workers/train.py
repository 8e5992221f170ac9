"""The training worker: ``accelerate launch … -m alpaca_tui.workers.train --project DIR --job N``, once per rank."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from alpaca_tui import resources
from alpaca_tui.core.errors import Cancelled, UsageError
from alpaca_tui.jobs import models
from alpaca_tui.jobs.live import LiveSnapshot, run_dir
from alpaca_tui.jobs.specs import TrainSpec
from alpaca_tui.store import datasets, metrics
from alpaca_tui.store import jobs as job_store
from alpaca_tui.training.config import TrainConfig
from alpaca_tui.training.run import TrainResult
from alpaca_tui.training.run import run as train
from alpaca_tui.workers.base import WorkerContext, worker_main
from alpaca_tui.workers.examples import TRAINING_PACK, training_examples
from alpaca_tui.workers.preflight import check_training, training_config


def configuration(spec: TrainSpec, output_dir: Path) -> TrainConfig:
    """The model's preset with the job's own values over it. Raises AlpacaError with the reason where it can't work."""
    ref = models.resolve(spec.model)
    if ref.path is None:
        raise UsageError(f"{spec.model} is an endpoint; only a local model can be tuned")
    facts = models.check(ref.path)
    check_training(spec)
    return training_config(spec, facts.parameters, ref.path, output_dir)


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


def result_row(result: TrainResult, config: TrainConfig) -> dict[str, Any]:
    """What ``train`` reports and the store keeps."""
    return {
        "steps": result.steps,
        "loss_first": result.loss_first,
        "loss_last": result.loss_last,
        "eval_loss_first": result.eval_loss_first,
        "eval_loss_last": result.eval_loss_last,
        "adapter": str(result.adapter) if result.adapter else None,
        "method": config.method,
        "settings": config.model_dump(mode="json"),
    }


def run(context: WorkerContext) -> None:
    """Carry out the job's spec; raises Cancelled after a stop, with a checkpoint saved."""
    spec = TrainSpec.model_validate(context.job.spec)
    report = Report(context)
    report.say(f"loading {spec.model}")
    output_dir = run_dir(context.project, context.job.id) / "output"
    config = configuration(spec, output_dir)
    dataset = datasets.get(context.db, spec.dataset)
    pack = resources.read_pack(TRAINING_PACK, context.project / "prompts")
    train_rows = datasets.examples(context.db, dataset.id, "train")
    held_out_rows = datasets.examples(context.db, dataset.id, "held_out")
    result = train(
        config,
        training_examples(pack, train_rows),
        training_examples(pack, held_out_rows),
        report.metrics,
        report.event,
        context.stopping,
    )
    if context.rank == 0:
        job_store.set_result(context.db, context.job.id, result_row(result, config))
    if result.stopped:
        raise Cancelled


if __name__ == "__main__":
    sys.exit(worker_main(run))
