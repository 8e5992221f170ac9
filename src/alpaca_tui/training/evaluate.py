"""The held-out loss of a model as it lies on disk, with or without an adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel

from alpaca_tui.core.answers import TaskLoss
from alpaca_tui.core.errors import AlpacaError, Cancelled
from alpaca_tui.core.masking import Encoded, describe, keep_supervised
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.core.scoring import mean_loss
from alpaca_tui.training.config import Precision
from alpaca_tui.training.data import collate_flattened, evaluation_batches
from alpaca_tui.training.lean import make_lean
from alpaca_tui.training.loss import autocast, label_losses, to_device
from alpaca_tui.training.model import (
    encode,
    load_base,
    load_tokenizer,
    resolve_precision,
    special_tokens,
    wants_cpu,
)


@dataclass(frozen=True, slots=True)
class LossResult:
    """``loss`` in nats per supervised token over ``tokens`` of them; ``dropped`` examples had none."""

    loss: float
    tokens: int
    examples: int
    dropped: int


def held_out_loss(
    model_path: Path,
    adapter: Path | None,
    examples: Sequence[TrainingExample],
    *,
    max_length: int = 512,
    micro_batch: int = 8,
    precision: Precision = "auto",
    device: str = "auto",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_losses: Callable[[dict[int, TaskLoss]], None] = lambda losses: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> LossResult:
    """The loss that training reports, of a model loaded anew: the same masking, the same mean.

    ``on_progress`` gets examples done and in all; ``on_losses``, batch by batch, the loss of each example by its index
    (0 tokens for one that was dropped), so that a stopped evaluation need not begin anew. Raises AlpacaError where the
    model or the adapter cannot be loaded, UsageError where no example has anything to predict, Cancelled after a stop.
    """
    cpu = wants_cpu(device)
    resolved = resolve_precision(precision, cpu=cpu)
    place = torch.device("cpu" if cpu else "cuda")
    tokenizer = load_tokenizer(model_path)
    model: torch.nn.Module = load_base(model_path, method="lora", precision=resolved, cpu=cpu, flatten=True)
    tokens = special_tokens(tokenizer, model.config)
    if adapter is not None:
        try:
            model = PeftModel.from_pretrained(model, adapter, torch_device="cpu")
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise AlpacaError(f"the adapter {adapter} cannot be put on {model_path}: {error}") from error
    if cpu:
        make_lean(model)
    encoded = encode(tokenizer, tokens, examples, max_length)
    report = describe(encoded)
    kept = keep_supervised(encoded)
    places = [i for i, item in enumerate(encoded) if item.supervised > 0]
    on_losses({i: TaskLoss(0.0, 0) for i, item in enumerate(encoded) if item.supervised == 0})

    model.to(place).eval()
    sums: list[tuple[float, int]] = []
    done = 0
    with torch.inference_mode(), autocast(resolved, place):
        for indices in evaluation_batches(kept, micro_batch):
            if should_stop():
                raise Cancelled("evaluation was stopped")
            batch = to_device(collate_flattened([kept[i] for i in indices]), place)
            nats = label_losses(model, batch).split([_labels(kept[i]) for i in indices])
            found = [TaskLoss(float(part.sum()), part.numel()) for part in nats]
            sums += [(loss.nats, loss.tokens) for loss in found]
            on_losses({places[i]: loss for i, loss in zip(indices, found, strict=True)})
            done += len(indices)
            on_progress(done, len(kept))
    loss, labels = mean_loss(sums)
    return LossResult(loss=loss, tokens=labels, examples=report.examples, dropped=report.dropped)


def _labels(example: Encoded) -> int:
    """Labels that ``collate_flattened`` makes of an example: nothing predicts its first token."""
    return len(example.input_ids) - max(1, example.prompt_tokens)
