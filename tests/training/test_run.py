from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from alpaca_tui.core.errors import AlpacaError, Cancelled, RefusedError
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training import callbacks, guard, loop
from alpaca_tui.training.callbacks import OnMetrics, StopOnSignal
from alpaca_tui.training.checkpoints import checkpoints
from alpaca_tui.training.config import ALL_LINEAR, TrainConfig
from alpaca_tui.training.evaluate import held_out_loss
from alpaca_tui.training.guard import TrainingHalted
from alpaca_tui.training.manifest import check
from alpaca_tui.training.run import TrainResult, run

STEPS = 8
Examples = list[TrainingExample]


def settings(model: Path, output: Path, **changes: Any) -> TrainConfig:
    """A small run with dropout on, so that an inexact resume would show."""
    values = {
        "model": model,
        "output_dir": output,
        "learning_rate": 1e-2,
        "max_steps": STEPS,
        "micro_batch": 2,
        "global_batch": 6,
        "lora_targets": ALL_LINEAR,
        "lora_dropout": 0.1,
        "precision": "fp32",
        "device": "cpu",
        "save_every": 3,
        "eval_every": 4,
    }
    return TrainConfig.parse({**values, **changes})


def stop_after(step: int) -> tuple[OnMetrics, Callable[[], bool]]:
    """A listener and a flag that asks for a stop while the step after ``step`` is under way."""
    seen = [0]

    def listen(at: int, metrics: dict[str, float]) -> None:
        seen[0] = at

    return listen, lambda: seen[0] >= step


def silent(kind: str, message: str) -> None:
    pass


@pytest.fixture(scope="module")
def whole(
    toy_model_dir: Path, toy_examples: Examples, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainResult, list[tuple[int, dict[str, float]]]]:
    """One uninterrupted run and everything it reported."""
    metrics: list[tuple[int, dict[str, float]]] = []
    result = run(
        settings(toy_model_dir, tmp_path_factory.mktemp("whole")),
        toy_examples[:20],
        toy_examples[20:],
        lambda step, values: metrics.append((step, values)),
    )
    return result, metrics


def test_loss_falls_on_both_sides_and_everything_is_reported(
    whole: tuple[TrainResult, list[tuple[int, dict[str, float]]]],
) -> None:
    result, metrics = whole
    assert result.steps == STEPS and not result.stopped
    assert result.loss_last < result.loss_first - 0.2
    assert result.eval_loss_first is not None and result.eval_loss_last is not None
    assert result.eval_loss_last < result.eval_loss_first - 0.2
    # An untrained model knows nothing: about ln V nats.
    assert result.loss_first == pytest.approx(math.log(259), abs=0.3)
    assert result.report.examples == 20 and result.report.eos_supervised == 20

    steps = [step for step, values in metrics if "loss" in values]
    assert steps == list(range(1, STEPS + 1))
    assert [step for step, values in metrics if "eval_loss" in values] == [0, 4, 8]
    last = next(values for step, values in reversed(metrics) if "loss" in values)
    assert {"learning_rate", "grad_norm", "tokens_seen", "tokens_per_s", "epoch"} <= set(last)
    assert last["epoch"] == pytest.approx(STEPS * 6 / 20)


def test_saved_adapter_gives_the_loss_that_training_reported(
    whole: tuple[TrainResult, object], toy_model_dir: Path, toy_examples: Examples
) -> None:
    result, _ = whole
    base = held_out_loss(toy_model_dir, None, toy_examples[20:], precision="fp32", device="cpu")
    tuned = held_out_loss(
        toy_model_dir, result.adapter, toy_examples[20:], micro_batch=3, precision="fp32", device="cpu"
    )
    assert base.loss == pytest.approx(result.eval_loss_first, rel=1e-5)
    assert tuned.loss == pytest.approx(result.eval_loss_last, rel=1e-5)
    assert (base.examples, base.tokens) == (4, 4 * 10)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_stopped_and_resumed_gives_bitwise_the_same_weights(
    step: int,
    whole: tuple[TrainResult, object],
    toy_model_dir: Path,
    toy_examples: Examples,
    tmp_path: Path,
) -> None:
    config = settings(toy_model_dir, tmp_path)
    listen, flag = stop_after(step)
    stopped = run(config, toy_examples[:20], toy_examples[20:], listen, silent, flag)
    assert stopped.stopped and stopped.adapter is None and stopped.steps == step + 1

    events: list[str] = []
    resumed = run(config, toy_examples[:20], toy_examples[20:], on_event=lambda kind, _: events.append(kind))
    assert "resumed" in events
    assert resumed.steps == STEPS and resumed.adapter is not None
    expected = whole[0]
    assert expected.adapter is not None
    assert (resumed.loss_first, resumed.loss_last) == (expected.loss_first, expected.loss_last)
    assert (resumed.eval_loss_first, resumed.eval_loss_last) == (
        expected.eval_loss_first,
        expected.eval_loss_last,
    )
    one, other = (load_file(item / "adapter_model.safetensors") for item in (expected.adapter, resumed.adapter))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


