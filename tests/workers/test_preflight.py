"""A training that can't work is refused before a model is loaded, whichever front end asked for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpaca_tui.core.errors import RefusedError, UsageError
from alpaca_tui.jobs import follow, hardware, shapes, spawn
from alpaca_tui.jobs.hardware import Gpu, Host
from alpaca_tui.jobs.specs import TrainSpec
from alpaca_tui.store import datasets, projects
from alpaca_tui.workers.preflight import check_training, encoding, training_config

FOUR_V100 = [Gpu(i, f"GPU-{i}", "Tesla V100-SXM2-32GB", 34_359_738_368, 0, 0, 40, (7, 0)) for i in range(4)]


@pytest.fixture
def four_v100(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "visible_gpus", lambda: FOUR_V100)
    monkeypatch.setattr(hardware, "host", lambda project=None: Host(40, 256 << 30, 250 << 30, 1 << 40))


@pytest.mark.usefixtures("four_v100")
def test_what_fits_on_four_v100_goes_ahead_and_what_does_not_is_refused_with_a_way_out() -> None:
    check_training(TrainSpec(dataset="d", model="llama-7b", method="auto"))
    full = check_training(TrainSpec(dataset="d", model="llama-7b", method="full"))
    assert full.recipe == "v100x4-full" and full.option is not None and full.option.verdict == "tight"
    with pytest.raises(RefusedError, match=r"every GPU holds a whole copy; --method full needs"):
        check_training(TrainSpec(dataset="d", model="llama-7b", method="full", recipe="v100x4-lora"))
    with pytest.raises(RefusedError, match=r"GiB.*--method full-offload needs"):
        check_training(TrainSpec(dataset="d", model="llama-13b", method="full"))
    check_training(TrainSpec(dataset="d", model="llama-13b", method="full-offload"))
    check_training(TrainSpec(dataset="d", model="llama-7b", method="full", recipe="cpu"))
    with pytest.raises(UsageError, match="shards full tuning"):
        check_training(TrainSpec(dataset="d", model="llama-7b", method="lora", recipe="v100x4-full"))


@pytest.mark.usefixtures("four_v100")
def test_offload_is_refused_where_the_host_cannot_hold_the_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "host", lambda project=None: Host(40, 64 << 30, 60 << 30, 1 << 40))
    with pytest.raises(RefusedError, match=r"110 GiB of host memory, here are 64"):
        check_training(TrainSpec(dataset="d", model="llama-7b", method="full-offload"))


@pytest.mark.usefixtures("four_v100")
def test_the_stored_settings_hold_every_value_of_alpacas_presets(tmp_path: Path) -> None:
    wanted = {
        ("llama-7b", "full"): {"learning_rate": 2e-5, "epochs": 3.0},
        ("llama-13b", "full-offload"): {"learning_rate": 1e-5, "epochs": 5.0},
        ("llama-7b", "lora"): {"learning_rate": 3e-4, "epochs": 3.0, "lora_rank": 8, "lora_alpha": 16},
    }
    for (model, method), values in wanted.items():
        spec = TrainSpec.model_validate({"dataset": "d", "model": model, "method": method})
        shape = shapes.shape(model)
        stored = training_config(spec, shape.parameters, tmp_path, tmp_path / "out").model_dump(mode="json")
        alike = {
            "global_batch": 128, "max_length": 512, "warmup_ratio": 0.03, "weight_decay": 0.0,
            "gradient_checkpointing": True, "optimizer": "adamw_torch_fused", "precision": "auto", "seed": 0,
        }  # fmt: skip
        assert stored.items() >= (values | alike).items()


@pytest.mark.usefixtures("four_v100")
def test_qlora_without_bitsandbytes_or_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TrainSpec(dataset="d", model="llama-13b", method="qlora")
    assert check_training(spec).recipe == "v100x4-lora"
    with monkeypatch.context() as patched:
        patched.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(RefusedError, match=r"pip install 'alpaca-tui\[qlora\]'"):
            check_training(spec)
    monkeypatch.setattr(hardware, "visible_gpus", list)
    with pytest.raises(RefusedError, match="there is none here: use --method lora"):
        check_training(spec)


def test_several_machines_are_sent_to_the_export() -> None:
    with pytest.raises(UsageError, match="train --export DIR"):
        check_training(TrainSpec(dataset="d", recipe="multi-node"))


def test_truncation_is_counted_before_the_run_and_too_much_of_it_refused(
    tmp_path: Path, embedded_model_dir: Path
) -> None:
    db, _ = projects.ensure(tmp_path / "project")
    records = [("train", f"Count to {n}.", "", " ".join(map(str, range(n)))) for n in (3, 5, 7, 200)]
    datasets.take(db, "d", records, held_out=0.0)
    spec = TrainSpec(dataset="d", model=str(embedded_model_dir), overrides={"max_length": 128})
    report = encoding(db, tmp_path / "project", spec, check_training(spec))
    assert report is not None and (report.examples, report.truncated, report.eos_supervised) == (4, 1, 3)
    datasets.take(db, "long", [*records[2:], *(("train", f"{n}.", "", "word " * 200) for n in (1, 2))], held_out=0.0)
    short = spec.model_copy(update={"dataset": "long"})
    with pytest.raises(RefusedError, match="3 of 4 examples are cut at 128 tokens, more than 50%"):
        encoding(db, tmp_path / "project", short, check_training(short))


def test_settings_are_checked_also_where_the_model_is_not_here_yet() -> None:
    with pytest.raises(UsageError, match="lora_ranks"):
        check_training(TrainSpec(dataset="d", model="nobody/nothing", overrides={"lora_ranks": 4}))


def test_a_job_from_the_cockpit_fails_with_the_same_sentence(tmp_path: Path, embedded_model_dir: Path) -> None:
    db, _ = projects.ensure(tmp_path / "project")
    records = [("train", f"Name fruit {i}.", "", "A pear.") for i in range(4)]
    datasets.take(db, "d", records, held_out=0.25)
    spec = TrainSpec(dataset="d", model=str(embedded_model_dir), overrides={"epochs": 0})
    job = follow.follow(
        db, tmp_path / "project", spawn.submit(db, tmp_path / "project", "train", spec), lambda job, live: None
    )
    assert job.state == "failed"
    assert job.reason is not None
    assert "epochs" in job.reason
