"""Several processes: sharded and data-parallel runs learn what one process learns, and a job of several ranks stops,
resumes and fails as one. Over gloo, on the CPU; the wrapping, sharding and rendezvous are accelerate's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from safetensors.torch import load_file
from sqlite_utils import Database

from alpaca_tui.core.records import TrainingExample
from alpaca_tui.jobs import processes, spawn
from alpaca_tui.jobs.live import run_dir
from alpaca_tui.jobs.logs import log_path
from alpaca_tui.jobs.specs import TrainSpec, recipe_path
from alpaca_tui.store import datasets, jobs, metrics
from alpaca_tui.store.database import create_project
from alpaca_tui.training import folder
from alpaca_tui.training.checkpoints import checkpoints
from alpaca_tui.training.config import TrainConfig
from alpaca_tui.training.manifest import MANIFEST, check
from alpaca_tui.training.run import run

Examples = list[TrainingExample]
pytestmark = pytest.mark.slow
TOLERANCE = 1e-4
"""Losses of several processes against one, in nats: the sums run in another order."""
PATIENCE_S = 120.0
TWO_RANKS = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]


def settings(model: Path, output: Path, **changes: Any) -> TrainConfig:
    values = {
        "model": model, "output_dir": output, "method": "full", "learning_rate": 3e-3, "max_steps": 4,
        "micro_batch": 2, "global_batch": 6, "precision": "fp32", "device": "cpu", "save_every": 2, "eval_every": 2,
        "gradient_checkpointing": True, "lora_dropout": 0.0,
    }  # fmt: skip
    return TrainConfig.parse({**values, **changes})


def environment(**more: str) -> dict[str, str]:
    tests = str(Path(__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": tests, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", **more}


def sharding_variables() -> dict[str, str]:
    """What ``accelerate launch --config_file v100x4-full.yaml`` puts into its processes' environment."""
    asked = launch_command_parser().parse_args(["--config_file", str(recipe_path("v100x4-full")), "script.py"])
    launch, _, _ = _validate_launch_command(asked)
    made = prepare_multi_gpu_env(launch)
    return {name: value for name, value in made.items() if name.startswith(("FSDP_", "ACCELERATE_USE_FSDP"))}


