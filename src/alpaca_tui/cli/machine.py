"""``plan`` and ``doctor``: whether the work fits this machine, and what would mend it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alpaca_tui.cli import common
from alpaca_tui.core.errors import AlpacaError, RefusedError, UsageError

if TYPE_CHECKING:
    from alpaca_tui.core.memory_plan import MemoryPlan, Option, Question
    from alpaca_tui.core.memory_time import TimeEstimate, Workload

METHODS = ("auto", "lora", "qlora", "full")
QUANTIZATIONS = ("none", "nf4", "nf4-dq")
_ASSUMED_GPUS, _ASSUMED_GIB = 4, 32.0


def register(app: typer.Typer) -> None:
    """Add the commands to the main app."""
    app.command()(plan)
    app.command()(doctor)


def plan(
    ctx: typer.Context,
    model: Annotated[str, typer.Option("--model", metavar="SPEC", help="Model, or a name such as llama-7b.")] = (
        "smollm2-135m"
    ),
    gpus: Annotated[int | None, typer.Option("--gpus", min=0, help="GPUs; 0: the CPU (default: those here).")] = None,
    gpu_memory: Annotated[
        float | None, typer.Option("--gpu-memory", metavar="GB", help="Memory of each GPU (default: as here, or 32).")
    ] = None,
    method: Annotated[str, typer.Option("--method", help="auto, lora, qlora or full.")] = "auto",
    seq: Annotated[int, typer.Option("--seq", min=8, help="Longest example in tokens.")] = 512,
    micro_batch: Annotated[
        int | None, typer.Option("--micro-batch", min=1, help="Examples per pass and GPU (default: what fits).")
    ] = None,
    checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--activation-checkpointing/--no-activation-checkpointing",
            help="Compute activations twice instead of keeping them (default: the preset's).",
        ),
    ] = None,
    offload: Annotated[
        bool | None, typer.Option("--offload/--no-offload", help="Keep full tuning's states in host memory.")
    ] = None,
    lora_rank: Annotated[int | None, typer.Option("--lora-rank", min=1, help="Default: the preset's.")] = None,
    lora_targets: Annotated[
        str | None, typer.Option("--lora-targets", metavar="A,B", help="Projections, all-linear (default: preset's).")
    ] = None,
    quantization: Annotated[
        str | None, typer.Option("--quantization", help="none, nf4 or nf4-dq (default for qlora: nf4-dq).")
    ] = None,
    host_memory: Annotated[
        float | None, typer.Option("--host-memory", metavar="GB", help="Host memory to judge by (default: as here).")
    ] = None,
    examples: Annotated[int | None, typer.Option("--examples", min=1, help="For the time; default 52,002.")] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="For the time (default: the preset's).")] = None,
) -> None:
    """Memory by component and GPU, whether it fits, the recipe and why, host memory, disk and time."""
    from alpaca_tui.core import memory_plan
    from alpaca_tui.jobs import shapes

    _one_of("--method", method, METHODS)
    _one_of("--quantization", quantization, (None, *QUANTIZATIONS))
    shape = shapes.shape(model)
    machine = _machine(common.project_dir(ctx), gpus, gpu_memory, host_memory)
    preset = _preset(shape.parameters, method)
    targets = _targets(lora_targets) or tuple(preset.get("lora_targets", ("q_proj", "v_proj")))
    question = memory_plan.Question(
        shape=shape,
        gpus=machine.gpus,
        capacity=machine.capacity,
        method=method,  # type: ignore[arg-type]
        offload=offload,
        seq=seq,
        micro_batch=micro_batch,
        checkpointing=checkpointing,
        lora_rank=lora_rank or preset.get("lora_rank", 8),
        lora_targets=targets,
        quantization=quantization,  # type: ignore[arg-type]
        host=machine.host,
        largest_micro_batch=min(preset["micro_batch"], max(1, preset["global_batch"] // max(1, machine.gpus))),
        checkpointing_first=preset.get("gradient_checkpointing", False),
    )
    value = _plan_value(ctx, memory_plan.plan(question), question, machine, _workload(preset, examples, epochs))
    common.emit(ctx, value, _plan_text(value))
    if value["verdict"] == "no":
        raise RefusedError(f"{model} by {value['method']} does not fit: {value['reason']}")


def _one_of(option: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        named = ", ".join(choice for choice in choices if choice)
        raise UsageError(f"{option} is one of {named}, not {value!r}")


def _targets(value: str | None) -> tuple[str, ...]:
    from alpaca_tui.training.config import ALL_LINEAR

    if value == "all-linear":
        return ALL_LINEAR
    names = tuple(name.strip() for name in (value or "").split(",") if name.strip())
    unknown = [name for name in names if name not in ALL_LINEAR]
    if unknown or (value is not None and not names):
        raise UsageError(
            f"--lora-targets knows {', '.join(ALL_LINEAR)} and all-linear, not {', '.join(unknown) or 'nothing'}"
        )
    return names


def _preset(parameters: int, method: str) -> dict[str, Any]:
    from alpaca_tui.training.config import preset_for

    return preset_for(parameters, "full" if method == "full" else "lora").settings


@dataclass(frozen=True, slots=True)
class _Machine:
    """What is planned for: sizes in bytes, one GPU's peak in FLOP/s. ``here`` when it is this machine."""

    gpus: int
    capacity: float
    host: float | None
    peak: float
    disk_free: int
    here: bool
    notes: tuple[str, ...]


