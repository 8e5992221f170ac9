"""``generate``, ``train``, ``evaluate``: long work as jobs, watched from here."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alpaca_tui import config
from alpaca_tui.cli import common, method
from alpaca_tui.core.errors import AlpacaError, UsageError

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpaca_tui.jobs.live import LiveSnapshot
    from alpaca_tui.store.jobs import JobRow

Detach = Annotated[bool, typer.Option("--detach", help="Start it and return at once.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the main app."""
    app.command()(generate)
    app.command()(train)
    app.command()(evaluate)


def generate(
    ctx: typer.Context,
    target: Annotated[int, typer.Option(min=1, help="Samples that are pending or accepted at the end.")] = 100,
    recipe: Annotated[str | None, typer.Option(help="The prompt pack.")] = None,
    model: Annotated[str | None, typer.Option(metavar="SPEC", help="The model that invents.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Makes the run repeatable (default: another one for each run).")
    ] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="ROUGE-L over which it is no novelty.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Requests in flight at once.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Worker processes (default: one for each GPU, else one).")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, help="Money that endpoints may cost; pauses before it is exceeded.")
    ] = None,
    mode: method.Mode = None,
    output_model: method.OutputModel = None,
    regenerate: method.Regenerate = False,
    demonstrations: method.Demonstrations = None,
    per_request: method.PerRequest = None,
    instances: method.Instances = None,
    classification_only: method.ClassificationOnly = False,
    calibrate: method.Calibrate = None,
    settings: method.Settings = None,
    detach: Detach = False,
) -> None:
    """Invent, filter and complete new tasks until TARGET samples await review or are accepted."""
    from alpaca_tui.jobs import models, spawn
    from alpaca_tui.jobs.specs import GenerateSpec
    from alpaca_tui.store import jobs, overview, wanted

    db = common.open_db(ctx, create=True)
    project = common.project_dir(ctx)
    defaults = config.load(project).generate
    options = method.pack_options(
        defaults.options,
        mode=mode,
        demonstrations=demonstrations,
        per_request=per_request,
        instances=instances,
        classification_only=classification_only,
        calibrate=calibrate,
        settings=read_settings(settings or []),
    )
    output_model = output_model or defaults.output_model
    if regenerate and output_model is None:
        raise UsageError("regenerate with which model? Name it with --output-model SPEC")
    spec = GenerateSpec(
        target=target,
        recipe=recipe or defaults.recipe,
        model=model or defaults.model,
        seed=len(jobs.all_jobs(db, "generate")) if seed is None else seed,
        threshold=defaults.threshold if threshold is None else threshold,
        batch=batch or defaults.batch,
        workers=workers,
        budget=budget,
        options=options,
        output_model=output_model,
        regenerate=regenerate,
    )
    for used in filter(None, (spec.model, output_model)):
        if models.resolve(used, fetch=False).kind != "openai":
            check_model(used)
    ready = overview.ready(db)
    if ready >= target and not regenerate and not wanted.count_waiting(db):
        common.narrate(f"{ready} samples are pending or accepted already: choose a higher --target to have more")
    attend(ctx, db, spawn.submit(db, project, "generate", spec), detach=detach)


