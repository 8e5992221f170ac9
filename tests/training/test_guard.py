from __future__ import annotations

import math

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from transformers import TrainerControl, TrainerState, TrainingArguments

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.training import guard
from alpaca_tui.training.callbacks import GuardCallback
from alpaca_tui.training.guard import TrainingHalted


@pytest.mark.parametrize(
    ("logs", "reason"),
    [
        ({"loss": math.nan, "grad_norm": 1.0}, "loss became nan at step 7"),
        ({"loss": math.inf, "grad_norm": 1.0}, "loss became inf"),
        ({"loss": 0.0, "grad_norm": 1.0}, "exactly 0"),
        ({"loss": 1.0, "grad_norm": math.nan}, "gradient norm became nan"),
        ({"loss": 1.0, "grad_norm": 0.0}, "no gradient reached"),
    ],
)
def test_numbers_that_no_sound_run_has_halt_it(logs: dict[str, float], reason: str) -> None:
    with pytest.raises(TrainingHalted, match=reason):
        guard.check_losses(logs, 7, scaled=False)


def test_sound_numbers_pass_and_the_scaler_may_overflow() -> None:
    guard.check_losses({"loss": 2.5, "grad_norm": 0.7}, 1, scaled=False)
    guard.check_losses({"loss": 2.5, "grad_norm": math.inf}, 1, scaled=True)
    with pytest.raises(TrainingHalted):
        guard.check_losses({"loss": math.nan, "grad_norm": math.inf}, 1, scaled=True)


def test_many_skipped_steps_in_a_row_halt() -> None:
    guard.check_skipped(guard.SKIPPED_STEPS_IN_A_ROW - 1, 30)
    with pytest.raises(TrainingHalted, match="20 steps in a row"):
        guard.check_skipped(guard.SKIPPED_STEPS_IN_A_ROW, 30)


def test_a_scaler_that_only_skips_halts_the_run_after_twenty_steps() -> None:
    """A real gradient scaler over gradients that overflow, with the recipe's fused optimizer under accelerate."""
    args, state, control = TrainingArguments(use_cpu=True), TrainerState(), TrainerControl()
    Accelerator(cpu=True)
    weight = torch.nn.Parameter(torch.ones(3))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    optimizer = AcceleratedOptimizer(torch.optim.AdamW([weight], fused=True), scaler=scaler)
    callback = GuardCallback(scaled=True, vocabulary=10, scale=scaler.get_scale)

    def step(gradient: float) -> None:
        callback.on_step_begin(args, state, control)
        optimizer.zero_grad()
        scaler.scale(weight.sum() * gradient).backward()
        optimizer.step()
        state.global_step += 1
        callback.on_step_end(args, state, control, model=torch.nn.Linear(1, 1))

    for _ in range(guard.SKIPPED_STEPS_IN_A_ROW - 1):
        step(math.inf)
    step(1.0)
    assert callback.skipped == 0  # one sound step, and the count begins anew
    with pytest.raises(TrainingHalted, match="20 steps in a row up to step 40"):
        for _ in range(guard.SKIPPED_STEPS_IN_A_ROW):
            step(math.inf)


def test_held_out_loss_may_rise_but_not_explode() -> None:
    guard.check_held_out(3.0, 2.0, 32000, 5)
    # Twice the first, yet far better than guessing: overfitting, which a person judges.
    guard.check_held_out(2.5, 1.0, 32000, 5)
    with pytest.raises(TrainingHalted, match="worse than guessing"):
        guard.check_held_out(11.0, 3.0, 32000, 5)
    with pytest.raises(TrainingHalted, match="became nan"):
        guard.check_held_out(math.nan, None, 32000, 0)


def test_an_adapter_that_stays_at_its_start_halts() -> None:
    model = torch.nn.Module()
    model.register_parameter("lora_B", torch.nn.Parameter(torch.zeros(3)))
    with pytest.raises(TrainingHalted, match="lora_B is still zero"):
        guard.check_adapter_moved(model, 30)
    with torch.no_grad():
        model.lora_B[1] = 1e-6
    guard.check_adapter_moved(model, 30)
    guard.check_adapter_moved(torch.nn.Linear(2, 2), 30)


def test_checkpoint_size_counts_what_is_trained() -> None:
    model = torch.nn.Linear(10, 4)
    model.bias.requires_grad_(False)
    assert guard.checkpoint_bytes(model) == 3 * 40 * 4


def test_a_halt_is_an_error_that_a_user_is_told() -> None:
    assert issubclass(TrainingHalted, AlpacaError) and TrainingHalted.exit_code == 1