class StopAmidEvaluation:
    """A flag that asks for a stop when the evaluation that follows a step has begun its second batch."""

    def __init__(self, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.evaluated: list[int] = []
        self.at = self.batches = 0
        loss = loop.summed_loss

        def counted(model: torch.nn.Module, batch: Any) -> torch.Tensor:
            if not model.training and self.at == step:
                self.batches += 1
            return loss(model, batch)

        monkeypatch.setattr(loop, "summed_loss", counted)

    def listen(self, step: int, metrics: dict[str, float]) -> None:
        self.at = step
        if "eval_loss" in metrics:
            self.evaluated.append(step)

    def __call__(self) -> bool:
        return self.batches >= 1


@pytest.mark.parametrize(("step", "saved"), [(0, []), (4, [4, 3]), (STEPS, [8, 6])])
def test_a_stop_amid_an_evaluation_loses_no_step(
    step: int,
    saved: list[int],
    whole: tuple[TrainResult, object],
    toy_model_dir: Path,
    toy_examples: Examples,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = settings(toy_model_dir, tmp_path)
    with monkeypatch.context() as patched:
        stop = StopAmidEvaluation(step, patched)
        if step == 0:
            with pytest.raises(Cancelled):
                run(config, toy_examples[:20], toy_examples[20:], stop.listen, silent, stop)
        else:
            stopped = run(config, toy_examples[:20], toy_examples[20:], stop.listen, silent, stop)
            assert stopped.stopped and stopped.adapter is None and stopped.steps == step
    assert stop.batches == 1 and step not in stop.evaluated  # of two batches, and no loss of half of them
    assert [check(item).facts["step"] for item in checkpoints(tmp_path)] == saved

    evaluated: list[int] = []
    resumed = run(
        config,
        toy_examples[:20],
        toy_examples[20:],
        lambda at, values: evaluated.append(at) if "eval_loss" in values else None,
    )
    expected = whole[0]
    assert evaluated == [at for at in (0, 4, 8) if at >= step]
    assert resumed.adapter is not None and expected.adapter is not None
    assert (resumed.eval_loss_first, resumed.eval_loss_last) == (expected.eval_loss_first, expected.eval_loss_last)
    one, other = (load_file(item / "adapter_model.safetensors") for item in (expected.adapter, resumed.adapter))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_torn_checkpoint_is_named_and_the_one_before_is_taken(
    toy_model_dir: Path, toy_examples: Examples, tmp_path: Path
) -> None:
    config = settings(toy_model_dir, tmp_path)
    listen, flag = stop_after(6)
    run(config, toy_examples[:20], (), listen, silent, flag)
    newest, before = checkpoints(tmp_path)
    assert [newest.name, before.name] == ["checkpoint-7", "checkpoint-6"]
    optimizer = newest / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-100])

    events: list[tuple[str, str]] = []
    result = run(config, toy_examples[:20], (), on_event=lambda *event: events.append(event))
    assert result.steps == STEPS
    said = dict(events)
    assert "checkpoint-7 is torn" in said["torn"] and "optimizer.pt" in said["torn"]
    assert "checkpoint-6" in said["resumed"]
    assert (tmp_path / "torn-checkpoint-7").is_dir()


def test_checkpoints_of_another_run_are_refused(toy_model_dir: Path, toy_examples: Examples, tmp_path: Path) -> None:
    config = settings(toy_model_dir, tmp_path, max_steps=3)
    run(config, toy_examples[:20])
    with pytest.raises(RefusedError, match="other data or other settings"):
        run(config, toy_examples[1:20])
    with pytest.raises(RefusedError, match="other data or other settings"):
        run(settings(toy_model_dir, tmp_path, max_steps=3, learning_rate=1e-3), toy_examples[:20])
    with pytest.raises(RefusedError, match="resume it, or train into another folder"):
        run(settings(toy_model_dir, tmp_path, max_steps=3, resume=False), toy_examples[:20])


