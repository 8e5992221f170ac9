"""What each kind of job is asked to do, and the command that does it."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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
    batch: int = Field(8, ge=1)
    """Requests in flight at once."""
    max_requests: int | None = None
    """Give up after so many instruction prompts; None: derived from the target."""


class TrainSpec(Spec):
    """Fine-tune ``model`` on a frozen data set."""

    dataset: str
    model: str = "smollm2-135m"
    method: Literal["auto", "lora", "full"] = "auto"
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Values for the training configuration (lr, epochs, max_steps, micro_batch, …)."""
    recipe: str | None = None
    """The accelerate recipe; None: chosen for this machine."""


class EvaluateSpec(Spec):
    """Score models on the held-out rows of a data set."""

    dataset: str
    models: tuple[str, ...]
    """SPECs; ``job:N`` is the model that training job N made."""
    limit: int | None = Field(None, ge=1)
    """At most so many held-out rows."""
    max_new_tokens: int = Field(128, ge=1)


SPECS: dict[str, type[Spec]] = {"generate": GenerateSpec, "train": TrainSpec, "evaluate": EvaluateSpec}


def recipe_path(name: str) -> Path:
    """An accelerate recipe shipped with the training package."""
    return Path(str(files("alpaca_tui"))) / "training" / "recipes" / f"{name}.yaml"


def command(project: Path, job: JobRow) -> list[str]:
    """The argv of a job's worker."""
    arguments = ["--project", str(project), "--job", str(job.id)]
    worker = f"alpaca_tui.workers.{job.kind}"
    if job.kind != "train":
        return [sys.executable, "-m", worker, *arguments]
    spec = TrainSpec.model_validate(job.spec)
    recipe = recipe_path(spec.recipe or "cpu")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(recipe)]
    return [*launch, "-m", worker, *arguments]
