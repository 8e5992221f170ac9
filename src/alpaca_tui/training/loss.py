"""The one loss of the recipe, for training and for evaluation alike."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from alpaca_tui.training.data import Batch

_ROWS = 64
"""Rows of logits that are looked at together."""


def summed_loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Cross entropy in nats, summed over the labels of the batch, in fp32; a scalar that carries gradients.

    Logits are computed only where a label is: at a vocabulary of 32,000 they are the largest tensor of the step.
    """
    return label_losses(model, batch).sum()


def label_losses(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The terms of ``summed_loss``: nats of each label, in order, shape (labels,)."""
    logits = _logits(model, batch)
    if logits.device.type == "cpu":
        return _CrossEntropy.apply(logits, batch["labels"])
    return torch.nn.functional.cross_entropy(logits.float(), batch["labels"], reduction="none")


def _logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs, use_cache=False).logits
    return logits.reshape(-1, logits.shape[-1])


class _CrossEntropy(torch.autograd.Function):
    """Cross entropy of each row in fp32 whatever the logits' precision, a slice at a time; keeps only the logits.

    Their gradient takes their place: autograd's own would hold an fp32 copy, its log-softmax and the gradients of
    both beside them. A second backward pass is therefore refused, as autograd refuses any over changed tensors.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        sums = torch.cat([rows.float().logsumexp(-1) for rows in logits.split(_ROWS)])
        ctx.save_for_backward(logits, labels, sums)
        return sums - logits.gather(1, labels[:, None])[:, 0].float()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        logits, labels, sums = ctx.saved_tensors
        slices = (tensor.split(_ROWS) for tensor in (logits, labels, sums, gradients[0]))
        for rows, named, total, arriving in zip(*slices, strict=True):
            chances = rows.float().sub_(total[:, None]).exp_()
            chances[torch.arange(len(named)), named] -= 1
            rows.copy_(chances.mul_(arriving[:, None]))
        return logits, None


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Mixed precision for a forward pass; nothing where the precision is ``fp32``."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device_type=device.type, dtype=dtype)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on ``device``."""
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
