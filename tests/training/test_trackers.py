"""``report_to`` reaches the Trainer's own integrations; our store needs none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import INTEGRATION_TO_CALLBACK

from alpaca_tui.core.errors import RefusedError
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training import model as model_module
from alpaca_tui.training.config import TrainConfig
from alpaca_tui.training.run import run


class Tracker(TrainerCallback):
    """A tracker as transformers registers them: made by the Trainer, told of every log."""

    logs: list[dict[str, Any]] = []  # noqa: RUF012 (the Trainer makes the instance)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep what a tracker would send away."""
        self.logs.append({"step": state.global_step, **(logs or {})})


def test_a_tracker_is_told_every_step(
    toy_model_dir: Path, toy_examples: list[TrainingExample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "tensorboard", Tracker)
    monkeypatch.setattr(model_module, "tracker_is_here", lambda name: True)
    config = TrainConfig(
        model=toy_model_dir, output_dir=tmp_path, max_steps=3, micro_batch=4, global_batch=4, learning_rate=1e-2,
        precision="fp32", device="cpu", eval_every=3, report_to=("tensorboard",),
    )  # fmt: skip
    run(config, toy_examples[:20], toy_examples[20:])
    assert [log["step"] for log in Tracker.logs if "loss" in log] == [1, 2, 3]
    assert [log["step"] for log in Tracker.logs if "eval_loss" in log] == [0, 3]


@pytest.mark.parametrize(("name", "said"), [("trackio", "pip install trackio"), ("abacus", "no tracker")])
def test_a_tracker_that_is_not_here_is_refused_before_anything_is_loaded(
    name: str, said: str, toy_examples: list[TrainingExample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "tracker_is_here", lambda name: False)
    config = TrainConfig(model=tmp_path, output_dir=tmp_path, device="cpu", report_to=(name,))
    with pytest.raises(RefusedError, match=said):
        run(config, toy_examples)
