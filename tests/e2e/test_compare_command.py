"""``compare`` as a script and as a person in a plain terminal use it, on a project without a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from alpaca_tui.core import answers
from alpaca_tui.core.answers import TaskLoss
from alpaca_tui.core.records import Completion
from alpaca_tui.store import database, datasets, evaluations, jobs, suites

BAD, GOOD = "I do \x1b]0;owned\x07not know.", "It is number {}."


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base and tuned model on eight tasks; never changed."""
    project = tmp_path_factory.mktemp("scored")
    db = database.create_project(project)
    records = [("held_out", f"Say number {i}.", "", f"It is number {i}.") for i in range(8)]
    suite = suites.held_out(db, datasets.take(db, "numbers", records))
    job = jobs.enqueue(db, "evaluate", {})
    for model, says, nats in (("base", BAD, 9.0), ("job:1", GOOD, 6.0)):
        row = evaluations.begin(db, job, suite.id, model)
        for task in suites.tasks(db, suite.id):
            text = says.format(task.position)
            score = answers.score_answer(task.output, Completion(text, "eos", 9, 5, 0.1), is_classification=False)
            completion = Completion(text, "eos", 9, 5, 0.1)
            evaluations.add_answer(db, row.id, task.position, f"p{task.position}", completion, score)
            evaluations.add_losses(db, row.id, {task.position: TaskLoss(nats + task.position % 2, 3)})
        items = evaluations.items(db, row.id)
        losses = list(evaluations.losses(db, row.id).values())
        evaluations.finish(db, row.id, answers.metrics([i.score for i in items.values()], losses))
    db.close()
    return project


@pytest.fixture
def project(scored: Path, tmp_path: Path) -> Path:
    from shutil import copytree

    return Path(copytree(scored, tmp_path / "project"))


def compare(project: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("alpaca-tui"), "--project", project, "compare", *arguments]
    return subprocess.run(
        [str(part) for part in command], input=typed, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip


def test_figures_side_by_side_with_differences_and_intervals(scored: Path) -> None:
    done = compare(scored)
    assert done.returncode == 0 and done.stderr == ""
    lines = {line[:13].strip(): line for line in done.stdout.splitlines()}
    assert "numbers/held_out, 8 tasks" in done.stdout
    assert "base" in done.stdout.splitlines()[2] and "job:1" in done.stdout.splitlines()[2]
    assert lines["held-out loss"].endswith("-1.000 [-1.000 to -1.000]  better")
    assert lines["ROUGE-L"].endswith("better") and "1.000 [1.000 to 1.000]" in lines["ROUGE-L"]
    assert "judge blindly with: alpaca-tui compare --judge" in done.stdout
    value = json.loads(compare(scored, "--models", "job:1", "base", "--dataset", "numbers", "--json").stdout)
    assert list(value["models"]) == ["job:1", "base"] and value["suite"] == "numbers/held_out"
    loss = value["differences"]["held_out_loss"]
    assert loss["delta"] == pytest.approx(1.0) and loss["clear"] is True and loss["better"] is False
    assert value["models"]["base"]["held_out_loss"] == pytest.approx(9.5 / 3)
    assert value["preference"] is None


def test_judging_line_by_line_is_blind_and_resumes(project: Path) -> None:
    done = compare(project, "--judge", "--json", typed="t\nx\nu\nl\ns\nq\n")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"suite": "numbers/held_out", "judged": 1, "left": 7}
    assert "Task 1 of 8" in done.stderr and "Task 2 of 8" in done.stderr
    assert "l left is better" in done.stderr  # said again after the unknown x
    assert "base" not in done.stderr and "job:1" not in done.stderr
    assert "\x1b" not in done.stderr and "␛]0;owned␇" in done.stderr

    # Now always the better one, wherever it stands, to the end; the input ending early loses nothing.
    for _ in range(7):
        left = compare(project, "--judge", typed="q\n").stderr.partition("--- LEFT")[2].partition("--- RIGHT")[0]
        done = compare(project, "--judge", typed="l\n" if "It is number" in left else "r\n")
    assert "Every task is judged." in done.stderr
    value = json.loads(compare(project, "--json").stdout)["preference"]
    assert value["judged"] == 8 and value["left"] == 0 and value["after_reveal"] == 0
    assert value["second"] >= 7 and value["win_rate"] == value["second"] / 8
    assert value["win_rate_low"] < value["win_rate"] <= value["win_rate_high"]
    assert "blind judgements (95 % interval" in done.stdout
    swapped = json.loads(compare(project, "--models", "job:1", "base", "--json").stdout)["preference"]
    assert swapped["win_rate"] == pytest.approx(1 - value["win_rate"]) and swapped["conclusion"] == value["conclusion"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--models", "base", "job:9"), "alpaca-tui evaluate --model base --model job:9"),
        (("--models", "base", "base"), "the two models are the same"),
        (("--dataset", "other"), "no two models have been scored on other yet"),
    ],
)
def test_what_was_not_scored_is_one_sentence(scored: Path, arguments: tuple[str, ...], said: str) -> None:
    done = compare(scored, *arguments)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