def train(
    ctx: typer.Context,
    dataset: Annotated[str | None, typer.Option(help="The frozen data set (default: the newest).")] = None,
    model: Annotated[str | None, typer.Option(metavar="SPEC", help="The model to tune.")] = None,
    method: Annotated[str, typer.Option(help="auto, lora, qlora, full or full-offload.")] = "auto",
    max_steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps (default: by epochs).")] = None,
    epochs: Annotated[float | None, typer.Option(min=0, help="Passes over the data.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Peak learning rate.")] = None,
    micro_batch: Annotated[int | None, typer.Option(min=1, help="Examples a device and step.")] = None,
    global_batch: Annotated[int | None, typer.Option(min=1, help="Examples an optimiser step.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any other training setting, such as lora_rank=16; repeatable."
        ),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="The accelerate recipe (default: for this machine).")] = None,
    resume: Annotated[int | None, typer.Option(metavar="JOB", help="Go on with this training job.")] = None,
    export: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Do not train: write the training to a folder, for several machines."),
    ] = None,
    detach: Detach = False,
) -> None:
    """Fine-tune a model on a frozen data set through accelerate."""
    from alpaca_tui.cli import training
    from alpaca_tui.jobs import spawn
    from alpaca_tui.jobs.specs import TrainSpec
    from alpaca_tui.store import jobs

    db = common.open_db(ctx)
    project = common.project_dir(ctx)
    if resume is not None:
        if jobs.get(db, resume).kind != "train":
            raise UsageError(f"job {resume} is not a training job")
        spawn.resume(db, project, resume)
        attend(ctx, db, resume, detach=detach, text=training.result_text)
        return
    asked = training.method(method)
    chosen = {
        "max_steps": max_steps,
        "epochs": epochs,
        "learning_rate": lr,
        "micro_batch": micro_batch,
        "global_batch": global_batch,
    }
    overrides = {name: value for name, value in chosen.items() if value is not None} | read_settings(settings or [])
    spec = TrainSpec(
        dataset=newest_dataset(db, dataset),
        model=model or config.load(project).generate.model,
        method=asked,
        overrides=overrides,
        recipe=recipe,
    )
    check_model(spec.model)
    if export is not None:
        training.export(ctx, db, project, spec, export)
        return
    training.announce(db, project, spec)
    attend(ctx, db, spawn.submit(db, project, "train", spec), detach=detach, text=training.result_text)


def evaluate(
    ctx: typer.Context,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="A model, or job:N for what job N tuned; may be repeated."),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="A data set, for its held-out rows (default: the newest); or seeds, for the seed tasks."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many tasks.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens an answer may have.")] = 128,
    detach: Detach = False,
) -> None:
    """Score models on the same tasks: by default the newest tuned model beside its base."""
    from alpaca_tui.cli.compare import metrics_table
    from alpaca_tui.jobs import models as files
    from alpaca_tui.jobs import spawn
    from alpaca_tui.jobs.specs import EvaluateSpec
    from alpaca_tui.store import suites
    from alpaca_tui.workers.models import tuned

    db = common.open_db(ctx)
    project = common.project_dir(ctx)
    models = tuple(model) if model else newest_pair(db)
    for name in models:
        base = tuned(db, name)[0]
        if files.resolve(base, fetch=False).kind != "openai":
            check_model(base)
    dataset = None if suite == suites.SEEDS else newest_dataset(db, suite and suite.removesuffix(suites.HELD_OUT))
    suites.find(db, suite)
    spec = EvaluateSpec(dataset=dataset, models=models, limit=limit, max_new_tokens=max_new_tokens)
    job_id = spawn.submit(db, project, "evaluate", spec)

    def text(value: dict[str, Any]) -> str:
        return "\n".join([f"job {job_id}, {value['suite']}", *metrics_table(value["models"])])

    attend(ctx, db, job_id, detach=detach, text=text)


def check_model(spec: str) -> None:
    """Refuse a model that can't work before a job is made of it: an unknown SPEC, a directory that lacks something."""
    from alpaca_tui.jobs import models

    ref = models.resolve(spec, fetch=False)
    if ref.kind == "openai":
        raise UsageError(f"{spec} is an endpoint; only a local model can be tuned")
    if ref.kind == "directory" and ref.path is not None:
        models.check(ref.path)


def read_settings(settings: list[str]) -> dict[str, Any]:
    """``name=value`` pairs; a value that is JSON (a number, true, a list) is read as such, else it is a text."""
    read: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise UsageError(f"cannot read the setting {setting!r}; write NAME=VALUE, such as lora_rank=16")
        try:
            read[name] = json.loads(value)
        except ValueError:
            read[name] = value
    return read


