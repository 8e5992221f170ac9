"""The held-out loss example by example: what a stopped evaluation keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpaca_tui.core.answers import TaskLoss
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training.evaluate import held_out_loss


def test_each_example_has_its_own_loss_and_they_sum_up(
    toy_model_dir: Path, toy_examples: list[TrainingExample]
) -> None:
    too_long = TrainingExample("x" * 600, "y")
    examples = [*toy_examples[:5], too_long, *toy_examples[5:9]]
    together: dict[int, TaskLoss] = {}
    whole = held_out_loss(
        toy_model_dir, None, examples, micro_batch=4, precision="fp32", device="cpu", on_losses=together.update
    )
    assert sorted(together) == list(range(10)) and together[5] == TaskLoss(0.0, 0)
    assert whole.dropped == 1
    assert sum(loss.tokens for loss in together.values()) == whole.tokens
    assert sum(loss.nats for loss in together.values()) / whole.tokens == pytest.approx(whole.loss)

    # Asked alone, as after a stop, an example has the loss that it has among others.
    alone: dict[int, TaskLoss] = {}
    held_out_loss(toy_model_dir, None, examples[7:8], precision="fp32", device="cpu", on_losses=alone.update)
    assert alone[0].tokens == together[7].tokens
    assert alone[0].nats == pytest.approx(together[7].nats, rel=1e-4)
