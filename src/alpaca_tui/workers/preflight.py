"""What is wrong with a training is said before a model is loaded: by the command at once, by every worker again.

The cockpit and a resumed job come through the worker, the command line through here first, so that its exit code tells.
Loads no torch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.errors import RefusedError, UsageError
from alpaca_tui.core.launch_check import refusal
from alpaca_tui.core.masking import EncodingReport, check_encoding, describe, encode_example
from alpaca_tui.core.memory_plan import GIB, estimate, host_bytes, usable
from alpaca_tui.core.memory_terms import Setup, Shape
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.jobs import hardware, launching, models, shapes
from alpaca_tui.jobs.launching import Launch
from alpaca_tui.jobs.specs import TrainSpec, recipe_path
from alpaca_tui.store import datasets
from alpaca_tui.training import folder
from alpaca_tui.training.config import TrainConfig
from alpaca_tui.workers.examples import TRAINING_PACK, training_examples

_GUESSED_PARAMETERS = int(1e9)


def training_config(
    spec: TrainSpec, parameters: int, model: Path, output_dir: Path, launch: Launch | None = None
) -> TrainConfig:
    """The preset for a model of so many parameters, what was fitted to the GPUs, and the job's own values over both.

    Raises UsageError.
    """
    launch = launch or settle(spec)
    values = dict(launch.fitted) | spec.overrides | {"model": model, "output_dir": output_dir}
    return TrainConfig.for_model(parameters, launch.method, **values)


def settle(spec: TrainSpec) -> Launch:
    """How the job runs on this machine."""
    return launching.settle(spec.model, spec.method, spec.overrides, spec.recipe)


def check_training(spec: TrainSpec) -> Launch:
    """How the job will run. Raises UsageError for settings that no training takes, RefusedError where it does not fit.

    A model that is not here yet has no known size: its settings are checked, its memory is not.
    """
    if spec.recipe is not None and not recipe_path(spec.recipe).is_file():
        known = ", ".join(sorted(path.stem for path in recipe_path("cpu").parent.glob("*.yaml")))
        raise UsageError(f"there is no accelerate recipe {spec.recipe!r}; there are: {known}")
    if spec.recipe == launching.MULTI_NODE_RECIPE:
        raise UsageError(
            "several machines share no project: write the training to a folder with train --export DIR and launch it "
            "on each of them, see docs/TRAINING.md"
        )
    launch = settle(spec)
    shape = shapes.known_shape(spec.model)
    here = Path()  # neither path matters to the check
    settings = training_config(spec, shape.parameters if shape else _GUESSED_PARAMETERS, here, here, launch)
    if launch.method != "full" and launch.recipe in launching.SHARDING_RECIPES:
        raise UsageError(f"the recipe {launch.recipe} shards full tuning; use --method full, or leave the recipe out")
    _check_bitsandbytes(settings, launch)
    if shape is None or not launch.gpus:
        return launch
    memory = min((gpu.memory_total for gpu in hardware.visible_gpus()), default=0)
    if memory:
        shards = launch.recipe in launching.SHARDING_RECIPES
        setup = setup_of(settings, launch)
        reason = refusal(shape, setup, usable(memory / GIB), shards=shards)
        if reason is None and setup.offload and (host := host_bytes(shape, setup)) > hardware.host().ram_total:
            reason = (
                f"{spec.model} with its states offloaded needs {host / GIB:.0f} GiB of host memory, here are "
                f"{hardware.host().ram_total / GIB:.0f}; --method lora does without"
            )
        if reason is not None:
            raise RefusedError(reason)
    return launch


def _check_bitsandbytes(settings: TrainConfig, launch: Launch) -> None:
    what = settings.method if settings.method == "qlora" else settings.optimizer
    if what == "adamw_torch_fused":
        return
    if importlib.util.find_spec("bitsandbytes") is None:
        raise RefusedError(f"{what} needs bitsandbytes, which is not installed: pip install 'alpaca-tui[qlora]'")
    if not launch.gpus and settings.device != "cpu":
        raise RefusedError(f"{what} saves the memory of a GPU and there is none here: use --method lora")


def setup_of(settings: TrainConfig, launch: Launch) -> Setup:
    """The training in the planner's terms."""
    return Setup(
        method=settings.method,
        gpus=launch.gpus,
        seq=settings.max_length,
        micro_batch=min(settings.micro_batch, max(1, settings.global_batch // max(1, launch.gpus))),
        checkpointing=settings.gradient_checkpointing,
        offload=launch.offload,
        lora_rank=settings.lora_rank,
        lora_targets=settings.lora_targets,
        quantization=settings.quantization if settings.method == "qlora" else "none",
    )


def planned(shape: Shape, settings: TrainConfig, launch: Launch) -> dict[str, Any]:
    """The plan of a job as it runs, in bytes: what its real peaks are held against (``job.result["plan"]``)."""
    setup = setup_of(settings, launch)
    parts = estimate(shape, setup)
    memory = min((gpu.memory_total for gpu in hardware.visible_gpus()), default=0)
    capacity = usable(memory / GIB) if launch.gpus and memory else float(hardware.host().ram_total)
    sizes = {name: round(getattr(parts, name)) for name in parts.__slots__}
    return {
        "method": launch.method,
        "offload": launch.offload,
        "recipe": launch.recipe,
        "gpus": launch.gpus,
        "micro_batch": setup.micro_batch,
        "seq": setup.seq,
        "activation_checkpointing": setup.checkpointing,
        "bytes_per_gpu": {**sizes, "total": sum(sizes.values())},
        "capacity_per_gpu": round(capacity),
        "why": launch.why,
    }


def planned_bytes(shape: Shape, settings: TrainConfig, launch: Launch) -> Callable[[int], float]:
    """The planned peak of a micro-batch of so many tokens, as the probe measures it: on a GPU what torch allocates."""

    def planned(tokens: int) -> float:
        parts = estimate(shape, replace(setup_of(settings, launch), seq=tokens, micro_batch=1))
        return parts.allocated if launch.gpus else parts.total

    return planned


def encoding(db: Database, project: Path, spec: TrainSpec, launch: Launch) -> EncodingReport | None:
    """What encoding does to the training rows: how many are cut, dropped, teach the end token.

    None where the model is not here yet, or its tokenizer is none that reads without torch. Raises RefusedError where
    training would refuse the data.
    """
    ref = models.resolve(spec.model, fetch=False)
    if ref.path is None or not (ref.path / "tokenizer.json").is_file():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(ref.path / "tokenizer.json"))
    here = Path()
    shape = shapes.known_shape(spec.model)
    settings = training_config(spec, shape.parameters if shape else _GUESSED_PARAMETERS, here, here, launch)
    train, _ = examples_of(db, project, spec)

    def ids(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    begins = tokenizer.encode("a").ids != tokenizer.encode("a", add_special_tokens=False).ids
    # The end token's id does not change the count.
    encoded = [encode_example(ids, example, 0, settings.max_length, 0 if begins else None) for example in train]
    report = describe(encoded)
    check_encoding(report, settings.max_length, settings.max_truncated)
    return report


def examples_of(db: Database, project: Path, spec: TrainSpec) -> tuple[list[TrainingExample], list[TrainingExample]]:
    """The rendered examples of a training: those to learn from and those held out."""
    dataset = datasets.get(db, spec.dataset)
    pack = resources.read_pack(TRAINING_PACK, project / "prompts")
    train, held_out = (
        training_examples(pack, datasets.examples(db, dataset.id, split)) for split in ("train", "held_out")
    )
    return train, held_out


def about(db: Database, spec: TrainSpec, plan: dict[str, Any] | None) -> dict[str, Any]:
    """What a model card says of where a model comes from."""
    dataset = datasets.get(db, spec.dataset)
    path = Path(spec.model).expanduser()
    return {
        "base": path.name if path.is_dir() else spec.model,
        "base_licence": "apache-2.0" if spec.model == models.EMBEDDED else None,
        "dataset": dataset.name,
        "data_hash": dataset.content_hash,
        "data_licence": dataset.card.get("licence"),
        "plan": plan,
    }


def export(db: Database, project: Path, spec: TrainSpec, target: Path) -> Path:
    """Write a training to a folder with the recipe for it; return the folder.

    Raises UsageError for settings that no training takes, AlpacaError where the folder is not empty.
    """
    ref = models.resolve(spec.model)
    if ref.path is None:
        raise UsageError(f"{spec.model} is an endpoint; only a local model can be tuned")
    launch = settle(spec)
    parameters = models.check(ref.path).parameters
    config = training_config(spec, parameters, ref.path, target / "output", launch)
    folder.write(target, config, *examples_of(db, project, spec), about(db, spec, None))
    recipe = spec.recipe or launching.MULTI_NODE_RECIPE
    (target / "recipe.yaml").write_bytes(recipe_path(recipe).read_bytes())
    return target