def test_old_checkpoints_are_dropped_and_hold_no_pickled_arguments(
    whole: tuple[TrainResult, object],
) -> None:
    adapter = whole[0].adapter
    assert adapter is not None
    kept = checkpoints(adapter.parent)
    assert [item.name for item in kept] == ["checkpoint-8", "checkpoint-6"]
    assert all(check(item).facts["step"] for item in kept)
    assert not list(adapter.parent.rglob("training_args.bin"))


def test_weights_that_are_not_numbers_stop_the_run_and_save_nothing(
    toy_model_dir: Path, toy_examples: Examples, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for item in toy_model_dir.iterdir():
        (broken / item.name).write_bytes(item.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = math.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingHalted, match="loss became nan at step 1"):
        run(settings(broken, tmp_path / "out", save_every=1), toy_examples[:20])
    assert checkpoints(tmp_path / "out") == []
    assert not (tmp_path / "out" / "adapter").exists()


def test_a_held_out_loss_that_explodes_stops_the_run(
    toy_model_dir: Path, toy_examples: Examples, tmp_path: Path
) -> None:
    config = settings(toy_model_dir, tmp_path, method="full", learning_rate=3.0, eval_every=1, save_every=100)
    with pytest.raises(TrainingHalted, match=r"held-out loss rose from 5\.\d+ to .* worse than guessing"):
        run(config, toy_examples[:20], toy_examples[20:])
    assert checkpoints(tmp_path) == [] and not (tmp_path / "model").exists()


def test_an_adapter_that_never_moved_is_not_saved(toy_model_dir: Path, toy_examples: Examples, tmp_path: Path) -> None:
    # The only step is the first of the warm-up, whose learning rate is 0.
    with pytest.raises(TrainingHalted, match="every lora_B is still zero"):
        run(settings(toy_model_dir, tmp_path, max_steps=1), toy_examples[:20])
    assert not (tmp_path / "adapter").exists()


def test_an_adapter_that_does_not_move_stops_the_run_at_its_first_look(
    toy_model_dir: Path, toy_examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "ADAPTER_MOVED_BY", 2)
    config = settings(toy_model_dir, tmp_path, warmup_ratio=0.9, max_steps=50, learning_rate=1e-300)
    with pytest.raises(TrainingHalted, match="after 2 steps every lora_B is still zero"):
        run(config, toy_examples[:20])


def test_a_loss_of_exactly_0_stops_the_run(toy_model_dir: Path, toy_examples: Examples, tmp_path: Path) -> None:
    certain = tmp_path / "certain"
    certain.mkdir()
    for item in toy_model_dir.iterdir():
        (certain / item.name).write_bytes(item.read_bytes())
    weights = load_file(certain / "model.safetensors")
    # Every token is the same to the model, and the end token follows by a margin that fp32 rounds to certainty.
    for name, weight in weights.items():
        if "o_proj" in name or "down_proj" in name:
            weight.zero_()
    weights["model.embed_tokens.weight"][:] = 0.0
    weights["model.embed_tokens.weight"][:, 0] = 1.0
    weights["lm_head.weight"][:] = 0.0
    weights["lm_head.weight"][2, 0] = 1e4
    save_file(weights, certain / "model.safetensors", metadata={"format": "pt"})
    silent_answers = [TrainingExample(example.prompt, "") for example in toy_examples]
    with pytest.raises(TrainingHalted, match="loss is exactly 0 at step 1"):
        run(settings(certain, tmp_path / "out"), silent_answers)


def test_a_full_disk_is_told_before_the_checkpoint(
    toy_model_dir: Path, toy_examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = os.statvfs(tmp_path)

    class NearlyFull:
        free = 1000
        total = usage.f_blocks

    monkeypatch.setattr(guard.shutil, "disk_usage", lambda path: NearlyFull)
    with pytest.raises(TrainingHalted, match="next checkpoint needs"):
        run(settings(toy_model_dir, tmp_path, save_every=1), toy_examples[:20])
    assert checkpoints(tmp_path) == []


def test_a_disk_that_fills_while_saving_is_one_sentence(
    toy_model_dir: Path, toy_examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(checkpoint: Path, fingerprint: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(callbacks, "seal_checkpoint", full)
    with pytest.raises(AlpacaError, match="is full; free some space and resume"):
        run(settings(toy_model_dir, tmp_path, save_every=1), toy_examples[:20])


def test_sigterm_saves_a_whole_checkpoint_and_stops(
    toy_model_dir: Path, toy_examples: Examples, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def terminate(step: int, metrics: dict[str, float]) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        stop = StopOnSignal(signal.SIGTERM)
        result = run(settings(toy_model_dir, tmp_path), toy_examples[:20], (), terminate, silent, stop)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result.stopped and result.steps == 3
    assert check(tmp_path / "checkpoint-3").facts["step"] == 3


def test_examples_that_never_end_are_refused(toy_model_dir: Path, toy_examples: Examples, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="end token is never supervised"):
        run(settings(toy_model_dir, tmp_path, max_length=18), toy_examples[16:])
    with pytest.raises(RefusedError, match="response token left"):
        run(settings(toy_model_dir, tmp_path, max_length=8), toy_examples)


def test_full_tuning_writes_a_model_that_stands_alone(
    toy_model_dir: Path, toy_examples: Examples, tmp_path: Path
) -> None:
    config = settings(
        toy_model_dir, tmp_path, method="full", learning_rate=3e-3, gradient_checkpointing=True, flatten=False
    )
    result = run(config, toy_examples[:20], toy_examples[20:])
    assert result.adapter == tmp_path / "model"
    assert result.loss_last < result.loss_first - 0.5
    tuned = held_out_loss(result.adapter, None, toy_examples[20:], precision="fp32", device="cpu")
    assert tuned.loss == pytest.approx(result.eval_loss_last, rel=1e-5)


def test_lora_learns_under_gradient_checkpointing(toy_model_dir: Path, toy_examples: Examples, tmp_path: Path) -> None:
    result = run(settings(toy_model_dir, tmp_path, gradient_checkpointing=True), toy_examples[:20])
    assert result.loss_last < result.loss_first - 0.2


def test_a_target_that_no_layer_bears_is_one_sentence(
    toy_model_dir: Path, toy_examples: Examples, tmp_path: Path
) -> None:
    with pytest.raises(AlpacaError, match="LoRA cannot be put on"):
        run(settings(toy_model_dir, tmp_path, lora_targets=["c_attn"]), toy_examples[:20])


SCRIPT = """
import json, sys
from pathlib import Path
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training.config import TrainConfig
from alpaca_tui.training.run import run

def main():
    spec = json.loads(Path(sys.argv[1]).read_text())
    examples = [TrainingExample(*pair) for pair in spec["examples"]]
    losses = []
    result = run(TrainConfig.parse(spec["config"]), examples[:20], examples[20:],
                 lambda step, m: losses.append(m["loss"]) if "loss" in m else None)
    if losses:
        Path(sys.argv[2]).write_text(json.dumps([losses, result.eval_loss_last]))

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ["accelerate.commands.launch", "--config_file", "{recipe}", "-m", "tune"],
        ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "tune"],
    ],
    ids=["accelerate launch cpu.yaml", "two processes on gloo"],
)
def test_launched_run_learns_what_one_process_learns(
    launcher: list[str], toy_model_dir: Path, toy_examples: Examples, tmp_path: Path
) -> None:
    """Without dropout, whose draws differ by process, losses agree to 1e-4 after eight steps."""
    config = settings(toy_model_dir, tmp_path / "launched", lora_dropout=0.0)
    losses: list[float] = []
    here = run(
        config.model_copy(update={"output_dir": tmp_path / "here"}),
        toy_examples[:20],
        toy_examples[20:],
        lambda step, values: losses.append(values["loss"]) if "loss" in values else None,
    )

    recipe = Path(sys.modules[TrainConfig.__module__].__file__ or "").parent / "recipes" / "cpu.yaml"
    (tmp_path / "tune.py").write_text(SCRIPT)
    spec = {
        "config": config.model_dump(mode="json"),
        "examples": [[example.prompt, example.response] for example in toy_examples],
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, "-m", *(part.format(recipe=recipe) for part in launcher)]
    subprocess.run(
        [*command, str(tmp_path / "spec.json"), str(tmp_path / "out.json")],
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        timeout=180,
    )
    launched, held_out = json.loads((tmp_path / "out.json").read_text())
    assert launched == pytest.approx(losses, abs=1e-4)
    assert held_out == pytest.approx(here.eval_loss_last, abs=1e-4)
