"""What listens to the Trainer: metrics out, guards, and a stop that can be resumed exactly."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from alpaca_tui.core.errors import Cancelled
from alpaca_tui.training import guard
from alpaca_tui.training.checkpoints import rotate, seal_checkpoint
from alpaca_tui.training.data import Plan
from alpaca_tui.training.probe import peak_memory

OnMetrics = Callable[[int, dict[str, float]], None]
"""Called with a step and what was measured at it. A resumed run reports again the steps after its checkpoint."""
OnEvent = Callable[[str, str], None]
"""Called with a kind (``encoded``, ``resumed``, ``checkpoint``, …) and one plain sentence."""


class StopOnSignal:
    """A stop flag that a signal sets: pass the instance as ``should_stop``."""

    def __init__(self, *signals: signal.Signals) -> None:
        self.asked = False
        for number in signals or (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)

    def __call__(self) -> bool:
        return self.asked

    def _set(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


class StopCallback(TrainerCallback):
    """Saves and stops after the step in which a stop was asked for, or amid an evaluation.

    Set in ``on_step_end`` rather than by a signal of its own, so that the checkpoint holds a finished step and a
    resumed run takes the very same path. ``agree`` makes all processes stop at the same step. No evaluation is
    waited for: it may outlast the grace before the processes are killed, and the unsaved steps would be lost.
    """

    def __init__(self, should_stop: Callable[[], bool], agree: Callable[[bool], bool]) -> None:
        self.should_stop = should_stop
        self.agree = agree
        self.stopped = False
        self.stepped = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.stepped = True
        if state.global_step < state.max_steps and self.agree(self.should_stop()):
            self._stop(control)

    def abandons_evaluation(self, control: TrainerControl) -> bool:
        """Whether to leave the evaluation under way; the step before it is saved then. All processes must ask.

        Raises Cancelled before the first step since the start: there is nothing that was not saved before.
        """
        if not self.agree(self.should_stop()):
            return False
        if not self.stepped:
            raise Cancelled
        self._stop(control)
        return True

    def _stop(self, control: TrainerControl) -> None:
        self.stopped = True
        control.should_save = True
        control.should_training_stop = True
        control.should_evaluate = False


class MetricsCallback(TrainerCallback):
    """Passes every logged step on: loss, learning rate, gradient norm, tokens seen, tokens per second, progress.

    ``peak_memory_bytes`` is this process's peak since the probe: allocated on a GPU, resident on the CPU.
    """

    def __init__(self, plan: Plan, on_metrics: OnMetrics) -> None:
        self.plan = plan
        self.on_metrics = on_metrics
        self.started = time.perf_counter()
        self.tokens_before = [0]
        for tokens in plan.tokens_by_step:
            self.tokens_before.append(self.tokens_before[-1] + tokens)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.started = time.perf_counter()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or not state.is_world_process_zero:
            return
        step = state.global_step
        names = ("loss", "learning_rate", "grad_norm", "eval_loss")
        # In fp16 an infinite gradient norm is an ordinary skipped step; no curve can show it.
        metrics = {name: float(logs[name]) for name in names if math.isfinite(logs.get(name, math.nan))}
        if "loss" in metrics:
            seconds = time.perf_counter() - self.started
            metrics["tokens_seen"] = float(self.tokens_before[step])
            metrics["tokens_per_s"] = self.plan.tokens_by_step[step - 1] / max(seconds, 1e-9)
            metrics["epoch"] = self.plan.epochs * step / self.plan.steps
            metrics["progress"] = step / self.plan.steps
            metrics["peak_memory_bytes"] = float(peak_memory(args.device)[0])
        if metrics:
            self.on_metrics(step, metrics)


class GuardCallback(TrainerCallback):
    """Looks at every logged step and every save before it happens; raises TrainingHalted out of the Trainer.

    ``scale`` gives the gradient scaler's scale, which falls at a skipped step and at no other. (accelerate's own
    ``optimizer_step_was_skipped`` is blind with a fused optimizer, which does the skipping itself.)
    """

    def __init__(self, *, scaled: bool, vocabulary: int, scale: Callable[[], float]) -> None:
        self.scaled = scaled
        self.vocabulary = vocabulary
        self.scale = scale
        self.scale_before = 0.0
        self.skipped = 0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.scaled:
            self.scale_before = self.scale()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.scaled:
            self.skipped = self.skipped + 1 if self.scale() < self.scale_before else 0
            guard.check_skipped(self.skipped, state.global_step)
        if state.global_step == guard.ADAPTER_MOVED_BY:
            guard.check_adapter_moved(kwargs["model"], state.global_step)
        if control.should_save and state.is_world_process_zero:
            guard.check_disk(Path(args.output_dir), guard.checkpoint_bytes(kwargs["model"]))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        logs = logs or {}
        if "loss" in logs:
            guard.check_losses(logs, state.global_step, scaled=self.scaled)
        if "eval_loss" in logs:
            first = next((item["eval_loss"] for item in state.log_history if "eval_loss" in item), None)
            guard.check_held_out(logs["eval_loss"], first, self.vocabulary, state.global_step)


class SealCallback(TrainerCallback):
    """Declares a checkpoint whole once every process has written its part, then drops old ones."""

    def __init__(self, *, fingerprint: str, keep: int, wait_for_all: Callable[[], None], on_event: OnEvent) -> None:
        self.fingerprint = fingerprint
        self.keep = keep
        self.wait_for_all = wait_for_all
        self.on_event = on_event

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.wait_for_all()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            seal_checkpoint(folder, self.fingerprint)
            rotate(Path(args.output_dir), self.keep)
            self.on_event("checkpoint", f"step {state.global_step} is saved and sealed in {folder.name}")
        self.wait_for_all()
