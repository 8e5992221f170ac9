"""What each kind of job is asked to do, and the command that does it."""

from __future__ import annotations

import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.pack_options import PackOptions
from alpaca_tui.jobs import hardware, launching
from alpaca_tui.jobs.launching import Asked
from alpaca_tui.jobs.models import EMBEDDED
from alpaca_tui.store.jobs import JobRow


class Spec(BaseModel):
    """Checked at the border; stored as JSON in the job's row."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GenerateSpec(Spec):
    """Generate until ``target`` samples are pending or accepted."""

    target: int = Field(ge=1)
    """Samples that are pending or accepted when the job is done."""
    recipe: str = "self-instruct"
    """The prompt pack."""
    model: str = "smollm2-135m"
    """A model SPEC."""
    seed: int = 0
    """Makes the run repeatable."""
    threshold: float = Field(0.7, ge=0.0, le=1.0)
    """ROUGE-L over which an instruction is too close to a known one."""
    batch: int | None = Field(None, ge=1)
    """Requests in flight at once; None: what a local model's memory allows (at most 32 on a CPU), 8 at an endpoint."""
    workers: int | None = Field(None, ge=1, le=64)
    """Worker processes; None: one for each visible GPU, else one."""
    options: PackOptions = PackOptions()
    """How the run departs from its recipe: mode, demonstrations, instances, any number."""
    budget: float | None = Field(None, ge=0)
    """Money that the job may spend on endpoints; it is paused before a call that might exceed it."""
    output_model: str | None = None
    """A model SPEC that writes every output anew; None: the outputs of ``model`` stay."""
    regenerate: bool = False
    """Invent nothing: let ``output_model`` answer the samples that are pending when the job runs."""

    @model_validator(mode="after")
    def _has_an_output_model(self) -> Self:
        if self.regenerate and self.output_model is None:
            raise ValueError("regenerate needs an output_model")
        return self


class TrainSpec(Spec):
    """Fine-tune ``model`` on a frozen data set."""

    dataset: str
    model: str = "smollm2-135m"
    method: Asked = "auto"
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Values for the training configuration (lr, epochs, max_steps, micro_batch, …)."""
    recipe: str | None = None
    """The accelerate recipe; None: chosen for this machine."""


class EvaluateSpec(Spec):
    """Score models on a suite: the held-out rows of a data set, or the project's seed tasks."""

    dataset: str | None
    """The data set whose held-out rows are the suite; None: the seed tasks are."""
    models: tuple[str, ...]
    """SPECs; ``job:N`` is the model that training job N made."""
    limit: int | None = Field(None, ge=1)
    """At most so many tasks."""
    max_new_tokens: int = Field(128, ge=1)


SPECS: dict[str, type[Spec]] = {"generate": GenerateSpec, "train": TrainSpec, "evaluate": EvaluateSpec}

GRACE_S: dict[str, float] = {"generate": 20.0, "evaluate": 20.0, "train": 120.0}
"""Seconds between a stop request and SIGKILL; training saves a checkpoint in them."""


def recipe_path(name: str) -> Path:
    """An accelerate recipe shipped with the training package."""
    return Path(str(files("alpaca_tui"))) / "training" / "recipes" / f"{name}.yaml"


def validated(job: JobRow) -> Spec:
    """The job's spec as an object. Raises UsageError where this version doesn't understand it."""
    try:
        return SPECS[job.kind].model_validate(job.spec)
    except (KeyError, ValidationError) as error:
        raise UsageError(f"this version of alpaca-tui does not understand the spec of job {job.id}: {error}") from error


def command(project: Path, job: JobRow) -> list[str]:
    """The argv of a job's worker; training goes through ``accelerate launch`` with the recipe for this machine."""
    spec = validated(job)
    arguments = ["--project", str(project), "--job", str(job.id)]
    worker = f"alpaca_tui.workers.{job.kind}"
    if not isinstance(spec, TrainSpec):
        return [sys.executable, "-m", worker, *arguments]
    found = hardware.visible_gpus()
    launch = launching.settle(spec.model, spec.method, spec.overrides, spec.recipe, found)
    argv = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(recipe_path(launch.recipe))]
    return [*argv, *launching.launch_arguments(launch, found), "-m", worker, *arguments]


def workers(job: JobRow) -> int:
    """How many worker processes the job is to have; ranks of a training are its launcher's business."""
    spec = validated(job)
    if not isinstance(spec, GenerateSpec):
        return 1
    if spec.workers is not None:
        return spec.workers
    # An endpoint is asked many things at once by one worker.
    return max(1, len(hardware.visible_gpus())) if all(_is_on_machine(m) for m in _models(job.spec)) else 1


def environment(job: JobRow, rank: int = 0, size: int = 1) -> dict[str, str]:
    """What a worker finds in its environment beside what the runner has; a value that is already set there wins.

    Of several workers each has its rank, and a GPU of its own or its share of the cores.
    """
    wanted = {
        "GOMP_SPINCOUNT": "2000",  # spinning longer halves decoding beside another busy process
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a file in the project directory must not shadow a library
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the order in which the driver's management library counts
    }
    if all(_is_local(model) for model in _models(job.spec)):
        wanted["HF_HUB_OFFLINE"] = "1"
    place = _place(rank, size) if size > 1 else {}
    return {name: value for name, value in wanted.items() if name not in os.environ} | place


def _place(rank: int, size: int) -> dict[str, str]:
    gpus = hardware.visible_gpus()
    if gpus:
        return {"RANK": str(rank), "CUDA_VISIBLE_DEVICES": str(gpus[rank % len(gpus)].index)}
    return {"RANK": str(rank), "OMP_NUM_THREADS": str(max(1, hardware.cores() // size))}


def _is_on_machine(model: str) -> bool:
    return not model.startswith("openai:")


def _models(spec: dict[str, Any]) -> list[str]:
    named = (spec.get("model"), spec.get("output_model"), *spec.get("models", ()))
    return [str(m) for m in named if m is not None]


def _is_local(model: str) -> bool:
    # What job N was trained on lies in the cache since then.
    return model == EMBEDDED or model.startswith("job:") or Path(model).expanduser().is_dir()
