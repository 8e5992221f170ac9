"""The main job as its user does it: in a terminal, with the real model, with the cockpit killed on the way."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlite_utils import Database

from alpaca_tui.cli import demo
from alpaca_tui.core import prompts
from alpaca_tui.store import completions, database, decisions, jobs, metrics, samples
from e2e.terminal import Terminal

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("embedded_model_dir")]
TARGET = 6


def states(db: Database) -> dict[str, int]:
    return samples.counts(db)


def wait_for_job(db: Database, job_id: int, timeout: float) -> jobs.JobRow:
    deadline = time.monotonic() + timeout
    while (job := jobs.get(db, job_id)).active:
        assert time.monotonic() < deadline, f"job {job_id} is still {job.state}"
        time.sleep(0.5)
    return job


def test_generate_review_kill_reopen_train_in_a_terminal(tmp_path: Path) -> None:
    project = tmp_path / "project"
    cockpit = Terminal("--project", project)
    cockpit.wait("175 by people")
    db = database.open_project(project)

    # Start a generation and watch text appear.
    cockpit.press("n")
    cockpit.wait("Target")
    cockpit.press(str(TARGET), "\r")
    cockpit.wait(r"G1 .*in flight", 90)
    cockpit.wait(r"instruction \d+ tokens", 60)

    # Review while it streams: accept, accept, reject, undo.
    cockpit.until(lambda _: states(db)["pending"] >= 3, "three samples to review", 300)
    cockpit.press("2")
    cockpit.wait("INSTRUCTION")
    first, second, third = samples.ids(db, "pending")[:3]
    for key, expected in (("a", (1, 0)), ("a", (2, 0)), ("r", (2, 1)), ("u", (2, 0))):
        cockpit.press(key)
        cockpit.until(
            lambda _, wanted=expected: (states(db)["accepted"], states(db)["rejected"]) == wanted, f"{key} to count", 10
        )
    assert [samples.get(db, i).state for i in (first, second, third)] == ["accepted", "accepted", "pending"]  # type: ignore[union-attr]

    # Kill the cockpit: the job goes on, and a second cockpit shows the true state.
    before = jobs.get(db, 1)
    cockpit.kill()
    time.sleep(1.5)
    now = jobs.get(db, 1)
    assert (now.state, now.attempt) in (("running", before.attempt), ("succeeded", before.attempt))
    cockpit = Terminal("--project", project)
    # It opens where it was left, if that was written before it was killed: in Review.
    cockpit.wait(r"\? Help")
    cockpit.press("1")
    cockpit.wait(r"G1|job 1 \(generate\) succeeded")
    done = wait_for_job(db, 1, 400)
    assert done.state == "succeeded", done.reason
    assert done.result is not None
    assert sum(states(db)[s] for s in ("pending", "accepted")) >= TARGET
    cockpit.wait(r"job 1 \(generate\) succeeded")

    # Accept the rest by keys, freeze, train, and see the curve grow.
    cockpit.press("2")
    pending = states(db)["pending"]
    for left in range(pending - 1, -1, -1):
        cockpit.wait("INSTRUCTION")
        cockpit.press("a")
        cockpit.until(lambda _, wanted=left: states(db)["pending"] == wanted, "the next card", 10)
    cockpit.press("5", "f")
    cockpit.wait("Held out")
    cockpit.press("\r")
    cockpit.wait(r"Frozen: set-1|set-1")
    cockpit.press("n")
    cockpit.wait("Max. steps")
    cockpit.press("\t", "\t", "\t", "\t", "4", "\r")
    cockpit.until(lambda _: any(j.kind == "train" for j in jobs.all_jobs(db)), "a training job", 30)
    job_id = jobs.all_jobs(db, "train")[0].id
    cockpit.until(lambda _: len(metrics.series(db, job_id, "loss").steps) >= 2, "two losses", 300)
    cockpit.wait(r"step [2-4]/4|loss \d\.\d+", 30)
    trained = wait_for_job(db, job_id, 300)
    assert trained.state == "succeeded", trained.reason
    assert trained.result is not None
    assert Path(trained.result["adapter"], "adapter_model.safetensors").is_file()
    assert metrics.series(db, job_id, "loss").steps == (1, 2, 3, 4)
    assert cockpit.leave() == 0


def run(project: Path, *arguments: object) -> dict:
    command = [Path(sys.executable).with_name("alpaca-tui"), "--project", project, "--json", *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_demo_reports_every_stage(tmp_path: Path) -> None:
    project = tmp_path / "demo"
    value = run(project, "demo", "--samples", 4, "--steps", 2)
    assert (value["dataset"], value["steps"]) == ("demo-1", 2)
    assert value["funnel"]["accepted"] >= 4
    assert value["tokens_per_s"] > 0
    for model in ("base", "tuned"):
        assert value[model]["held_out_loss"] > 0
        assert 0 <= value[model]["rouge_l"] <= 1
    assert Path(value["adapter"]).is_dir()
    assert value["base"]["held_out_loss"] != value["tuned"]["held_out_loss"]
    status = run(project, "status")
    assert [job["state"] for job in status["jobs"]] == ["succeeded"] * 3
    # Run again, the demo would add its next round beside this one.
    assert demo.next_round(database.open_project(project)) == 2


def test_a_stopped_generation_resumes_without_repeating_or_losing_a_call(tmp_path: Path) -> None:
    project = tmp_path / "project"
    run(project, "init")
    job_id = run(project, "generate", "--target", 6, "--detach")["job"]
    db = database.open_project(project)
    deadline = time.monotonic() + 240
    while db["completions"].count < 2:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    run(project, "jobs", "stop", job_id)
    assert wait_for_job(db, job_id, 60).state == "stopped"
    before = list(db["completions"].rows_where(order_by="id"))
    value = run(project, "jobs", "resume", job_id)
    assert value["state"] == "succeeded"
    after = list(db["completions"].rows_where(order_by="id"))
    assert after[: len(before)] == before
    asked = [(row["stage"], row["seed"]) for row in after]
    assert len(set(asked)) == len(asked)
    about = [(row["stage"], row["candidate_id"]) for row in after if row["candidate_id"]]
    assert len(set(about)) == len(about)
    assert decisions.undo(db) == []

    # Every prompt can be shown again, to the letter.
    for row in after:
        template, variables, files = completions.pack_files(db, row["id"])
        shown = prompts.render(prompts.parse_pack(files), template, variables)
        assert hashlib.sha256(shown.encode()).hexdigest() == row["prompt_hash"]
    assert run(project, "prompt", after[0]["id"])["completion"] == after[0]["text"]
