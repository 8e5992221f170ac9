"""From a job's spec to its command, its environment and the GPUs it uses."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.presets import preset_for
from alpaca_tui.jobs import hardware, launching, planning, shapes, specs
from alpaca_tui.jobs.hardware import Gpu, accelerate_recipe, visible_gpus
from alpaca_tui.jobs.launching import Asked
from alpaca_tui.store.jobs import JobRow

V100S = [Gpu(i, f"GPU-{i}{i}ab", "Tesla V100", 32 << 30, 0, 0, 40, (7, 0)) for i in range(4)]


def job(kind: str, spec: dict[str, object]) -> JobRow:
    return JobRow(5, kind, "queued", spec, 1, 0.0, None, None, None, None, None, None, None)


@pytest.mark.parametrize(
    ("value", "indices"),
    [(None, [0, 1, 2, 3]), ("2,0", [2, 0]), ("", []), ("-1", []), ("0,9,1", [0]), ("GPU-33", [3]), (" 1 , 2 ", [1, 2])],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(value: str | None, indices: list[int]) -> None:
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    assert [gpu.index for gpu in visible_gpus(V100S, environment)] == indices


def test_each_number_of_gpus_has_a_recipe_that_is_shipped() -> None:
    recipes = [accelerate_recipe(V100S[:n]) for n in (0, 1, 2, 4)]
    assert recipes == ["cpu", "single-gpu", "v100x4-lora", "v100x4-lora"]
    assert all(specs.recipe_path(recipe).is_file() for recipe in recipes)


@pytest.mark.parametrize("kind", ["generate", "evaluate"])
def test_a_worker_is_one_python_process(kind: str) -> None:
    spec = {"generate": {"target": 2}, "evaluate": {"dataset": "a", "models": ["smollm2-135m"]}}[kind]
    argv = specs.command(Path("/p"), job(kind, spec))
    assert argv == [sys.executable, "-m", f"alpaca_tui.workers.{kind}", "--project", "/p", "--job", "5"]


def test_training_uses_the_gpus_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "gpus", lambda: V100S)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    argv = specs.command(Path("/p"), job("train", {"dataset": "a"}))
    assert argv[1:3] == ["-m", "accelerate.commands.launch"]
    assert argv[argv.index("--config_file") + 1].endswith("v100x4-lora.yaml")
    assert argv[argv.index("--num_processes") + 1] == "2" and argv[argv.index("--gpu_ids") + 1] == "3,1"
    assert argv[argv.index("--main_process_port") + 1] == "0"  # any free port
    assert argv[-6:] == ["-m", "alpaca_tui.workers.train", "--project", "/p", "--job", "5"]


@pytest.mark.parametrize(
    ("model", "method", "gpus", "recipe", "settled"),
    [
        ("llama-7b", "auto", 4, "v100x4-lora", "lora"),
        ("llama-7b", "lora", 1, "single-gpu", "lora"),
        ("llama-7b", "full", 4, "v100x4-full", "full"),
        ("llama-7b", "full-offload", 4, "v100x4-offload", "full"),
        ("llama-13b", "qlora", 4, "v100x4-lora", "qlora"),
        ("llama-7b", "auto", 0, "cpu", "lora"),
        ("nobody/knows", "auto", 4, "v100x4-lora", "lora"),
    ],
)
def test_training_is_launched_by_the_recipe_that_the_plan_names(
    model: str, method: Asked, gpus: int, recipe: str, settled: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hardware, "visible_gpus", lambda: V100S[:gpus])
    monkeypatch.setattr(hardware, "host", lambda project=None: hardware.Host(40, 256 << 30, 250 << 30, 1 << 40))
    launch = launching.settle(model, method)
    assert (launch.recipe, launch.method, launch.gpus) == (recipe, settled, gpus)
    argv = specs.command(Path("/p"), job("train", {"dataset": "a", "model": model, "method": method}))
    assert argv[argv.index("--config_file") + 1] == str(specs.recipe_path(recipe))
    assert argv[argv.index("--num_processes") + 1] == str(max(1, gpus))
    if launch.option is None:
        return
    # What `plan` prints, asked the same way.
    shape = shapes.shape(model)
    asked, offload = ("full", True) if method == "full-offload" else (method, None)
    machine = planning.machine(tmp_path, gpus, 32.0)
    wishes = planning.Wishes(method=asked, offload=offload)
    preset = preset_for(shape.parameters, "full" if asked == "full" else "lora").settings
    report = planning.report(tmp_path, shape, machine, preset, wishes)
    assert (report["recipe"], report["method"]) == (recipe, settled)
    assert report["micro_batch"] == launch.fitted["micro_batch"]


def test_a_micro_batch_that_fits_is_chosen_unless_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    small = [Gpu(0, "GPU-0", "Tesla V100", 16 << 30, 0, 0, 40, (7, 0))]
    monkeypatch.setattr(hardware, "host", lambda project=None: hardware.Host(40, 256 << 30, 250 << 30, 1 << 40))
    assert launching.settle("llama-7b", "qlora", found=small).fitted["micro_batch"] == 4
    assert launching.settle("llama-7b", "lora", found=small).fitted["micro_batch"] == 1
    assert launching.settle("llama-7b", "lora", {"micro_batch": 2}, found=small).fitted["micro_batch"] == 2


def test_training_without_a_gpu_runs_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    argv = specs.command(Path("/p"), job("train", {"dataset": "a"}))
    assert argv[argv.index("--config_file") + 1].endswith("cpu.yaml")
    assert argv[argv.index("--num_processes") + 1] == "1" and "--gpu_ids" not in argv


def test_a_spec_of_another_version_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="spec of job 5"):
        specs.command(Path("/p"), job("generate", {"target": 1, "from_the_future": True}))


def test_the_hub_is_asked_only_for_models_that_may_lie_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    local = {"dataset": "a", "models": ["smollm2-135m", str(tmp_path), "job:3"]}
    assert specs.environment(job("evaluate", local))["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in specs.environment(job("train", {"dataset": "a", "model": "huggyllama/llama-7b"}))


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    environment = specs.environment(job("generate", {"target": 1}))
    assert "GOMP_SPINCOUNT" not in environment
    assert environment["PYTHONUNBUFFERED"] == "1"


def test_the_host_is_measured_within_its_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = hardware.host(tmp_path)
    assert 1 <= host.cores <= (psutil.cpu_count() or 1)
    assert 0 < host.ram_available <= host.ram_total <= psutil.virtual_memory().total
    assert host.disk_free > 0
    (tmp_path / "memory.max").write_text(f"{1 << 30}\n")
    (tmp_path / "memory.current").write_text(f"{1 << 29}\n")
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    limited = hardware.host(tmp_path)
    assert limited.ram_total == 1 << 30 and limited.ram_available <= 1 << 29
