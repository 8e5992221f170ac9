"""Will this fine-tune fit? Bytes by component, a verdict with its numbers, and which method to choose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal

from alpaca_tui.core import memory_terms as terms
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.memory_terms import Quantization, Setup, Shape

Verdict = Literal["fits", "tight", "no"]
Wanted = Literal["auto", "lora", "qlora", "full"]

GIB = 2**30
TIGHT = 0.92
"""Above this share of the memory a run is one odd batch away from the end."""
USABLE = 31.75 / 32
"""What the driver leaves to processes: 31.75 GiB of a V100's 32, 39.6 of an A100's 40."""
FRAGMENTATION = 0.07
"""The allocator reserves about this much more than it hands out."""
CONTEXT = {"gpu": 1.0 * GIB, "cpu": 0.7 * GIB}
"""CUDA's context and NCCL's buffers; on the CPU Python, the libraries and their buffers."""
RANK_HOST_BYTES = 2.5 * GIB
"""Host memory of one training process besides weights: the interpreter, torch, CUDA's host side."""
_SHARD = 5e9  # the files of a large checkpoint; quantisation holds one of them at a time
_ZERO3_BUFFERS = 1.5


@dataclass(frozen=True, slots=True)
class Bytes:
    """Memory of one device at its worst moment, by component, in bytes.

    ``transients`` is what is needed beyond the logits, whose place it takes outside the loss.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    transients: float
    overhead: float

    @property
    def total(self) -> float:
        """The sum of the components."""
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def allocated(self) -> float:
        """What torch would report as allocated: the total without fragmentation and context."""
        return self.total - self.overhead


def estimate(shape: Shape, setup: Setup) -> Bytes:
    """The bytes on one device. The peak is states + saved activations + the larger of logits and transients."""
    parts = {
        "weights": terms.weights(shape, setup),
        "gradients": terms.gradients(shape, setup),
        "optimizer": terms.optimizer(shape, setup),
        "activations": terms.activations(shape, setup),
        "logits": terms.logits(shape, setup),
    }
    parts["transients"] = max(0.0, terms.transients(shape, setup) - parts["logits"])
    if setup.quantization != "none":
        parts["transients"] += terms.NF4_SURPLUS * sum(parts.values())
    overhead = FRAGMENTATION * sum(parts.values()) + CONTEXT["gpu" if setup.gpus else "cpu"]
    return Bytes(**parts, overhead=overhead)


def usable(gibibytes: float) -> float:
    """The bytes that a GPU sold with so much memory leaves to a process."""
    return gibibytes * GIB * USABLE


def verdict(needed: float, capacity: float) -> Verdict:
    """``tight`` above 92 % of the capacity, ``no`` above all of it."""
    if needed > capacity:
        return "no"
    return "tight" if needed > TIGHT * capacity else "fits"


def host_bytes(shape: Shape, setup: Setup) -> float:
    """Host memory of all ranks of one machine. On the CPU the model itself is counted as the device's memory."""
    ranks = max(1, setup.gpus)
    if setup.gpus == 0:
        return 0.0
    if setup.offload:
        model = 16.0 * shape.parameters
    elif setup.method == "full":
        model = 4.0 * shape.parameters  # rank 0 reads and distributes
    elif setup.method == "qlora":
        model = ranks * min(2.0 * shape.parameters, _SHARD)
    else:
        model = ranks * 2.0 * shape.parameters  # each rank reads its copy before it moves to the GPU
    return model + ranks * RANK_HOST_BYTES


def checkpoint_bytes(shape: Shape, setup: Setup) -> float:
    """One checkpoint: the weights that learn and Adam's moments, all in fp32."""
    return 12.0 * terms.trainable(shape, setup)


def disk_bytes(shape: Shape, setup: Setup, keep: int) -> float:
    """Disk for ``keep`` checkpoints, the one being written beside them, and the finished model (merged, for LoRA)."""
    result = 4.0 * shape.parameters if setup.method == "full" else 2.0 * shape.parameters
    return (keep + 1) * checkpoint_bytes(shape, setup) + result


