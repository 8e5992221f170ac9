"""A plan for this machine or a described one: the same report for the command line and the cockpit. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, cast

from alpaca_tui.core import memory_plan, memory_terms, memory_time
from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.core.memory_plan import MemoryPlan, Option, Question, Wanted
from alpaca_tui.core.memory_terms import Quantization, Shape
from alpaca_tui.core.memory_time import ALPACA_EXAMPLES, TimeEstimate, Workload
from alpaca_tui.jobs import hardware
from alpaca_tui.jobs.machine import nearest
from alpaca_tui.store import database, metrics
from alpaca_tui.store import jobs as job_rows

METHODS = ("auto", "lora", "qlora", "full")
QUANTIZATIONS = ("none", "nf4", "nf4-dq")
_ASSUMED_GPUS, _ASSUMED_GIB = 4, 32.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What is planned for: sizes in bytes, one GPU's peak in FLOP/s. ``here`` when it is this machine."""

    gpus: int
    capacity: float
    host: float | None
    peak: float
    disk_free: int
    here: bool
    notes: tuple[str, ...]


def machine(
    project: Path, gpus: int | None = None, gibibytes: float | None = None, host_gib: float | None = None
) -> Machine:
    """The machine to plan for: what is said, else what is here, else four GPUs of 32 GB.

    ``gibibytes`` is one GPU's memory as it is sold, ``host_gib`` the host's. The host is judged only where it is
    known: said, or this machine's. Raises UsageError for a size that is none.
    """
    for option, size in (("--gpu-memory", gibibytes), ("--host-memory", host_gib)):
        if size is not None and not 0 < size < math.inf:
            raise UsageError(f"{option} is a size in GB, more than 0")
    found = hardware.visible_gpus()
    host = hardware.host(nearest(project))
    here = gpus == 0 or (bool(found) and gpus in (None, len(found)) and gibibytes is None)
    known_host = host_gib * 2**30 if host_gib is not None else float(host.ram_total) if here else None
    if gpus == 0:
        capacity = known_host if known_host is not None else float(host.ram_total)
        return Machine(0, capacity, None, 0.0, host.disk_free, True, ())
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
    return Machine(count, memory_plan.usable(memory), known_host, peak, host.disk_free, here, tuple(notes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user says of a plan; None leaves it to the preset, or to what fits."""

    method: str = "auto"
    offload: bool | None = None
    seq: int = 512
    micro_batch: int | None = None
    checkpointing: bool | None = None
    lora_rank: int | None = None
    lora_targets: tuple[str, ...] = ()
    quantization: str | None = None
    examples: int | None = None
    epochs: float | None = None


def report(project: Path, shape: Shape, machine: Machine, preset: Mapping[str, Any], wishes: Wishes) -> dict[str, Any]:
    """The whole plan as plain values, the command line's JSON.

    ``preset`` holds the training settings for a model of this size (global_batch, micro_batch, epochs, …). Raises
    UsageError where the wishes contradict each other.
    """
    if wishes.method not in METHODS:
        raise UsageError(f"the method is one of {', '.join(METHODS)}, not {wishes.method!r}")
    if wishes.quantization not in (None, *QUANTIZATIONS):
        raise UsageError(f"the quantization is one of {', '.join(QUANTIZATIONS)}, not {wishes.quantization!r}")
    if wishes.epochs is not None and not 0 < wishes.epochs < math.inf:
        raise UsageError("--epochs is a number of passes, more than 0")
    share = max(1, preset["global_batch"] // max(1, machine.gpus))
    question = Question(
        shape=shape,
        gpus=machine.gpus,
        capacity=machine.capacity,
        method=cast(Wanted, wishes.method),
        offload=wishes.offload,
        seq=wishes.seq,
        micro_batch=wishes.micro_batch,
        checkpointing=wishes.checkpointing,
        lora_rank=wishes.lora_rank or preset.get("lora_rank", 8),
        lora_targets=wishes.lora_targets or tuple(preset.get("lora_targets", ("q_proj", "v_proj"))),
        quantization=cast("Quantization | None", wishes.quantization),
        host=machine.host,
        largest_micro_batch=min(preset["micro_batch"], share),
        checkpointing_first=preset.get("gradient_checkpointing", False),
    )
    workload = Workload(
        examples=wishes.examples or ALPACA_EXAMPLES,
        epochs=wishes.epochs or preset["epochs"],
        global_batch=preset["global_batch"],
    )
    return _value(project, memory_plan.plan(question), question, machine, workload)


def measured_rate(project: Path, model: str, method: str) -> float | None:
    """Tokens/s of this project's last finished training of the same model by the same method, if there is one."""
    if not database.database_path(project).is_file():
        return None
    try:
        db = database.open_project(project)
    except AlpacaError:
        return None  # a plan needs no project
    for job in reversed(job_rows.all_jobs(db, "train")):
        if job.state == "succeeded" and job.spec.get("model") == model and (job.result or {}).get("method") == method:
            rates = metrics.series(db, job.id, "tokens_per_s").values
            return median(rates) if rates else None
    return None


def _value(
    project: Path, answer: MemoryPlan, question: Question, machine: Machine, workload: Workload
) -> dict[str, Any]:
    chosen, shape = answer.chosen, question.shape
    setup = chosen.setup
    measured = measured_rate(project, shape.name, setup.method) if machine.here else None
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


def _notes(chosen: Option, question: Question, machine: Machine) -> list[str]:
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
        notes.append("QLoRA needs bitsandbytes: pip install 'alpaca-tui[qlora]'")
    return notes
