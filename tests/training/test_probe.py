"""The probe before the first step: it tells the real peak, leaves no trace, and names what to try when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.fallback import next_down
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training import probe
from alpaca_tui.training.config import ALL_LINEAR, TrainConfig
from alpaca_tui.training.run import run

Examples = list[TrainingExample]


def settings(model: Path, output: Path, **changes: Any) -> TrainConfig:
    """A small run with dropout, so that a random number drawn by the probe would show."""
    values = {
        "model": model, "output_dir": output, "learning_rate": 1e-2, "max_steps": 4, "micro_batch": 2,
        "global_batch": 6, "lora_targets": ALL_LINEAR, "lora_dropout": 0.1, "precision": "fp32", "device": "cpu",
        "save_every": 2, "eval_every": 4,
    }  # fmt: skip
    return TrainConfig.parse({**values, **changes})


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_with_a_probe_is_bitwise_the_run_without_one(
    method: str, toy_model_dir: Path, toy_examples: Examples, tmp_path: Path
) -> None:
    passes: list[int] = []
    results = {}
    for probed in (True, False):
        config = settings(toy_model_dir, tmp_path / f"{probed}", method=method, probe=probed)
        events: list[tuple[str, str]] = []
        metrics: list[tuple[int, dict[str, float]]] = []
        results[probed] = run(
            config,
            toy_examples[:20],
            toy_examples[20:],
            lambda step, values, seen=metrics: seen.append((step, values)),  # type: ignore[misc]
            lambda kind, said, seen=events: seen.append((kind, said)),  # type: ignore[misc]
        )
        passes.append(sum(kind == "probe" for kind, _ in events))
        assert any("probe_peak_bytes" in values for _, values in metrics) == probed
    assert passes == [1, 0]
    for name in ("checkpoint-2", "checkpoint-4"):
        made, expected = (tmp_path / f"{probed}" / name for probed in (True, False))
        for file in expected.glob("*.safetensors"):
            one, other = load_file(made / file.name), load_file(file)
            assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
        moments = [torch.load(folder / "optimizer.pt", weights_only=True)["state"] for folder in (made, expected)]
        assert all(
            torch.equal(moments[0][key][part], moments[1][key][part]) for key in moments[1] for part in moments[1][key]
        )
    assert (results[True].loss_last, results[True].eval_loss_last) == (
        results[False].loss_last,
        results[False].eval_loss_last,
    )


def test_the_probe_runs_on_the_longest_micro_batch_and_tells_the_peak_beside_the_plan(
    toy_model_dir: Path, toy_examples: Examples, tmp_path: Path
) -> None:
    said: dict[str, str] = {}
    measured: dict[str, float] = {}
    long = TrainingExample("Say z 30 times:\n", "z" * 30)
    run(
        settings(toy_model_dir, tmp_path, max_steps=2, global_batch=25, micro_batch=1),
        [*toy_examples, long],
        (),
        lambda step, values: measured.update(values),
        lambda kind, text: said.__setitem__(kind, text),
        planned_bytes=lambda tokens: tokens * float(1 << 26),
    )
    assert "the longest micro-batch (47 tokens) peaks at" in said["probe"] and "planned 2.94 GiB" in said["probe"]
    assert measured["probe_planned_bytes"] == 47 * 2**26
    resident = probe.resident_peak()
    assert 1 << 27 < measured["probe_peak_bytes"] <= resident and 1 << 27 < measured["peak_memory_bytes"] <= resident


def test_a_probe_that_runs_out_of_memory_names_the_next_method_down(
    toy_model_dir: Path, toy_examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(trainer: Any) -> list[torch.Tensor]:
        return [torch.empty(1 << 55)]  # refused by the real allocator

    monkeypatch.setattr(probe, "_stand_ins", too_much)
    events: list[str] = []
    with pytest.raises(AlpacaError, match=r"did not suffice for full with micro_batch 1 .* try: --method lora"):
        run(
            settings(toy_model_dir, tmp_path, method="full", micro_batch=1, gradient_checkpointing=True),
            toy_examples,
            on_event=lambda kind, said: events.append(kind),
        )
    assert "probe" not in events and not list(tmp_path.glob("checkpoint-*"))


def test_the_way_down_goes_from_what_changes_nothing_to_another_method() -> None:
    def down(method: Any, **changes: Any) -> str:
        place = {"micro_batch": 1, "checkpointing": True, "sharded": False, "offload": False, "gpus": 4} | changes
        return next_down(method, **place)

    assert down("full", micro_batch=4).startswith("--micro-batch 2")
    assert down("full", checkpointing=False).startswith("--set gradient_checkpointing=true")
    assert "--recipe v100x4-full" in down("full")
    assert down("full", sharded=True).startswith("--method full-offload")
    assert down("full", gpus=1).startswith("--method full-offload")
    assert down("full", sharded=True, offload=True) == "--method lora"
    assert down("lora").startswith("--method qlora")
    assert "smaller model" in down("qlora") and "smaller model" in down("lora", gpus=0)
