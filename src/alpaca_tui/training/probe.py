"""Three passes over the longest micro-batch before the first step: the real peak of memory, and no trace left.

Weights, optimizer, random state and the order of the data are as if it had not been. Nothing is updated: Adam's two
moments are stood in for by empty tensors of their size, so that the peak is that of a step in the middle of a run.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import torch

if TYPE_CHECKING:
    from alpaca_tui.training.loop import RecipeTrainer

PASSES = 3
"""The second finds the gradients of the first beside its activations, as every accumulated micro-batch does."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """``peak`` is the highest of all processes in bytes: what torch allocated on a GPU, resident memory on the CPU.

    ``reserved`` is what torch's allocator held on the GPU (the same as ``peak`` on the CPU), ``tokens`` the length of
    the micro-batch.
    """

    peak: int
    reserved: int
    tokens: int
    on_gpu: bool


def run_probe(trainer: RecipeTrainer) -> ProbeResult:
    """Probe a trainer whose model and optimizer are prepared. Every process must call it.

    Raises what the passes raise, torch.OutOfMemoryError above all.
    """
    batch = longest(trainer)
    model = trainer.model_wrapped
    device = trainer.args.device
    was_training = model.training
    model.train()
    reset_peak(device)
    with kept_random_state(device):
        moments = _stand_ins(trainer)
        try:
            inputs = trainer._prepare_inputs(batch)
            labels = max(1, inputs["labels"].numel())
            for _ in range(PASSES):
                with trainer.compute_loss_context_manager():
                    loss = trainer.compute_loss(model, inputs, num_items_in_batch=labels)
                trainer.accelerator.backward(loss)
        finally:
            del moments
            model.zero_grad(set_to_none=True)
            model.train(was_training)
    peak = torch.tensor(peak_memory(device), device=device)
    worst = trainer.accelerator.gather(peak.reshape(1, 2)).amax(dim=0)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    tokens = int(batch["input_ids"].numel())
    return ProbeResult(int(worst[0]), int(worst[1]), tokens, device.type == "cuda")


def longest(trainer: RecipeTrainer) -> dict[str, Any]:
    """The micro-batch of the whole run with the most tokens; the same on every process."""
    batches = trainer.train_dataset
    lengths = [len(example.input_ids) for example in batches.examples]
    sizes = [sum(lengths[i] for i in indices) for indices in batches.micro_batches]
    return batches[max(range(len(sizes)), key=lambda turn: (sizes[turn], -turn))]


def _stand_ins(trainer: RecipeTrainer) -> list[torch.Tensor]:
    """Room for Adam's moments where the optimizer has none yet; touched, so that the memory is really taken."""
    optimizer: Any = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    if trainer.is_deepspeed_enabled or optimizer.state:
        return []
    # 8-bit moments take a quarter; the paged ones can leave the GPU.
    eighth = "8bit" in str(trainer.args.optim)
    made = []
    for group in optimizer.param_groups:
        for weight in group["params"]:
            local = weight.to_local() if hasattr(weight, "to_local") else weight
            dtype = torch.uint8 if eighth else local.dtype
            made += [torch.zeros_like(local, dtype=dtype, requires_grad=False).fill_(0) for _ in range(2)]
    return made


@contextlib.contextmanager
def kept_random_state(device: torch.device) -> Iterator[None]:
    """Give every generator back the state that it had."""
    python, number = random.getstate(), numpy.random.get_state()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(number)


def reset_peak(device: torch.device) -> None:
    """Begin to measure the peak anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    # proc(5): writing 5 sets the peak of the resident set to what is resident now.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def peak_memory(device: torch.device) -> tuple[int, int]:
    """(bytes at the peak, bytes that the allocator held) of this process on its device since the last reset."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    resident = resident_peak()
    return resident, resident


def resident_peak() -> int:
    """The peak of this process's resident memory in bytes."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text("ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
