"""A training that can't work is refused before a model is loaded, whichever front end asked for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpaca_tui.core.errors import RefusedError, UsageError
from alpaca_tui.jobs import follow, hardware, spawn
from alpaca_tui.jobs.hardware import Gpu
from alpaca_tui.jobs.specs import TrainSpec
from alpaca_tui.store import datasets, projects
from alpaca_tui.workers.preflight import check_training

FOUR_V100 = [Gpu(i, f"GPU-{i}", "Tesla V100-SXM2-32GB", 34_359_738_368, 0, 0, 40, (7, 0)) for i in range(4)]


def test_full_tuning_of_7b_on_four_v100_is_refused_and_lora_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "visible_gpus", lambda: FOUR_V100)
    with pytest.raises(RefusedError, match=r"GiB.*--method lora"):
        check_training(TrainSpec(dataset="d", model="llama-7b", method="full"))
    check_training(TrainSpec(dataset="d", model="llama-7b", method="auto"))
    check_training(TrainSpec(dataset="d", model="llama-7b", method="full", recipe="cpu"))


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
