"""What is wrong with a training is said before a model is loaded: by the command at once, by every worker again.

The cockpit and a resumed job come through the worker, the command line through here first, so that its exit code tells.
Loads no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from alpaca_tui.core.errors import AlpacaError, RefusedError, UsageError
from alpaca_tui.core.launch_check import refusal
from alpaca_tui.core.memory_plan import GIB, usable
from alpaca_tui.core.memory_terms import Setup
from alpaca_tui.jobs import hardware, shapes
from alpaca_tui.jobs.specs import TrainSpec, recipe_path
from alpaca_tui.training.config import TrainConfig


def training_config(spec: TrainSpec, parameters: int, model: Path, output_dir: Path) -> TrainConfig:
    """The preset for a model of so many parameters with the job's own values over it. Raises UsageError."""
    # LoRA in half precision fits every GPU that holds the model, hence it is what "auto" means.
    method: Literal["lora", "full"] = "full" if spec.method == "full" else "lora"
    return TrainConfig.for_model(parameters, method, **(spec.overrides | {"model": model, "output_dir": output_dir}))


def check_training(spec: TrainSpec) -> None:
    """Raises UsageError for settings that no training takes, RefusedError where a whole copy fits no GPU in use.

    A model that is not here yet has no known size: its settings are checked, its memory is not.
    """
    if spec.recipe is not None and not recipe_path(spec.recipe).is_file():
        known = ", ".join(sorted(path.stem for path in recipe_path("cpu").parent.glob("*.yaml")))
        raise UsageError(f"there is no accelerate recipe {spec.recipe!r}; there are: {known}")
    try:
        shape = shapes.shape(spec.model)
    except AlpacaError:
        shape = None
    here = Path()  # neither path matters to the check
    settings = training_config(spec, shape.parameters if shape else int(1e9), here, here)
    found = hardware.visible_gpus()
    memory = min((gpu.memory_total for gpu in found), default=0)
    if shape is None or not memory or spec.recipe == hardware.CPU_RECIPE or settings.device == "cpu":
        return
    gpus = 1 if spec.recipe == hardware.SINGLE_GPU_RECIPE else len(found)
    setup = Setup(
        method=settings.method,
        gpus=gpus,
        seq=settings.max_length,
        micro_batch=min(settings.micro_batch, max(1, settings.global_batch // gpus)),
        checkpointing=settings.gradient_checkpointing,
        lora_rank=settings.lora_rank,
        lora_targets=settings.lora_targets,
    )
    reason = refusal(shape, setup, usable(memory / GIB))
    if reason is not None:
        raise RefusedError(reason)