def newest_dataset(db: Database, name: str | None) -> str:
    """The named data set, else the newest. Raises UsageError where there is none."""
    from alpaca_tui.store import datasets

    if name is not None:
        return datasets.get(db, name).name
    rows = datasets.all_datasets(db)
    if not rows:
        raise UsageError("there is no data set yet; freeze one with: alpaca-tui dataset freeze NAME")
    return rows[-1].name


def newest_pair(db: Database) -> tuple[str, ...]:
    """(base, tuned) of the newest training that succeeded."""
    from alpaca_tui.store import jobs

    done = [job for job in jobs.all_jobs(db, "train") if job.state == "succeeded"]
    if not done:
        raise UsageError("no model has been tuned yet; name models with --model SPEC, or run: alpaca-tui train")
    return done[-1].spec["model"], f"job:{done[-1].id}"


def attend(
    ctx: typer.Context,
    db: Database,
    job_id: int,
    *,
    detach: bool,
    text: Callable[[dict[str, Any]], str] | None = None,
) -> None:
    """Wait for the job with progress on stderr (unless detached) and report its result; a failure exits 1.

    ``text`` makes what a person reads of the result (default: a line a value).
    """
    project = common.project_dir(ctx)
    if detach:
        common.emit(ctx, {"job": job_id, "state": "running"}, f"job {job_id} is running; see: alpaca-tui jobs list")
        return
    job = watch(db, project, job_id)
    if job.state != "succeeded":
        reason = str(job.reason)
        onward = "" if "jobs resume" in reason else f" (go on with: alpaca-tui jobs resume {job_id})"
        raise AlpacaError(f"job {job_id} {job.state}: {reason}{onward}")
    value = {"job": job_id, "state": job.state, **(job.result or {})}
    common.emit(ctx, value, text(value) if text else "\n".join(f"{key:<16} {item}" for key, item in value.items()))


def watch(db: Database, project: Path, job_id: int, *, narrate: bool = False) -> JobRow:
    """Follow the job to its end, with a progress bar on a terminal (else plain lines, if ``narrate``).

    The first Ctrl-C asks the job to stop; the second leaves it to itself.
    """
    from alpaca_tui.jobs import follow

    with _Progress(job_id, narrate) as progress, _StopOnInterrupt(db, job_id):
        return follow.follow(db, project, job_id, progress.show)


class _Progress:
    """A job's progress on stderr."""

    NARRATE_EVERY_S = 10.0

    def __init__(self, job_id: int, narrate: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._terminal = sys.stderr.isatty()
        self._narrate = narrate and not self._terminal
        self._due = time.monotonic() + self.NARRATE_EVERY_S
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), disable=not self._terminal, transient=True)
        self._line = self._bar.add_task(f"job {job_id}", total=1.0, rate="")
        self._job_id = job_id

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, job: JobRow, snapshots: list[LiveSnapshot]) -> None:
        """One look at the job."""
        if not snapshots or not job.active:
            return
        now = snapshots[0]
        rate = f"{now.tokens_per_s:.0f} tok/s" if now.tokens_per_s else ""
        text = f"job {self._job_id}: {now.activity}"
        self._bar.update(self._line, description=text, completed=now.progress or 0.0, rate=rate)
        if self._narrate and time.monotonic() >= self._due:
            self._due = time.monotonic() + self.NARRATE_EVERY_S
            common.narrate(f"      {now.progress or 0.0:4.0%}  {text}  {rate}")


class _StopOnInterrupt:
    """Turns the first Ctrl-C into a stop request; the second one leaves."""

    def __init__(self, db: Database, job_id: int) -> None:
        self._db, self._job_id, self._asked = db, job_id, False

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._interrupted)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _interrupted(self, *_: object) -> None:
        from alpaca_tui.store import jobs

        if self._asked:
            raise AlpacaError(f"left job {self._job_id} to itself; see: alpaca-tui jobs show {self._job_id}")
        self._asked = True
        common.narrate(f"stopping job {self._job_id} (again Ctrl-C: leave it running down by itself)")
        jobs.request_stop(self._db, self._job_id)