@dataclass(frozen=True, slots=True)
class Zero3:
    """DeepSpeed ZeRO-3's states in bytes: on one GPU and in the host's memory."""

    gpu: float
    host: float


def zero3_states(
    parameters: int,
    largest_layer: int,
    gpus: int,
    *,
    offload_optimizer: bool = False,
    offload_weights: bool = False,
) -> Zero3:
    """What DeepSpeed documents for ZeRO-3 (``estimate_zero3_model_states_mem_needs``): 18 bytes a parameter.

    Half-precision weights (2), fp32 masters, gradients and Adam's moments (16), spread over ``gpus`` of one machine;
    a gathered layer in fp32; the host's share is padded by half. The weights are sharded as they are read
    (``zero.Init``, which transformers uses).
    """
    gathered = 4.0 * largest_layer
    if offload_optimizer and offload_weights:
        return Zero3(gathered, 18.0 * parameters * _ZERO3_BUFFERS)
    if offload_optimizer:
        return Zero3(gathered + 2.0 * parameters / gpus, 16.0 * parameters * _ZERO3_BUFFERS)
    return Zero3(gathered + 18.0 * parameters / gpus, 4.0 * largest_layer * gpus * _ZERO3_BUFFERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to plan. None means: choose.

    ``capacity`` is one device's memory in bytes as a process may use it, ``host`` the machine's memory where it is
    known. ``micro_batches`` and ``checkpointing_first`` are where the choice begins, by method.
    """

    shape: Shape
    gpus: int
    capacity: float
    method: Wanted = "auto"
    offload: bool | None = None
    seq: int = 512
    micro_batch: int | None = None
    checkpointing: bool | None = None
    lora_rank: int = 8
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    quantization: Quantization | None = None
    host: float | None = None
    keep_checkpoints: int = 2
    largest_micro_batch: int = 4
    checkpointing_first: bool = True

    def __post_init__(self) -> None:
        if self.gpus == 0 and (self.method == "qlora" or self.offload):
            raise UsageError("QLoRA and CPU offload are ways to use a GPU; there is none in this plan (--gpus 0)")
        if self.offload and self.method in ("lora", "qlora"):
            raise UsageError("offload moves the states of full fine-tuning to the host; use it with --method full")
        if self.quantization not in (None, "none") and self.method == "full":
            raise UsageError("4-bit weights cannot be tuned themselves; use --quantization with --method qlora")
        if self.quantization == "none" and self.method == "qlora":
            raise UsageError("QLoRA is LoRA on 4-bit weights; choose --quantization nf4 or nf4-dq, or --method lora")


@dataclass(frozen=True, slots=True)
class Option:
    """One method with its numbers. ``reason`` says in one clause why the verdict is what it is."""

    setup: Setup
    bytes: Bytes
    verdict: Verdict
    capacity: float
    host_bytes: float
    disk_bytes: float
    checkpoint_bytes: float
    recipe: str
    reason: str

    @property
    def fill(self) -> float:
        """Needed memory as a share of the device's."""
        return self.bytes.total / self.capacity


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The chosen option, why, and all the others."""

    chosen: Option
    why: str
    alternatives: tuple[Option, ...]


def recipe(setup: Setup) -> str:
    """The accelerate recipe of a setup."""
    if setup.gpus == 0:
        return "cpu"
    if setup.offload:
        return "v100x4-offload"
    if setup.gpus == 1:
        return "single-gpu"
    return "v100x4-full" if setup.method == "full" else "v100x4-lora"


def plan(question: Question) -> MemoryPlan:
    """The method to use and every other with its verdict.

    ``auto`` takes LoRA where it fits, even tightly; then full tuning, then full tuning with offload, then QLoRA.
    A method that was asked for is judged as asked, whatever comes out.
    """
    options = {(m, offload): _option(question, m, offload) for m, offload in _ways(question)}
    order = list(options)
    if question.method == "auto":
        wanted = next((way for way in order if options[way].verdict != "no"), order[0])
        why = _why(wanted, order, options[wanted])
    else:
        method: terms.Method = question.method
        if method == "lora" and question.quantization not in (None, "none"):
            method = "qlora"
        wanted = (method, bool(question.offload))
        why = "as asked"
    others = tuple(option for way, option in options.items() if way != wanted)
    return MemoryPlan(options[wanted], why, others)


def _ways(question: Question) -> list[tuple[terms.Method, bool]]:
    ways: list[tuple[terms.Method, bool]] = [("lora", False), ("full", False)]
    if question.gpus:
        ways += [("full", True), ("qlora", False)]
    if question.method == "auto" and question.quantization not in (None, "none"):
        ways.sort(key=lambda way: way[0] != "qlora")  # asked for by its quantisation
    if question.method == "auto" and question.offload is not None:
        ways = [way for way in ways if way[0] != "full" or way[1] == question.offload]
    return ways


def _why(wanted: tuple[terms.Method, bool], order: list[tuple[terms.Method, bool]], option: Option) -> str:
    if option.verdict == "no":
        return "nothing fits; this comes first among what was tried"
    if wanted == ("lora", False):
        return "LoRA is the safe default: the base stays frozen, the states are small, a run can be repeated"
    if wanted == order[0]:
        return "4-bit weights were asked for"
    return {
        ("full", False): "LoRA does not fit, but the sharded states of full tuning do",
        ("full", True): "only with the states in the host's memory does it fit",
        ("qlora", False): "only 4-bit weights fit; they need bitsandbytes",
    }[wanted]


def _option(question: Question, method: terms.Method, offload: bool) -> Option:
    """The method at its largest micro-batch that fits; where none does, at its smallest need."""
    best: Option | None = None
    for checkpointing, micro_batch in _ladder(question):
        option = _judge(question, _setup(question, method, offload, checkpointing, micro_batch))
        if option.verdict == "fits":
            return option
        if best is None or option.bytes.total < best.bytes.total:
            best = option
    assert best is not None
    return best


def _ladder(question: Question) -> Iterator[tuple[bool, int]]:
    rungs = [question.micro_batch]
    if question.micro_batch is None:
        rungs = [2**n for n in range(question.largest_micro_batch.bit_length() - 1, -1, -1)]
        if question.largest_micro_batch not in rungs:
            rungs.insert(0, question.largest_micro_batch)
    if question.checkpointing is None:
        checkpointing = [question.checkpointing_first, *([] if question.checkpointing_first else [True])]
    else:
        checkpointing = [question.checkpointing]
    for flag in checkpointing:
        for rung in rungs:
            assert rung is not None
            yield flag, rung


def _setup(question: Question, method: terms.Method, offload: bool, checkpointing: bool, micro_batch: int) -> Setup:
    setup = Setup(
        method=method,
        gpus=question.gpus,
        seq=question.seq,
        micro_batch=micro_batch,
        checkpointing=checkpointing,
        offload=offload,
        lora_rank=question.lora_rank,
        lora_targets=question.lora_targets,
    )
    if method == "qlora":
        chosen = question.quantization if question.quantization not in (None, "none") else "nf4-dq"
        return replace(setup, quantization=chosen or "nf4-dq")
    return setup


def _judge(question: Question, setup: Setup) -> Option:
    shape = question.shape
    needed = estimate(shape, setup)
    host = host_bytes(shape, setup)
    found = verdict(needed.total, question.capacity)
    where = "on each GPU" if setup.gpus else "of memory"
    reason = f"{needed.total / GIB:.1f} of {question.capacity / GIB:.1f} GiB {where}"
    reason += f" ({needed.total / question.capacity:.0%})"
    if question.host is not None and host > question.host:
        found = "no"
        reason += f", but {host / GIB:.0f} GiB of host memory where there are {question.host / GIB:.0f}"
    return Option(
        setup,
        needed,
        found,
        question.capacity,
        host,
        disk_bytes(shape, setup, question.keep_checkpoints),
        checkpoint_bytes(shape, setup),
        recipe(setup),
        reason,
    )
