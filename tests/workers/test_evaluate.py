"""The evaluation worker: the same tasks and prompts for every model, stored one by one, nothing asked twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlite_utils import Database

from alpaca_tui.jobs.live import read_live
from alpaca_tui.jobs.specs import EvaluateSpec
from alpaca_tui.store import comparisons, database, datasets, evaluations, jobs
from alpaca_tui.workers.models import local_model

TASKS = 20


@pytest.fixture
def db(tmp_path: Path) -> Database:
    made = database.create_project(tmp_path / "project")
    records = [
        ("held_out", f"Say the number {i} in words, {'slowly ' * (i % 5)}please.", "", f"{i}") for i in range(TASKS)
    ]
    datasets.take(made, "numbers", [*records, ("train", "Say it.", "", "It.")])
    return made


def worker(project: Path, job_id: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "alpaca_tui.workers.evaluate", "--project", str(project), "--job", str(job_id)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_killed_in_the_middle_it_goes_on_and_repeats_nothing(
    db: Database, tmp_path: Path, tiny_llama_dir: Path
) -> None:
    project, twin = tmp_path / "project", tmp_path / "twin"
    twin.symlink_to(tiny_llama_dir)
    models = (str(tiny_llama_dir), str(twin))
    spec = EvaluateSpec(dataset="numbers", models=models, max_new_tokens=32)
    job_id = jobs.enqueue(db, "evaluate", spec.model_dump(mode="json"))

    process = worker(project, job_id)
    while db["evaluation_answers"].count < 3:
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    before = list(db["evaluation_answers"].rows)
    losses = list(db["evaluation_losses"].rows)
    assert 3 <= len(before) < TASKS and len(losses) == TASKS
    assert evaluations.count(db) == 0 and jobs.get(db, job_id).result is None
    shown = read_live(project, job_id)[0]
    assert shown.progress is not None and 0 < shown.progress < 0.5 and "answered" in shown.activity

    process = worker(project, job_id)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    # What was there is there to the letter, seconds included: it was not asked again.
    after = list(db["evaluation_answers"].rows)
    assert all(row in after for row in before)
    assert all(row in list(db["evaluation_losses"].rows) for row in losses)
    assert len(after) == 2 * TASKS == db["evaluation_losses"].count

    first, second = evaluations.all_evaluations(db, job_id)
    one, two = evaluations.items(db, first.id), evaluations.items(db, second.id)
    assert [i.prompt_hash for i in one.values()] == [i.prompt_hash for i in two.values()]
    assert len({i.prompt_hash for i in one.values()}) == TASKS
    result = jobs.get(db, job_id).result
    assert result is not None and result["suite"] == "numbers/held_out"
    assert result["models"] == {first.model: first.metrics, second.model: second.metrics}
    assert first.metrics["items"] == TASKS and first.metrics["cut"] > 0.5
    # One model under two names: the same loss, and no clear difference in anything.
    rows = {row.metric: row for row in comparisons.differences(db, first, second)}
    assert rows["held_out_loss"].delta == pytest.approx(0, abs=1e-6)
    assert not any(row.clear for row in rows.values() if row.metric != "held_out_loss")
    db.close()


def test_a_resumed_job_stays_with_its_tasks(db: Database, tmp_path: Path, tiny_llama_dir: Path) -> None:
    from alpaca_tui.core.records import Instance, SeedTask
    from alpaca_tui.store import seeds, suites

    seeds.add(db, [SeedTask("s1", "one", "Name a fruit.", (Instance("", "A pear."),), False)])
    spec = EvaluateSpec(dataset=None, models=(str(tiny_llama_dir),), max_new_tokens=4)
    job_id = jobs.enqueue(db, "evaluate", spec.model_dump(mode="json"))
    suite = suites.from_seeds(db)
    evaluations.begin(db, job_id, suite.id, str(tiny_llama_dir))  # as far as the first attempt came
    seeds.revise(db, 1, SeedTask("s1", "one", "Name a vegetable.", (Instance("", "A leek."),), False))
    process = worker(tmp_path / "project", job_id)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    row = evaluations.all_evaluations(db, job_id)[0]
    assert row.finished and row.suite_id == suite.id and row.suite == "seeds"
    assert suites.from_seeds(db).id != suite.id
    db.close()


def test_an_endpoint_has_no_loss(db: Database) -> None:
    assert local_model(db, "openai:some-model@http://localhost:9/v1") is None
    db.close()
