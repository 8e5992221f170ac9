"""When a run must stop, and the plain reason why: nothing that learnt from broken numbers is saved as good."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from alpaca_tui.core.errors import AlpacaError

SKIPPED_STEPS_IN_A_ROW = 20
"""The gradient scaler halves its scale at each skipped step: after twenty it has fallen a millionfold."""

ADAPTER_MOVED_BY = 20
"""The step at which an adapter is first looked at; warm-up has left a learning rate of 0 behind long before."""


class TrainingHalted(AlpacaError):
    """A guard stopped the run; the message says what was seen, at which step, and what to try."""


def check_losses(logs: Mapping[str, float], step: int, *, scaled: bool) -> None:
    """Look at one step's ``loss`` and ``grad_norm``. Raises TrainingHalted on a value that no sound run has.

    With a gradient scaler (``scaled``, fp16) an infinite gradient norm is how the scaler finds its scale: such steps
    are skipped, and counted elsewhere.
    """
    loss, norm = logs.get("loss"), logs.get("grad_norm")
    advice = "lower the learning rate, or train in bf16 or fp32"
    if loss is not None and not math.isfinite(loss):
        raise TrainingHalted(f"the loss became {loss} at step {step}; {advice}")
    if loss == 0:
        raise TrainingHalted(
            f"the loss is exactly 0 at step {step}: the arithmetic underflowed or no label is left; {advice}"
        )
    if norm is None:
        return
    if not math.isfinite(norm) and not scaled:
        raise TrainingHalted(f"the gradient norm became {norm} at step {step}; {advice}")
    if norm == 0:
        raise TrainingHalted(f"no gradient reached the weights at step {step}: the loss is cut off from them")


def check_held_out(loss: float, first: float | None, vocabulary: int, step: int) -> None:
    """Raises TrainingHalted where the held-out loss is not finite or has exploded.

    Exploded means: twice what it was before the first step, and worse than guessing uniformly (ln V nats).
    """
    if not math.isfinite(loss):
        raise TrainingHalted(f"the held-out loss became {loss} at step {step}; lower the learning rate")
    if first is not None and loss > 2 * first and loss > math.log(vocabulary):
        raise TrainingHalted(
            f"the held-out loss rose from {first:.3f} to {loss:.3f} at step {step}, worse than guessing; "
            "lower the learning rate"
        )


def check_skipped(in_a_row: int, step: int) -> None:
    """Raises TrainingHalted where the gradient scaler has skipped too many steps one after another."""
    if in_a_row >= SKIPPED_STEPS_IN_A_ROW:
        raise TrainingHalted(
            f"{in_a_row} steps in a row up to step {step} overflowed in fp16 and were skipped: nothing is learnt; "
            "lower the learning rate, or train in fp32"
        )


def check_adapter_moved(model: torch.nn.Module, step: int) -> None:
    """Raises TrainingHalted where every ``lora_B`` is still the zero it starts from."""
    bs = [weight for name, weight in model.named_parameters() if "lora_B" in name]
    if bs and not any(bool(weight.detach().any()) for weight in bs):
        raise TrainingHalted(f"after {step} steps every lora_B is still zero: the adapter has learnt nothing")


def check_disk(folder: Path, needed: int) -> None:
    """Raises TrainingHalted where the next checkpoint of ``needed`` bytes would not fit beside what is there."""
    free = shutil.disk_usage(folder).free
    if free < needed * 1.05:
        raise TrainingHalted(
            f"the next checkpoint needs {needed / 1e9:.2f} GB and the disk of {folder} has {free / 1e9:.2f} GB left; "
            "free some space and resume"
        )


def checkpoint_bytes(model: torch.nn.Module) -> int:
    """The size of a checkpoint: the trained weights and AdamW's two moments of each."""
    return sum(3 * w.numel() * w.element_size() for w in model.parameters() if w.requires_grad)