def _machine(project: Path, gpus: int | None, gibibytes: float | None, host_gib: float | None) -> _Machine:
    from alpaca_tui.core import memory_plan, memory_time
    from alpaca_tui.jobs import hardware

    for option, size in (("--gpu-memory", gibibytes), ("--host-memory", host_gib)):
        if size is not None and not 0 < size < math.inf:
            raise UsageError(f"{option} is a size in GB, more than 0")
    found = hardware.visible_gpus()
    near = next((p for p in (project, *project.parents) if p.is_dir()), Path("/"))
    host = hardware.host(near)
    here = gpus == 0 or (bool(found) and gpus in (None, len(found)) and gibibytes is None)
    known_host = host_gib * 2**30 if host_gib is not None else float(host.ram_total) if here else None
    if gpus == 0:
        capacity = known_host if known_host is not None else float(host.ram_total)
        return _Machine(0, capacity, None, 0.0, host.disk_free, True, ())
    notes = []
    count = gpus if gpus is not None else len(found) or _ASSUMED_GPUS
    smallest = min((g.memory_total for g in found), default=0) / 2**30
    memory = gibibytes if gibibytes is not None else smallest or _ASSUMED_GIB
    if not found:
        notes.append(f"no GPU is here; planned for {count} with {memory:g} GB each, 125 TFLOP/s (V100)")
    elif len({(g.name, g.memory_total) for g in found}) > 1:
        notes.append("the GPUs here differ: the smallest memory and the slowest peak are what counts")
    peaks = [memory_time.peak_flops(g.name) for g in found]
    known = [peak for peak in peaks if peak is not None]
    if found and len(known) < len(found):
        notes.append("the peak of these GPUs is not known; the time assumes a V100's 125 TFLOP/s")
    peak = min(known) if known and len(known) == len(found) else memory_time.V100_PEAK
    return _Machine(count, memory_plan.usable(memory), known_host, peak, host.disk_free, here, tuple(notes))


def _workload(preset: dict[str, Any], examples: int | None, epochs: float | None) -> Workload:
    from alpaca_tui.core.memory_time import ALPACA_EXAMPLES, Workload

    if epochs is not None and not 0 < epochs < math.inf:
        raise UsageError("--epochs is a number of passes, more than 0")
    return Workload(
        examples=examples or ALPACA_EXAMPLES,
        epochs=epochs or preset["epochs"],
        global_batch=preset["global_batch"],
    )


def _measured_rate(ctx: typer.Context, model: str, method: str) -> float | None:
    """Tokens/s of this project's last finished training of the same model by the same method, if there is one."""
    from alpaca_tui.store import database, jobs, metrics

    project = common.project_dir(ctx)
    if not database.database_path(project).is_file():
        return None
    try:
        db = database.open_project(project)
    except AlpacaError:
        return None  # a plan needs no project
    for job in reversed(jobs.all_jobs(db, "train")):
        if job.state == "succeeded" and job.spec.get("model") == model and (job.result or {}).get("method") == method:
            rates = metrics.series(db, job.id, "tokens_per_s").values
            return median(rates) if rates else None
    return None


