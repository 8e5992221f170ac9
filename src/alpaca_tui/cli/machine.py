"""``plan`` and ``doctor``: whether the work fits this machine, and what would mend it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from alpaca_tui.cli import common
from alpaca_tui.core.errors import RefusedError, UsageError


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
    from alpaca_tui.jobs import planning, shapes
    from alpaca_tui.training.config import preset_for

    shape = shapes.shape(model)
    project = common.project_dir(ctx)
    machine = planning.machine(project, gpus, gpu_memory, host_memory)
    wishes = planning.Wishes(
        method=method,
        offload=offload,
        seq=seq,
        micro_batch=micro_batch,
        checkpointing=checkpointing,
        lora_rank=lora_rank,
        lora_targets=_targets(lora_targets),
        quantization=quantization,
        examples=examples,
        epochs=epochs,
    )
    preset = preset_for(shape.parameters, "full" if method == "full" else "lora").settings
    value = planning.report(project, shape, machine, preset, wishes)
    common.emit(ctx, value, _plan_text(value))
    if value["verdict"] == "no":
        raise RefusedError(f"{model} by {value['method']} does not fit: {value['reason']}")


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
