"""``demo``: the whole main job without a person, on the embedded model, in minutes on two cores."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alpaca_tui.cli import common, work
from alpaca_tui.core.errors import AlpacaError

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpaca_tui.jobs.specs import Spec
    from alpaca_tui.store.jobs import JobRow

MODEL = "smollm2-135m"
ACCEPT_RULE = "every sample that passed all rules is accepted, since there is no person here"
HELD_OUT = 0.25


def register(app: typer.Typer) -> None:
    """Add the command to the main app."""
    app.command()(demo)


def demo(
    ctx: typer.Context,
    samples: Annotated[int, typer.Option(min=4, help="Samples to generate.")] = 28,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 32,
) -> None:
    """Seeds to evaluation on the embedded model, with progress. Run again, it adds another round to the project."""
    from alpaca_tui.store import overview

    began = time.monotonic()
    db = common.open_db(ctx, create=True)
    project = common.project_dir(ctx)
    round_number = next_round(db)

    common.narrate(f"[1/5] generating {samples} samples with {MODEL}")
    generated = _generate(db, project, samples, round_number)
    made = generated.result or {}
    common.narrate(f"      {made['candidates']} candidates in the project, {made['kept']} kept by the filter")

    common.narrate(f"[2/5] review: {ACCEPT_RULE}")
    accepted = _accept_all(db)
    dataset = _freeze(db, f"demo-{round_number}")
    common.narrate(f"[3/5] accepted {accepted}; frozen: {dataset['train']} to train on, {dataset['held_out']} held out")

    common.narrate(f"[4/5] LoRA fine-tune, {steps} optimiser steps")
    trained = _train(db, project, f"demo-{round_number}", steps)
    tuning = trained.result or {}

    common.narrate("[5/5] evaluating base and tuned model on the held-out tasks")
    scores = _evaluate(db, project, f"demo-{round_number}", trained.id)

    tokens_per_s = made["tokens"] / made["seconds"] if made["seconds"] else 0.0
    value = {
        "funnel": asdict(overview.funnel(db)),
        "tokens_per_s": round(tokens_per_s, 1),
        "loss_first": tuning["loss_first"],
        "loss_last": tuning["loss_last"],
        "base": scores[MODEL],
        "tuned": scores[f"job:{trained.id}"],
        "project": str(project),
        "dataset": f"demo-{round_number}",
        "adapter": tuning["adapter"],
        "steps": tuning["steps"],
        "seconds": round(time.monotonic() - began, 1),
    }
    common.emit(ctx, value, _summary(value))


def next_round(db: Database) -> int:
    """The number of the next round in this project, from 1; its data set is called ``demo-<number>``."""
    from alpaca_tui.store import datasets

    taken = {row.name for row in datasets.all_datasets(db)}
    return next(n for n in range(1, len(taken) + 2) if f"demo-{n}" not in taken)


def _generate(db: Database, project: Path, count: int, round_number: int) -> JobRow:
    from alpaca_tui.jobs.specs import GenerateSpec
    from alpaca_tui.store import samples

    counts = samples.counts(db)
    ready = counts["pending"] + counts["accepted"]
    return _run(db, project, "generate", GenerateSpec(target=ready + count, model=MODEL, seed=round_number))


def _accept_all(db: Database) -> int:
    from alpaca_tui.store import decisions, samples

    return len(decisions.decide(db, "accept", samples.ids(db, "pending"), ACCEPT_RULE))


def _freeze(db: Database, name: str) -> dict[str, Any]:
    from alpaca_tui.store import datasets

    return datasets.freeze(db, name, held_out=HELD_OUT).card


def _train(db: Database, project: Path, dataset: str, steps: int) -> JobRow:
    from alpaca_tui.jobs.specs import TrainSpec

    # So few examples are seen several times: small batches and a small step keep the model from learning them by heart.
    overrides = {"max_steps": steps, "eval_every": 8, "global_batch": 4, "micro_batch": 4, "learning_rate": 1e-4}
    spec = TrainSpec(dataset=dataset, model=MODEL, method="lora", overrides=overrides)
    return _run(db, project, "train", spec)


def _evaluate(db: Database, project: Path, dataset: str, job_id: int) -> dict[str, dict[str, float]]:
    from alpaca_tui.jobs.specs import EvaluateSpec

    spec = EvaluateSpec(dataset=dataset, models=(MODEL, f"job:{job_id}"))
    result = _run(db, project, "evaluate", spec).result or {}
    return result["models"]


def _run(db: Database, project: Path, kind: str, spec: Spec) -> JobRow:
    from alpaca_tui.jobs import spawn

    job = work.watch(db, project, spawn.submit(db, project, kind, spec), narrate=True)
    if job.state != "succeeded":
        raise AlpacaError(
            f"the demo stopped: job {job.id} ({kind}) {job.state}: {job.reason}; "
            f"see: alpaca-tui --project {project} jobs logs {job.id}"
        )
    return job


def _summary(value: dict[str, Any]) -> str:
    funnel, base, tuned = value["funnel"], value["base"], value["tuned"]
    rejected = ", ".join(f"{rule} {n}" for rule, n in funnel["rejected"].items()) or "none"
    filtered = ", ".join(f"{rule} {n}" for rule, n in funnel["filtered"].items()) or "none"
    share = funnel["kept"] / funnel["candidates"] if funnel["candidates"] else 0.0
    return "\n".join(
        [
            "",
            f"candidates     {funnel['candidates']}, kept {funnel['kept']} ({share:.0%}); rejected by: {rejected}",
            f"samples        {funnel['samples']}, accepted {funnel['accepted']}; filtered by: {filtered}",
            f"generation     {value['tokens_per_s']:.1f} tokens/s",
            f"training       {value['steps']} steps, loss {value['loss_first']:.3f} -> {value['loss_last']:.3f}",
            f"held-out loss  {base['held_out_loss']:.3f} -> {tuned['held_out_loss']:.3f}",
            f"ROUGE-L        {base['rouge_l']:.3f} -> {tuned['rouge_l']:.3f} over {tuned['items']:.0f} held-out tasks",
            f"adapter        {value['adapter']}",
            f"project        {value['project']} (open it with: alpaca-tui --project {value['project']})",
            f"time           {value['seconds']:.0f} s",
        ]
    )
