"""The one loss of the recipe, for training and for evaluation alike."""

from __future__ import annotations

import contextlib

import torch

from alpaca_tui.training.data import Batch


def summed_loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Cross entropy in nats, summed over the labels of the batch, in fp32; a scalar that carries gradients.

    Logits are computed only where a label is: at a vocabulary of 32,000 they are the largest tensor of the step.
    """
    return torch.nn.functional.cross_entropy(_logits(model, batch), batch["labels"], reduction="sum")


def label_losses(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The terms of ``summed_loss``: nats of each label, in order, shape (labels,)."""
    return torch.nn.functional.cross_entropy(_logits(model, batch), batch["labels"], reduction="none")


def _logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs, use_cache=False).logits
    return logits.reshape(-1, logits.shape[-1]).float()


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Mixed precision for a forward pass; nothing where the precision is ``fp32``."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device_type=device.type, dtype=dtype)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on ``device``."""
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
