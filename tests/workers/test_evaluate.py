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

from alpaca_tui.backends.base import OnDone
from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.records import Completion, Request
from alpaca_tui.jobs.live import LiveWriter, live_dir, read_live
from alpaca_tui.jobs.specs import EvaluateSpec
from alpaca_tui.store import comparisons, database, datasets, evaluations, jobs
from alpaca_tui.workers import evaluate
from alpaca_tui.workers.base import WorkerContext
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


class Flaky:
    """An endpoint that fails the requests at some places for good, as the one for HTTP does, the first time."""

    def __init__(self) -> None:
        self.name, self.max_batch = "flaky", 8
        self.failing = {3, 7}
        self.asked: list[int] = []

    def complete(
        self, requests: list[Request], on_text: object, cancelled: object, *, on_done: OnDone, more: object = None
    ) -> None:
        self.asked.append(len(requests))
        for i, request in enumerate(requests):
            bad = i in self.failing
            on_done(i, Completion("" if bad else request.prompt[-20:], "error" if bad else "eos", 9, 4, 0.1))
        self.failing = set()

    def close(self) -> None:
        pass


def test_what_an_endpoint_failed_to_answer_is_asked_again(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky, endpoint = Flaky(), "openai:some-model@http://localhost:9/v1"
    monkeypatch.setattr(evaluate, "open_model", lambda *_, **__: flaky)
    job_id = jobs.enqueue(db, "evaluate", EvaluateSpec(dataset="numbers", models=(endpoint,)).model_dump(mode="json"))
    project = tmp_path / "project"
    live_dir(project, job_id).mkdir(parents=True)

    def attempt() -> None:
        writer = LiveWriter(project, job_id)
        evaluate.run(WorkerContext(project, jobs.get(db, job_id), db, 0, writer, lambda: False))

    with pytest.raises(AlpacaError, match=f"failed to answer 2 of {TASKS} tasks.*jobs resume {job_id}"):
        attempt()
    assert evaluations.count(db) == 0 and db["evaluation_answers"].count == TASKS - 2
    attempt()
    assert flaky.asked == [TASKS, 2]
    metrics = evaluations.all_evaluations(db, job_id)[0].metrics
    assert metrics["items"] == TASKS and metrics["empty"] == 0
    # An endpoint tells no probabilities: there is no loss, and it is not made up.
    assert "held_out_loss" not in metrics and local_model(db, endpoint) is None
    db.close()
