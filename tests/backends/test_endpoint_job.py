"""A generation through a faulty endpoint, as its user runs it: nothing lost or doubled, no key told, money kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alpaca_tui.store import database
from alpaca_tui.workers.stage_run import derive_seed
from backends.serving import Proxy, by_chance, free_port, served

KEY = "sk-test-secret-4711-0815"
CONFIG = """
[endpoints.test]
base_url = "{url}"
key_variable = "TEST_ENDPOINT_KEY"
prompt_price = 1.0
completion_price = 2.0
concurrency = 4
tries = 8
first_token_timeout = 20
connect_timeout = 5
"""


@pytest.fixture
def proxy(tiny_llama_dir: Path, tmp_path: Path) -> Iterator[Proxy]:
    with served(tiny_llama_dir, tmp_path / "serve.log") as port:
        made = Proxy(port)
        made.key = KEY
        yield made
        made.close()


def run(project: Path, *arguments: object, key: str | None = KEY) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TEST_ENDPOINT_KEY"}
    if key is not None:
        environment["TEST_ENDPOINT_KEY"] = key
    command = [Path(sys.executable).with_name("alpaca-tui"), "--project", project, *arguments]
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=240, env=environment, check=False
    )


def told(project: Path, *said: str) -> bool:
    """Whether the key stands in anything that was written or said."""
    texts = [path.read_bytes() for path in project.rglob("*") if path.is_file()]
    return any(KEY.encode() in text for text in (*texts, *(part.encode() for part in said)))


@pytest.mark.slow
def test_a_paid_run_survives_faults_pauses_at_its_budget_and_keeps_its_key(
    proxy: Proxy, tmp_path: Path, tiny_llama_dir: Path
) -> None:
    project = tmp_path / "project"
    assert run(project, "init").returncode == 0
    (project / "config.toml").write_text(CONFIG.format(url=proxy.url))
    proxy.choose = by_chance(0, 0.3, ("429-bare", "500", "cut", "malformed", "empty"))
    spec = f"openai:{tiny_llama_dir}@test"
    budget = 0.008
    made = run(
        project,
        "generate",
        "--model",
        spec,
        "--target",
        5,
        "--budget",
        budget,
        "--set",
        "instruction.max_new_tokens=12",
    )
    assert made.returncode == 1
    assert f"stopped: the budget of {budget} does not hold another call" in made.stderr

    db = database.open_project(project)
    whole = [row["seed"] for row in db["completions"].rows if row["finish_reason"] != "error"]
    assert sorted(whole) == sorted(body["seed"] for body in proxy.delivered)
    assert len(set(whole)) == len(whole) > 3
    assert len(proxy.seen) > len(proxy.delivered)
    status = json.loads(run(project, "--json", "status").stdout)
    assert 0 < status["cost"]["spent"] == status["jobs"][0]["cost"] <= budget

    # Without its key the job says what to set; with a wrong one, that it is wrong; neither tells the right one.
    nameless = run(project, "jobs", "resume", 1, key=None)
    assert nameless.returncode == 1 and "set the environment variable TEST_ENDPOINT_KEY" in nameless.stderr
    wrong = run(project, "jobs", "resume", 1, "--budget", 1, key="sk-wrong")
    assert wrong.returncode == 1 and "refuses the key: set TEST_ENDPOINT_KEY" in wrong.stderr
    assert not told(project, made.stderr, made.stdout, nameless.stderr, wrong.stderr)
    assert b"sk-wrong" not in b"".join(path.read_bytes() for path in project.rglob("*") if path.is_file())


RESTARTED = """
[endpoints.test]
base_url = "http://127.0.0.1:{port}/v1"
concurrency = 2
tries = 2
connect_timeout = 2
"""


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_fails_the_job_with_one_sentence_and_the_rest_is_asked_when_it_is_back(
    tmp_path: Path, tiny_llama_dir: Path
) -> None:
    project, port = tmp_path / "project", free_port()
    assert run(project, "init").returncode == 0
    (project / "config.toml").write_text(RESTARTED.format(port=port))
    db = database.open_project(project)

    def answered() -> list[int]:
        return [row["seed"] for row in db["completions"].rows if row["finish_reason"] != "error"]

    generate = ["generate", "--model", f"openai:{tiny_llama_dir}@test", "--target", 5, "--seed", 3]
    command = [Path(sys.executable).with_name("alpaca-tui"), "--project", project, *generate]
    limit = ["--set", "instruction.max_new_tokens=12"]
    with served(tiny_llama_dir, tmp_path / "first.log", port):
        job = subprocess.Popen([*map(str, command), *limit], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while len(answered()) < 3:
            assert time.monotonic() < deadline and job.poll() is None
            time.sleep(0.02)
    _, said = job.communicate(timeout=120)
    before = answered()
    assert job.returncode == 1
    assert f"127.0.0.1:{port}" in said and "Traceback" not in said, said
    assert db["jobs"].get(1)["state"] == "failed"

    with served(tiny_llama_dir, tmp_path / "second.log", port):
        again = run(project, "jobs", "resume", 1)
        spec = f"openai:{tiny_llama_dir}@test"
        pair = ["--model", spec, "--model", tiny_llama_dir]
        scored = run(project, "--json", "evaluate", *pair, "--suite", "seeds", "--limit", 2, "--max-new-tokens", 8)
        compared = run(project, "--json", "compare")
        talk = [Path(sys.executable).with_name("alpaca-tui"), "--project", project, "chat", "--model", spec]
        talked = subprocess.run(
            [*map(str, talk), "--max-new-tokens", "8"],
            input="Count to three.\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert scored.returncode == 0, scored.stderr
    assert list(json.loads(scored.stdout)["models"]) == [spec, str(tiny_llama_dir)]
    assert compared.returncode == 0, compared.stderr
    beside = json.loads(compared.stdout)
    assert list(beside["models"]) == [spec, str(tiny_llama_dir)] and beside["suite"] == "seeds"
    assert beside["models"][spec]["items"] == beside["models"][str(tiny_llama_dir)]["items"] == 2
    assert talked.returncode == 0 and talked.stdout.strip(), talked.stderr
    after = answered()
    # A model of random weights invents nothing, so that the job gives up; but it gave up on answers.
    assert "gave no new instruction" in again.stderr, again.stderr
    assert after[: len(before)] == before and len(after) > len(before)
    numbers = {derive_seed(3, "instruction", number): number for number in range(200)}
    asked = sorted(numbers[seed] for seed in after)
    assert asked == list(range(len(after))), "each call answered once, none left out"
