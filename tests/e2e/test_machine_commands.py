"""``plan`` and ``doctor`` as a user types them: exit codes, JSON on stdout, one sentence on a refusal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alpaca_tui.store import jobs, metrics, projects

REQUIRED = {"weights", "gradients", "optimizer", "activations", "logits", "overhead", "total"}


@pytest.fixture
def alpaca(tmp_path: Path) -> Any:
    """Run the installed command with a project directory that does not exist."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [Path(sys.executable).with_name("alpaca-tui"), "--project", tmp_path / "none", *arguments]
        return subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            env={**os.environ, **environment},
        )

    return run


def value(done: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_plan_for_7b_on_four_gpus_of_32_gb(alpaca: Any) -> None:
    found = value(alpaca("plan", "--model", "llama-7b", "--gpus", 4, "--gpu-memory", 32, "--json"))
    assert (found["model"], found["method"], found["verdict"]) == ("llama-7b", "lora", "fits")
    assert found["recipe"] == "v100x4-lora"
    parts = found["bytes_per_gpu"]
    assert set(parts) >= REQUIRED
    assert sum(size for part, size in parts.items() if part != "total") == parts["total"]
    assert {(o["method"], o["offload"]): o["verdict"] for o in found["alternatives"]} == {
        ("full", False): "tight",
        ("full", True): "fits",
        ("qlora", False): "fits",
    }
    assert found["host_bytes"] > 0
    assert found["disk_bytes"] > found["checkpoint_bytes"]
    assert "assumed" in found["time"]["basis"]


def test_plan_obeys_every_flag(alpaca: Any) -> None:
    flags = ("--method", "lora", "--lora-rank", 16, "--lora-targets", "all-linear", "--seq", 1024, "--micro-batch", 2)
    base = ("plan", "--model", "llama-7b", "--gpus", 1, "--gpu-memory", 80, *flags, "--json")
    off = value(alpaca(*base, "--no-activation-checkpointing"))
    on = value(alpaca(*base, "--activation-checkpointing"))
    assert (off["lora_rank"], len(off["lora_targets"]), off["seq"], off["micro_batch"]) == (16, 7, 1024, 2)
    assert (off["activation_checkpointing"], on["activation_checkpointing"]) == (False, True)
    assert off["bytes_per_gpu"]["activations"] > 5 * on["bytes_per_gpu"]["activations"]
    assert off["recipe"] == "single-gpu"
    small = value(
        alpaca(
            "plan", "--model", "llama-7b", "--method", "qlora", "--quantization", "nf4", "--gpu-memory", 16, "--json"
        )
    )
    assert (small["method"], small["quantization"], small["verdict"]) == ("qlora", "nf4", "fits")
    assert small["bytes_per_gpu"]["weights"] < off["bytes_per_gpu"]["weights"] / 2


def test_a_plan_that_does_not_fit_is_refused_with_its_numbers(alpaca: Any) -> None:
    done = alpaca("plan", "--model", "llama-13b", "--method", "full", "--gpus", 4, "--gpu-memory", 32, "--json")
    found = value(done, 3)
    assert found["verdict"] == "no"
    assert {"method": "full", "offload": True, "verdict": "fits"}.items() <= found["alternatives"][1].items()
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert "llama-13b" in line
    assert "GiB" in line
    text = alpaca("plan", "--model", "llama-13b", "--method", "full", "--gpus", 4, "--gpu-memory", 32)
    assert text.returncode == 3
    assert "full + offload: fits" in text.stdout


def test_a_plan_from_a_config_alone_needs_no_torch(alpaca: Any, tmp_path: Path, tiny_llama_dir: Path) -> None:
    model = tmp_path / "config-only"
    model.mkdir()
    (model / "config.json").write_bytes((tiny_llama_dir / "config.json").read_bytes())
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was loaded')", "utf-8")
    done = alpaca("plan", "--model", model, "--gpus", 0, "--json", PYTHONPATH=str(tmp_path))
    found = value(done)
    assert (found["recipe"], found["verdict"], found["gpus"]) == ("cpu", "fits", 0)
    assert not (tmp_path / "none").exists()


def test_a_rate_measured_in_this_project_replaces_the_assumption(alpaca: Any, tmp_path: Path) -> None:
    db, _ = projects.ensure(tmp_path / "none")
    job = jobs.enqueue(db, "train", {"dataset": "mine", "model": "smollm2-135m", "method": "lora"})
    metrics.record(db, job, 1, {"tokens_per_s": 100.0})
    metrics.record(db, job, 2, {"tokens_per_s": 400.0})
    metrics.record(db, job, 3, {"tokens_per_s": 500.0})
    plan = ("plan", "--gpus", 0, "--micro-batch", 1, "--examples", 1000, "--epochs", 2, "--json")
    assert value(alpaca(*plan))["time"] is None
    db["jobs"].update(job, {"state": "succeeded", "result": json.dumps({"method": "lora"})})
    db.close()
    time = value(alpaca(*plan))["time"]
    assert time["seconds_low"] == time["seconds_high"] == 1000 * 122 * 2 // 400
    assert "measured" in time["basis"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--model", "gpt9"), "unknown model 'gpt9'"),
        (("--method", "prefix"), "auto, lora, qlora, full"),
        (("--quantization", "int3"), "nf4"),
        (("--lora-targets", "query"), "q_proj"),
        (("--method", "full", "--quantization", "nf4"), "4-bit"),
        (("--gpus", "0", "--method", "qlora"), "GPU"),
        (("--gpu-memory", "-3"), "more than 0"),
        (("--gpu-memory", "nan"), "more than 0"),
        (("--host-memory", "0"), "more than 0"),
        (("--epochs", "inf"), "--epochs"),
        (("--model", "openai:gpt-x"), "endpoint"),
    ],
)
def test_a_wrong_request_is_one_sentence(alpaca: Any, arguments: tuple[str, ...], says: str) -> None:
    done = alpaca("plan", *arguments)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert says in line


def test_doctor_reports_every_check(alpaca: Any) -> None:
    done = alpaca("doctor", "--json")
    found = value(done, 3 if '"verdict": "fail"' in done.stdout else 0)
    names = [check["name"] for check in found["checks"]]
    assert {"driver", "gpus", "torch", "arithmetic", "nccl", "bitsandbytes", "memory", "disk", "/dev/shm"} <= set(names)
    assert {"terminal", "clipboard", "logout", "clock", "project", "model"} <= set(names)
    assert all(check["level"] in ("ok", "warn", "fail") for check in found["checks"])
    assert found["facts"]["torch"]["version"]
    text = alpaca("doctor")
    assert text.returncode == done.returncode
    assert all(name in text.stdout for name in names)


def test_doctor_fails_and_names_the_command_where_torch_is_broken(alpaca: Any, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')", "utf-8")
    done = alpaca("doctor", PYTHONPATH=str(tmp_path), PATH="/nowhere")
    assert done.returncode == 3
    assert "fail  torch" in done.stdout
    assert "pip install torch==2.13.0" in done.stdout
    assert "Traceback" not in done.stderr
    assert "torch" in done.stderr
