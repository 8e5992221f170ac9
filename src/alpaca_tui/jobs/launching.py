"""From what a training asks for to how it is launched on this machine: method, accelerate recipe, processes.

The same answer for the command line, the cockpit, the runner and every worker, because it follows from the spec, the
model's sizes and the GPUs alone; and the same as ``plan``'s, because the planner gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from alpaca_tui.core import memory_plan
from alpaca_tui.core.memory_plan import GIB, Option, Question, usable
from alpaca_tui.core.memory_terms import Shape
from alpaca_tui.core.presets import Method, preset_for
from alpaca_tui.jobs import hardware, shapes
from alpaca_tui.jobs.hardware import Gpu

Asked = Literal["auto", "lora", "qlora", "full", "full-offload"]
"""What ``train --method`` takes. ``full-offload``: full tuning with its states in the host's memory."""

FULL_RECIPE, OFFLOAD_RECIPE, ZERO3_RECIPE = "v100x4-full", "v100x4-offload", "v100x4-zero3"
SHARDING_RECIPES = (FULL_RECIPE, OFFLOAD_RECIPE, ZERO3_RECIPE)
MULTI_NODE_RECIPE = "multi-node"
ON_ALL_GPUS = (hardware.MULTI_GPU_RECIPE, *SHARDING_RECIPES)
"""Recipes that start one process on every GPU in use."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a training runs here.

    ``gpus`` processes have one GPU each; 0 means one process on the CPU. ``fitted`` holds the settings that the plan
    chose so that it fits; the user's own win over them. ``option`` is the plan, None for a model of unknown size.
    """

    method: Method
    offload: bool
    recipe: str
    gpus: int
    fitted: Mapping[str, Any]
    option: Option | None
    why: str


def settle(
    model: str,
    asked: Asked = "auto",
    overrides: Mapping[str, Any] | None = None,
    recipe: str | None = None,
    found: Sequence[Gpu] | None = None,
) -> Launch:
    """How a training of ``model`` is launched on the GPUs ``found`` (by default those visible here).

    Nothing is refused: a plan that does not fit is in ``option``. Raises UsageError for settings that contradict
    each other. A model that is not here yet has no known size; ``auto`` is LoRA then.
    """
    found = hardware.visible_gpus() if found is None else found
    settings = dict(overrides or {})
    on_cpu = not found or recipe == hardware.CPU_RECIPE or settings.get("device") == "cpu"
    gpus = 0 if on_cpu else 1 if recipe == hardware.SINGLE_GPU_RECIPE else len(found)
    if recipe in (OFFLOAD_RECIPE, ZERO3_RECIPE) and asked in ("auto", "full"):
        asked = "full-offload"
    elif recipe == FULL_RECIPE and asked == "auto":
        asked = "full"
    shape = shapes.known_shape(model)
    if shape is None or gpus == 0:
        method: Method = cast(Method, {"auto": "lora", "full-offload": "full"}.get(asked, asked))
        offload = asked == "full-offload" and gpus > 0
        return Launch(method, offload, recipe or recipe_for(method, offload, gpus), gpus, {}, None, "")
    memory = min(gpu.memory_total for gpu in found) / GIB
    answer = memory_plan.plan(_question(shape, asked, settings, gpus, usable(memory) if memory else float("inf")))
    chosen = answer.chosen
    setup = chosen.setup
    fitted = {"micro_batch": setup.micro_batch, "gradient_checkpointing": setup.checkpointing}
    chosen_recipe = recipe or recipe_for(setup.method, setup.offload, gpus)
    return Launch(setup.method, setup.offload, chosen_recipe, gpus, fitted, chosen, answer.why)


def recipe_for(method: Method, offload: bool, gpus: int) -> str:
    """The accelerate recipe of a method on so many GPUs: the one that ``plan`` names."""
    if gpus == 0:
        return hardware.CPU_RECIPE
    if offload:
        return OFFLOAD_RECIPE
    if gpus == 1:
        return hardware.SINGLE_GPU_RECIPE
    return FULL_RECIPE if method == "full" else hardware.MULTI_GPU_RECIPE


def _question(shape: Shape, asked: Asked, settings: Mapping[str, Any], gpus: int, capacity: float) -> Question:
    preset = preset_for(shape.parameters, "full" if asked in ("full", "full-offload") else "lora").settings
    merged = {**preset, **settings}
    host = hardware.host().ram_total
    return Question(
        shape=shape,
        gpus=gpus,
        capacity=capacity,
        method="full" if asked == "full-offload" else asked,
        offload=True if asked == "full-offload" else None if asked == "auto" else False,
        seq=int(merged.get("max_length", 512)),
        micro_batch=_positive(settings.get("micro_batch")),
        checkpointing=settings.get("gradient_checkpointing"),
        lora_rank=int(merged.get("lora_rank", 8)),
        lora_targets=tuple(merged.get("lora_targets", ("q_proj", "v_proj"))),
        quantization=settings.get("quantization") if asked == "qlora" else None,
        host=float(host),
        largest_micro_batch=max(1, min(int(preset["micro_batch"]), int(merged["global_batch"]) // gpus)),
        checkpointing_first=bool(preset.get("gradient_checkpointing", False)),
    )


def _positive(value: Any) -> int | None:
    # What is no number is told by the configuration's own check.
    return value if isinstance(value, int) and value > 0 else None


def launch_arguments(launch: Launch, found: Sequence[Gpu]) -> list[str]:
    """The options of ``accelerate launch`` beside the recipe's file: processes, threads, GPUs, a free port."""
    used = found if launch.recipe in ON_ALL_GPUS else found[:1] if launch.gpus else []
    ranks = max(1, len(used))
    arguments = []
    if launch.recipe in ON_ALL_GPUS:
        # Accelerate picks a free port for 0; its default, 29500, is one for the whole machine.
        arguments += ["--main_process_port", "0"]
    if launch.recipe in (hardware.CPU_RECIPE, hardware.SINGLE_GPU_RECIPE) or used:
        arguments += ["--num_processes", str(ranks)]
        arguments += ["--num_cpu_threads_per_process", str(max(1, hardware.cores() // ranks))]
    if used:
        arguments += ["--gpu_ids", ",".join(str(gpu.index) for gpu in used)]
    return arguments