def losses(place: Path) -> list[float]:
    lines = (json.loads(line) for line in (place / "metrics.jsonl").read_text("utf-8").splitlines())
    return [line["loss"] for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def alone(
    toy_model_dir: Path, toy_examples: Examples, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[float], float, dict[str, torch.Tensor]]:
    """Losses, held-out loss and weights of one process that shards nothing."""
    seen: list[float] = []
    result = run(
        settings(toy_model_dir, tmp_path_factory.mktemp("alone")),
        toy_examples[:20],
        toy_examples[20:],
        lambda step, values: seen.append(values["loss"]) if "loss" in values else None,
    )
    assert result.adapter is not None and result.eval_loss_last is not None
    return seen, result.eval_loss_last, load_file(result.adapter / "model.safetensors")


def test_two_ranks_with_sharded_states_learn_save_and_resume_as_one_process(
    alone: tuple[list[float], float, dict[str, torch.Tensor]],
    toy_model_dir: Path,
    toy_examples: Examples,
    tmp_path: Path,
) -> None:
    place = tmp_path / "job"
    output = place / "output"
    folder.write(place, settings(toy_model_dir, output), toy_examples[:20], toy_examples[20:], {})
    command = [sys.executable, "-m", *TWO_RANKS, "training.sharded", str(place)]
    subprocess.run(command, check=True, env=environment(**sharding_variables()), timeout=PATIENCE_S)
    expected, held_out, weights = alone
    assert losses(place) == pytest.approx(expected, abs=TOLERANCE)
    result = json.loads((place / "result.json").read_text("utf-8"))
    assert result["eval_loss_last"] == pytest.approx(held_out, abs=TOLERANCE)
    # Each rank wrote its shard; the result is whole again, and in safetensors alone.
    newest, before = checkpoints(output)
    shards = [file.name for file in (newest / "pytorch_model_fsdp_0").glob("*.distcp")]
    assert sorted(shards) == ["__0_0.distcp", "__1_0.distcp"]
    saved = load_file(output / "model" / "model.safetensors")
    assert saved.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(saved[name], weight, rtol=0, atol=1e-4, msg=name)

    torn = newest / "optimizer_0" / "__1_0.distcp"
    torn.write_bytes(torn.read_bytes()[:-10])
    subprocess.run(command, check=True, env=environment(**sharding_variables()), timeout=PATIENCE_S)
    events = [json.loads(line) for line in (place / "events.jsonl").read_text("utf-8").splitlines()]
    said = {event["kind"]: event["message"] for event in events}
    assert f"{newest.name} is torn" in said["torn"] and before.name in said["resumed"]
    again = load_file(output / "model" / "model.safetensors")
    assert all(torch.equal(again[name], saved[name]) for name in saved)


def test_two_machines_meet_by_the_multi_node_recipe(
    alone: tuple[list[float], float, dict[str, torch.Tensor]],
    toy_model_dir: Path,
    toy_examples: Examples,
    tmp_path: Path,
) -> None:
    """The documented command, once as each machine, with one process each instead of four GPUs."""
    place = tmp_path / "job"
    folder.write(place, settings(toy_model_dir, place / "output"), toy_examples[:20], toy_examples[20:], {})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    recipe = ["--config_file", str(recipe_path("multi-node")), "--num_processes", "2"]
    meeting = ["--main_process_ip", "127.0.0.1", "--main_process_port", port]
    machines = [
        subprocess.Popen(
            [sys.executable, "-m", "accelerate.commands.launch", *recipe, *meeting, "--machine_rank", rank,
             "-m", "alpaca_tui.training.main", str(place)],
            env=environment(),
        )
        for rank in "01"
    ]  # fmt: skip
    try:
        assert [machine.wait(PATIENCE_S) for machine in machines] == [0, 0]
    finally:
        for machine in machines:
            machine.kill()
    assert losses(place) == pytest.approx(alone[0], abs=TOLERANCE)
    assert json.loads((place / "result.json").read_text("utf-8"))["adapter"] == str(place / "output" / "model")


RUNNER = """
import sys
from pathlib import Path
from alpaca_tui.jobs.supervisor import run_job
project, job = Path(sys.argv[1]), int(sys.argv[2])
worker = ["alpaca_tui.workers.train", "--project", str(project), "--job", str(job)]
run_job(project, job, [sys.executable, "-m", *sys.argv[3:], *worker])
"""


def await_that(said: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = said()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for: {what}")


def start(project: Path, job: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(project), str(job), *TWO_RANKS], env=environment(), cwd=project
    )


def last_step(db: Database, job: int) -> int:
    return max(metrics.series(db, job, "loss").steps, default=0)


def survivors(db: Database, job: int) -> list[jobs.ProcessRow]:
    attempt = jobs.get(db, job).attempt
    found = [row for n in range(1, attempt + 1) for row in jobs.processes(db, job, n)]
    return [row for row in found if row.role != "runner" and processes.alive(row.pid, row.create_time)]


def test_two_ranks_stop_with_a_checkpoint_skip_a_torn_one_and_fail_as_one(toy_model_dir: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    db = create_project(project)
    rows = [("train", f"Say {letter}.", "", letter * 5) for letter in "abcdefghijklmnop"]
    datasets.take(db, "letters", rows, held_out=0.0)
    overrides = {
        "max_steps": 100_000, "save_every": 10, "micro_batch": 2, "global_batch": 4, "learning_rate": 1e-3,
        "lora_targets": ["q_proj"], "device": "cpu", "precision": "fp32", "warmup_ratio": 0.0,
    }  # fmt: skip
    spec = TrainSpec(dataset="letters", model=str(toy_model_dir), overrides=overrides)
    job = jobs.enqueue(db, "train", spec.model_dump(mode="json"))
    output = run_dir(project, job) / "output"

    # Stop: what the cockpit does.
    runner = start(project, job)
    await_that(lambda: last_step(db, job) > 12, "twelve steps of two ranks")
    ranks = [row for row in jobs.processes(db, job, 1) if row.role == "worker"]
    assert sorted(row.rank for row in ranks) == [0, 1]
    spawn.stop(db, project, job)
    assert runner.wait(PATIENCE_S) == 0
    stopped = jobs.get(db, job)
    assert (stopped.state, stopped.reason) == ("stopped", "stopped at request"), log_path(project, job).read_text()
    newest, before = checkpoints(output)
    assert check(newest).facts["step"] == last_step(db, job)
    assert survivors(db, job) == []
    assert stopped.result is not None and stopped.result["settings"]["save_every"] == 10
    assert stopped.result["plan"]["bytes_per_gpu"]["total"] > 0

    # Resume: the newest checkpoint that verifies.
    weights = newest / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    jobs.requeue(db, job)
    reached = last_step(db, job)
    runner = start(project, job)
    await_that(lambda: last_step(db, job) > reached + 2, "the resumed run to pass where it was")
    story = {kind: said for _, kind, said in jobs.events(db, job)}
    assert f"{newest.name} is torn and skipped" in story["torn"] and before.name in story["resumed"]

    # kill -9 of one rank: both end, and the job says why.
    victim = next(row for row in jobs.processes(db, job, 2) if row.role == "worker" and row.rank == 1)
    os.kill(victim.pid, 9)
    assert runner.wait(PATIENCE_S) == 0
    failed = jobs.get(db, job)
    assert failed.state == "failed"
    assert failed.reason is not None and "killed by signal 9" in failed.reason, failed.reason
    assert survivors(db, job) == []
    # What was saved is kept; the kill may have torn the newest one in the making.
    assert any((kept / MANIFEST).is_file() and check(kept).facts["step"] > 0 for kept in checkpoints(output))