def _plan_value(
    ctx: typer.Context, answer: MemoryPlan, question: Question, machine: _Machine, workload: Workload
) -> dict[str, Any]:
    from alpaca_tui.core import memory_terms, memory_time

    chosen, shape = answer.chosen, question.shape
    setup = chosen.setup
    measured = _measured_rate(ctx, shape.name, setup.method) if machine.here else None
    time = memory_time.estimate_time(shape, setup, workload, machine.peak, measured)
    accumulation = max(1, -(-workload.global_batch // (setup.micro_batch * max(1, setup.gpus))))
    return {
        "model": shape.name,
        **_option_value(chosen),
        "why": answer.why,
        "bytes_per_gpu": _bytes_value(chosen),
        "capacity_per_gpu": round(chosen.capacity),
        "parameters": shape.parameters,
        "trainable": memory_terms.trainable(shape, setup),
        "gpus": setup.gpus,
        "seq": setup.seq,
        "global_batch": workload.global_batch,
        "accumulation": accumulation,
        "lora_rank": None if setup.method == "full" else setup.lora_rank,
        "lora_targets": None if setup.method == "full" else list(setup.lora_targets),
        "quantization": setup.quantization,
        "checkpoint_bytes": round(chosen.checkpoint_bytes),
        "time": _time_value(time),
        "notes": [*machine.notes, *_notes(chosen, question, machine)],
        "alternatives": [_option_value(option) for option in answer.alternatives],
    }


def _option_value(option: Option) -> dict[str, Any]:
    return {
        "method": option.setup.method,
        "offload": option.setup.offload,
        "verdict": option.verdict,
        "reason": option.reason,
        "total": round(option.bytes.total),
        "fill": round(option.fill, 4),
        "micro_batch": option.setup.micro_batch,
        "activation_checkpointing": option.setup.checkpointing,
        "host_bytes": round(option.host_bytes),
        "disk_bytes": round(option.disk_bytes),
        "recipe": option.recipe,
    }


def _bytes_value(option: Option) -> dict[str, int]:
    parts = {name: round(getattr(option.bytes, name)) for name in option.bytes.__slots__}
    return {**parts, "total": sum(parts.values())}


def _time_value(time: TimeEstimate | None) -> dict[str, Any] | None:
    if time is None:
        return None
    return {
        "seconds_low": round(time.seconds_low),
        "seconds_high": round(time.seconds_high),
        "tokens": round(time.tokens),
        "basis": time.basis,
    }


def _notes(chosen: Option, question: Question, machine: _Machine) -> list[str]:
    from alpaca_tui.core import memory_plan

    setup, shape = chosen.setup, question.shape
    notes = []
    if machine.here and chosen.disk_bytes > machine.disk_free:
        notes.append(f"the disk has {machine.disk_free / 1e9:.0f} GB free, {chosen.disk_bytes / 1e9:.0f} GB are needed")
    if setup.sharded and setup.gpus > 1:
        unsharded = 2 * shape.parameters / memory_plan.GIB
        notes.append(
            f"gradients must be reduced at every micro-batch (sync_each_batch); left to the end of a step they stay "
            f"unsharded, {unsharded:.1f} GiB on each GPU"
        )
    if setup.offload:
        zero3 = memory_plan.zero3_states(
            shape.parameters, shape.layer, setup.gpus, offload_optimizer=True, offload_weights=True
        )
        notes.append(
            f"DeepSpeed ZeRO-3 with everything offloaded: states of {zero3.gpu / 1e9:.1f} GB on a GPU, "
            f"{zero3.host / 1e9:.0f} GB of host memory by its own estimator"
        )
    if setup.method == "qlora":
        notes.append("QLoRA needs bitsandbytes: pip install bitsandbytes")
    return notes


def _size(value: float) -> str:
    return f"{value / 2**30:8.2f} GiB"


def _plan_text(value: dict[str, Any]) -> str:
    def name(option: dict[str, Any]) -> str:
        return option["method"] + (" + offload" if option["offload"] else "")

    device = f"each of {value['gpus']} GPUs" if value["gpus"] else "the CPU"
    lines = [
        f"{value['model']}: {value['parameters']:,} parameters, {value['trainable']:,} trainable",
        f"{name(value)}: {value['verdict']}, {value['reason']}",
        f"why        {value['why']}",
        f"recipe     {value['recipe']}; micro-batch {value['micro_batch']} × {value['accumulation']} accumulated"
        f" × {max(1, value['gpus'])} for a batch of {value['global_batch']}, {value['seq']} tokens, "
        f"checkpointing {'on' if value['activation_checkpointing'] else 'off'}",
        f"memory on {device}:",
        *(f"  {part:<12}{_size(size)}" for part, size in value["bytes_per_gpu"].items()),
        *([f"host       {value['host_bytes'] / 1e9:.0f} GB of memory"] if value["gpus"] else []),
        f"disk       {value['disk_bytes'] / 1e9:.1f} GB, a checkpoint {value['checkpoint_bytes'] / 1e9:.2f} GB",
    ]
    if value["time"]:
        low, high = value["time"]["seconds_low"], value["time"]["seconds_high"]
        unit, seconds = ("h", 3600) if high >= 5400 else ("min", 60)
        lines.append(f"time       {low / seconds:.1f} to {high / seconds:.1f} {unit} ({value['time']['basis']})")
    lines += [f"note       {note}" for note in value["notes"]]
    lines += [f"otherwise  {name(o)}: {o['verdict']}, {o['reason']}, {o['recipe']}" for o in value["alternatives"]]
    return "\n".join(lines)


def doctor(ctx: typer.Context) -> None:
    """Whether this machine can do the work, and the exact command that mends it."""
    from dataclasses import asdict

    from alpaca_tui.core.doctor import examine, verdict
    from alpaca_tui.jobs import machine

    facts = machine.collect(common.project_dir(ctx))
    checks = examine(facts)
    level = verdict(checks)
    value = {"verdict": level, "checks": [asdict(check) for check in checks], "facts": asdict(facts)}
    lines = []
    for check in checks:
        lines.append(f"{check.level:<5} {check.name:<13} {check.what}")
        if check.level != "ok":
            lines += [f"{'':<20}{check.why}"] * bool(check.why) + [f"{'':<20}do: {check.do}"] * bool(check.do)
    common.emit(ctx, value, "\n".join(lines))
    failed = [check.name for check in checks if check.level == "fail"]
    if failed:
        raise RefusedError(f"this machine cannot do the work yet: {', '.join(failed)}")
