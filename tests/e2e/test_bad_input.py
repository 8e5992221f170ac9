"""Bad input: one clear sentence, the documented exit code, no traceback, nothing lost."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from alpaca_tui import resources
from alpaca_tui.store import database, decisions, jobs, projects, seeds
from store.filling import Filler

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    db, _ = projects.ensure(tmp_path / "project")
    db.close()
    return tmp_path / "project"


def alpaca(*arguments: object, limit_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the installed command as a user would."""
    command = [Path(sys.executable).with_name("alpaca-tui"), *map(str, arguments)]

    def cap() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, preexec_fn=cap)


def sentence(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one sentence on stderr, after checking that there is nothing else."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_seeds_file_with_a_broken_line_7(project: Path, tmp_path: Path) -> None:
    lines = resources.seed_tasks_path().read_text("utf-8").splitlines()
    lines = [line.replace("alpaca_tui_", "mine_") for line in lines[:10]]
    lines[6] = lines[6][:40]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    done = alpaca("--project", project, "seeds", "import", file)
    assert done.returncode == 1
    assert "line 7" in done.stderr
    assert "Traceback" not in done.stderr
    db = database.open_project(project)
    assert seeds.count(db) == 175


def test_an_unknown_model(project: Path) -> None:
    said = sentence(alpaca("--project", project, "generate", "--target", 5, "--model", "gpt9"), 2)
    assert "unknown model 'gpt9'" in said
    assert "smollm2-135m" in said
    assert jobs.all_jobs(database.open_project(project)) == []


def test_a_model_directory_without_a_tokenizer(project: Path, tmp_path: Path, tiny_llama_dir: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_llama_dir, model)
    for file in model.glob("token*"):
        file.unlink()
    said = sentence(alpaca("--project", project, "generate", "--target", 5, "--model", model), 1)
    assert "tokenizer" in said
    assert str(model) in said


def test_a_project_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = sentence(alpaca("init", "--project", tmp_path / "file" / "project"), 1)
    assert "cannot create a project" in said
    assert "--project DIR" in said


def test_a_database_that_is_not_one(tmp_path: Path) -> None:
    tmp_path.joinpath("alpaca.db").write_text("hello " * 1000)
    said = sentence(alpaca("status", "--json", "--project", tmp_path), 1)
    assert "is not a SQLite database" in said


def test_a_directory_without_a_project(tmp_path: Path) -> None:
    said = sentence(alpaca("status", "--project", tmp_path), 1)
    assert "alpaca-tui init --project" in said


def test_a_full_disk_while_exporting_leaves_no_torn_file(project: Path, tmp_path: Path) -> None:
    db = database.open_project(project)
    filler = Filler(db)
    decisions.decide(db, "accept", [filler.sample(f"Name {i} fruit.", "An apple. " * 200) for i in range(20)])
    assert alpaca("--project", project, "dataset", "freeze", "d").returncode == 0
    out = tmp_path / "out.json"
    done = alpaca("--project", project, "dataset", "export", "d", out, limit_bytes=8192)
    assert f"cannot write {out}" in sentence(done, 1)
    assert not out.exists()
    assert list(tmp_path.glob("out.json*")) == []
    assert alpaca("--project", project, "dataset", "export", "d", out).returncode == 0
    assert len(json.loads(out.read_text("utf-8"))) == 20


def test_a_full_disk_while_deciding_keeps_what_was_saved(project: Path) -> None:
    db = database.open_project(project)
    filler = Filler(db)
    ids = [filler.sample(f"Name {i} fruit.", "An apple.") for i in range(400)]
    decisions.decide(db, "accept", ids[:1])
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    done = alpaca("--project", project, "review", "accept", "status:pending", limit_bytes=40_000)
    assert "disk that holds the project is full or failing" in sentence(done, 1)
    counts = json.loads(alpaca("--project", project, "status", "--json").stdout)["samples"]
    assert (counts["accepted"], counts["pending"]) == (1, 399)


def test_a_dead_pid_in_the_jobs_table(project: Path) -> None:
    db = database.open_project(project)
    job_id = jobs.enqueue(db, "generate", {"target": 5})
    jobs.set_state(db, job_id, "running")
    jobs.add_process(db, job_id, 1, "runner", 0, 2**22 - 1, 1.0)
    listed = json.loads(alpaca("jobs", "list", "--json", "--project", project).stdout)["jobs"]
    assert [(job["id"], job["state"]) for job in listed] == [(job_id, "interrupted")]
    assert "resume" in listed[0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("review", "accept", "99"), 2, "there is no sample 99"),
        (("review", "list", "status:new"), 2, "cannot read the query at character 8: status cannot be 'new'"),
        (("dataset", "freeze", "d"), 1, "no sample is accepted yet"),
        (("train",), 2, "there is no data set yet"),
        (("evaluate",), 2, "no model has been tuned yet"),
        (("jobs", "stop", "7"), 2, "there is no job 7"),
        (("jobs", "resume", "7"), 2, "there is no job 7"),
        (("train", "--resume", "7"), 2, "there is no job 7"),
        (("review", "accept", "9" * 20), 2, "there is no sample 999"),
        (("generate", "--recipe", "nobodys"), 2, "nobodys"),
        (("generate", "--model", "openai:gpt-3.5-turbo"), 1, "OPENAI_API_KEY"),
    ],
)
def test_requests_that_cannot_be_met(project: Path, arguments: tuple[str, ...], code: int, expected: str) -> None:
    assert expected in sentence(alpaca("--project", project, *arguments), code)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train", "--epochs", "0"), "epochs"),
        (("train", "--lr", "0"), "learning_rate"),
        (("train", "--micro-batch", "9", "--global-batch", "4"), "micro_batch is 9"),
        (("train", "--recipe", "nope"), "there is no accelerate recipe 'nope'; there are: cpu"),
        (("train", "--set", "lora_rank"), "write NAME=VALUE"),
        (("train", "--set", "lora_ranks=4"), "lora_ranks"),
        (("evaluate", "--model", "job:9"), "there is no job 9"),
        (("dataset", "export", "d", "out.json", "--split", "heldout"), "heldout"),
    ],
)
def test_settings_are_refused_before_a_job_is_made_of_them(
    project: Path, arguments: tuple[str, ...], expected: str
) -> None:
    db = database.open_project(project)
    decisions.decide(db, "accept", [Filler(db).sample(f"Name {i} fruit.") for i in range(3)])
    assert alpaca("--project", project, "dataset", "freeze", "d").returncode == 0
    before = len(jobs.all_jobs(db))
    done = alpaca("--project", project, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert len(jobs.all_jobs(db)) == before


def test_a_faulty_config_names_file_and_value(project: Path) -> None:
    (project / "config.toml").write_text("[generate]\nthreshold = 7\n")
    said = sentence(alpaca("--project", project, "generate", "--target", 5), 2)
    assert "config.toml" in said
    assert "generate.threshold" in said


def test_usage_errors_exit_2(project: Path) -> None:
    for arguments in (("generate", "--target", "0"), ("nonsense",), ("generate", "--targett", "5")):
        done = alpaca("--project", project, *arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_the_cockpit_needs_a_terminal(project: Path) -> None:
    assert "needs a terminal" in sentence(alpaca("--project", project), 1)
