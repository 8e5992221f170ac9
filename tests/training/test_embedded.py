"""The embedded model through every recipe that a CPU can run, each against one process that was not launched."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alpaca_tui.core.records import TrainingExample
from alpaca_tui.jobs.specs import recipe_path
from alpaca_tui.training import folder
from alpaca_tui.training.config import TrainConfig
from alpaca_tui.training.run import run
from training.test_processes import PATIENCE_S, TOLERANCE, TWO_RANKS, environment, losses, sharding_variables

pytestmark = pytest.mark.slow
EXAMPLES = [
    TrainingExample(f"### Instruction:\nName the colour of {thing}.\n\n### Response:\n", f"{colour}.")
    for thing, colour in (
        ("snow", "White"), ("coal", "Black"), ("grass", "Green"), ("blood", "Red"),
        ("the sky", "Blue"), ("a lemon", "Yellow"), ("milk", "White"), ("a leaf", "Green"),
    )
]  # fmt: skip


def settings(model: Path, output: Path, method: str) -> TrainConfig:
    """Two steps in fp32 and without dropout, whose draws differ by process."""
    changes: dict[str, Any] = {"lora_dropout": 0.0} if method == "lora" else {"gradient_checkpointing": True}
    return TrainConfig.for_model(
        135_000_000, method, model=model, output_dir=output, max_steps=2, global_batch=4, micro_batch=2,
        precision="fp32", device="cpu", probe=False, **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(embedded_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """The losses of each method in this process."""
    found: dict[str, list[float]] = {}
    for method in ("lora", "full"):
        place = tmp_path_factory.mktemp(method)
        seen = found.setdefault(method, [])
        run(
            settings(embedded_model_dir, place, method),
            EXAMPLES,
            (),
            lambda step, values, seen=seen: seen.append(values["loss"]) if "loss" in values else None,  # type: ignore[misc]
        )
        shutil.rmtree(place)  # of gigabytes
    return found


def command(recipe: str, place: Path) -> list[list[str]]:
    """What is run, a line for each launcher."""
    launch = ["accelerate.commands.launch", "--config_file", str(recipe_path(recipe))]
    if recipe == "cpu":
        return [[*launch, "-m", "alpaca_tui.training.main", str(place)]]
    if recipe == "multi-node":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        meeting = ["--num_processes", "2", "--main_process_ip", "127.0.0.1", "--main_process_port", port]
        return [
            [*launch, *meeting, "--machine_rank", rank, "-m", "alpaca_tui.training.main", str(place)] for rank in "01"
        ]
    # accelerate starts one process on a CPU, whatever number it is told; torchrun starts two.
    module = "training.sharded" if recipe == "v100x4-full" else "alpaca_tui.training.main"
    return [[*TWO_RANKS, module, str(place)]]


@pytest.mark.parametrize("recipe", ["cpu", "v100x4-lora", "multi-node", "v100x4-full"])
def test_the_embedded_model_learns_by_each_recipe_what_one_process_learns(
    recipe: str, alone: dict[str, list[float]], embedded_model_dir: Path, tmp_path: Path
) -> None:
    method = "full" if recipe == "v100x4-full" else "lora"
    place = tmp_path / "job"
    folder.write(place, settings(embedded_model_dir, place / "output", method), EXAMPLES, [], {})
    variables = sharding_variables() if recipe == "v100x4-full" else {}
    started = [
        subprocess.Popen([sys.executable, "-m", *line], env=environment(**variables)) for line in command(recipe, place)
    ]
    try:
        # The larger model takes longer than the toy, most of all to be hashed and proven.
        assert [process.wait(3 * PATIENCE_S) for process in started] == [0] * len(started)
    finally:
        for process in started:
            process.kill()
    assert losses(place) == pytest.approx(alone[method], abs=TOLERANCE)
    result = json.loads((place / "result.json").read_text("utf-8"))
    assert Path(result["adapter"]).name == ("model" if method == "full" else "adapter")
    assert any(Path(result["adapter"]).glob("*.safetensors"))
    shutil.rmtree(place)


def test_the_embedded_model_learns(embedded_model_dir: Path, tmp_path: Path) -> None:
    """As a user's run is: the preset, what the machine computes best, dropout and probe."""
    config = TrainConfig.for_model(
        135_000_000, "lora", model=embedded_model_dir, output_dir=tmp_path, max_steps=4, global_batch=4
    )
    result = run(config, EXAMPLES, EXAMPLES[:2])
    assert result.adapter is not None and result.eval_loss_first is not None
    assert result.eval_loss_last is not None and result.eval_loss_last < result.eval_loss_first
