"""Several workers on one job: nothing is asked twice, kept twice or lost, whoever is killed at whatever moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from alpaca_tui.core.records import Instance, SeedTask
from alpaca_tui.core.rouge import rouge_l_text as rouge_l
from alpaca_tui.jobs import processes
from alpaca_tui.jobs.live import read_live
from alpaca_tui.jobs.processes import Identity
from alpaca_tui.jobs.reconcile import reconcile
from alpaca_tui.jobs.specs import GenerateSpec
from alpaca_tui.jobs.status import status
from alpaca_tui.store import candidates, decisions, jobs, leases, seeds
from alpaca_tui.store.database import create_project, write
from alpaca_tui.workers.stage_run import derive_seed

SCRIPT = Path(__file__).parent / "scripted_worker.py"
PATIENCE_S = 90.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


@pytest.fixture
def db(project: Path) -> Iterator[Database]:
    opened = create_project(project)
    shown = (Instance("", "x"),)
    seeds.add(opened, [SeedTask(f"s{i}", f"seed {i}", f"Tell {i} tales of the sea.", shown, False) for i in range(9)])
    yield opened
    for job in jobs.all_jobs(opened):
        for attempt in range(1, job.attempt + 1):
            for row in jobs.processes(opened, job.id, attempt):
                processes.kill_all([(row.pid, row.create_time)], 0.0)


def enqueued(db: Database, target: int, workers: int = 1) -> int:
    spec = GenerateSpec(target=target, workers=workers, batch=4, seed=3, threshold=0.7)
    return jobs.enqueue(db, "generate", spec.model_dump(mode="json"))


def argv(project: Path, job_id: int) -> list[str]:
    return [sys.executable, str(SCRIPT), "--project", str(project), "--job", str(job_id)]


def started(project: Path, job_id: int, rank: int, step_s: float = 0.004) -> subprocess.Popen[bytes]:
    environment = os.environ | {"RANK": str(rank), "OMP_NUM_THREADS": "1", "SCRIPTED_STEP_S": str(step_s)}
    return subprocess.Popen(argv(project, job_id), cwd=project, env=environment)


def claimed(db: Database, job_id: int) -> None:
    """A new attempt, as a runner begins one."""
    if jobs.get(db, job_id).state != "queued":
        jobs.set_state(db, job_id, "interrupted", reason="killed by the test")
        jobs.requeue(db, job_id)
    assert jobs.claim(db, job_id, *processes.identity())


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def calls(db: Database) -> list[tuple[str, str, int | None, int]]:
    return db.execute("SELECT stage, template, candidate_id, seed FROM completions ORDER BY id").fetchall()


def check_books(db: Database, project: Path) -> None:
    """Every acknowledged answer is there, none twice; what was kept is new against all that was kept before it."""
    stored = calls(db)
    seeds_stored = Counter(seed for _, _, _, seed in stored)
    assert max(seeds_stored.values()) == 1, "no call is stored twice"
    acknowledged = [line.split() for line in (project / "acknowledged").read_text().splitlines()]
    assert {int(seed) for _, _, seed in acknowledged} <= set(seeds_stored)
    about = Counter((stage, candidate) for stage, _, candidate, _ in stored if candidate is not None)
    assert max(about.values(), default=1) == 1, "no candidate is classified or completed twice"
    orphans = "SELECT count(*) FROM candidates WHERE stage = 'done' AND id NOT IN (SELECT candidate_id FROM samples)"
    assert db.execute(orphans).fetchone()[0] == 0
    kept = [text for (text,) in db.execute("SELECT instruction FROM candidates WHERE stage <> 'rejected' ORDER BY id")]
    for later in range(1, len(kept)):
        assert max(rouge_l(kept[later], earlier) for earlier in kept[:later]) <= 0.7


def numbers_asked(db: Database) -> list[int]:
    """The numbers of the instruction calls that are stored."""
    number_of = {derive_seed(3, "instruction", number): number for number in range(5000)}
    return sorted(number_of[seed] for stage, _, _, seed in calls(db) if stage == "instruction")


@pytest.mark.slow
def test_a_hundred_kills_lose_nothing_double_nothing_and_leave_no_gap(project: Path, db: Database) -> None:
    """Three workers; every few of the hundred SIGKILLs take all of them, as the death of the runner does."""
    job_id = enqueued(db, target=100_000, workers=3)
    rng = random.Random(0)
    claimed(db, job_id)
    crew = {rank: started(project, job_id, rank) for rank in range(3)}
    killed, all_at_once = 0, 0
    try:
        while killed < 100:
            time.sleep(rng.uniform(0.0, 0.9))
            whole = rng.random() < 0.08
            for rank in list(crew) if whole else [rng.randrange(3)]:
                crew[rank].kill()
                assert crew[rank].wait() == -signal.SIGKILL, "no worker ends by itself, least of all with an error"
                killed += 1
                if not whole:
                    leases.release(db, job_id, rank)
            if whole:
                all_at_once += 1
                claimed(db, job_id)
            for rank, process in crew.items():
                if process.poll() is not None:
                    crew[rank] = started(project, job_id, rank)
        assert all_at_once > 0
    finally:
        for process in crew.values():
            process.kill()
            process.wait()
    check_books(db, project)
    before = numbers_asked(db)
    assert len(before) > 20, "something was done between the kills"
    usable = "SELECT count(*) FROM samples WHERE state = 'pending'"
    # More than the instructions that wait can give, so that new ones have to be asked for.
    target = db.execute(usable).fetchone()[0] + 5 * sum(candidates.count_waiting(db).values()) + 8
    db["jobs"].update(job_id, {"spec": GenerateSpec(target=target, batch=4, seed=3).model_dump_json()})
    claimed(db, job_id)
    assert started(project, job_id, 0).wait(PATIENCE_S) == 0
    check_books(db, project)
    asked = numbers_asked(db)
    assert len(asked) == len(set(asked)) > len(before)
    free = (number for number in count() if number not in before)
    again = sorted(set(asked) - set(before))
    assert again == list(islice(free, len(again))), "what was lost with a worker was asked first, under its own number"


def test_two_workers_share_a_job_and_what_they_know(project: Path, db: Database) -> None:
    job_id = enqueued(db, target=60, workers=2)
    claimed(db, job_id)
    crew = [started(project, job_id, rank, step_s=0.02) for rank in range(2)]
    assert [process.wait(PATIENCE_S) for process in crew] == [0, 0]
    check_books(db, project)
    assert db.execute("SELECT count(*) FROM samples WHERE state = 'pending'").fetchone()[0] >= 60
    assert len(read_live(project, job_id)) == 2, "each shows what it does in a file of its own"
    assert db["leases"].count == 0, "nothing stays taken"


def test_a_flip_is_answered_by_the_next_generation_though_the_target_is_met(project: Path, db: Database) -> None:
    job_id = enqueued(db, target=6)
    claimed(db, job_id)
    assert started(project, job_id, 0).wait(PATIENCE_S) == 0
    (first, candidate), *_ = db.execute("SELECT id, candidate_id FROM samples WHERE state = 'pending'").fetchall()
    command = Path(sys.executable).with_name("alpaca-tui")
    flip = [str(command), "--project", str(project), "review", "flip", str(first)]
    said = subprocess.run(flip, capture_output=True, text=True, check=True).stdout
    assert f"instruction {candidate} is a classification task now; samples that left the queue: 1" in said
    ready = db.execute("SELECT count(*) FROM samples WHERE state = 'pending'").fetchone()[0]
    again = enqueued(db, target=ready)
    claimed(db, again)
    assert started(project, again, 0).wait(PATIENCE_S) == 0
    asked = db.execute("SELECT template, candidate_id FROM completions WHERE job_id = ?", [again]).fetchall()
    assert ("output_first", candidate) in asked
    assert not [template for template, _ in asked if template == "instruction"], "nothing is invented beyond the target"
    query = "SELECT state, rejected_by FROM samples WHERE candidate_id = ? ORDER BY id"
    states = db.execute(query, [candidate]).fetchall()
    assert states[0] == ("filtered", "reclassified")
    assert states[-1] == ("pending", None)


def test_a_rescue_is_completed_by_the_next_generation_though_the_target_is_met(project: Path, db: Database) -> None:
    job_id = enqueued(db, target=60)
    claimed(db, job_id)
    assert started(project, job_id, 0).wait(PATIENCE_S) == 0
    query = "SELECT id FROM candidates WHERE stage = 'rejected' ORDER BY id LIMIT 2"
    lost = {id for (id,) in db.execute(query)}
    assert len(lost) == 2
    # Others that wait, before and behind: these nobody waits for.
    db.execute(
        "UPDATE candidates SET stage = 'instance' WHERE id IN (SELECT id FROM candidates WHERE stage = 'done' LIMIT 5)"
    )
    db.execute("UPDATE candidates SET stage = 'instance', is_classification = 0 WHERE stage = 'classification'")
    command = Path(sys.executable).with_name("alpaca-tui")
    rescue = [str(command), "--project", str(project), "review", "rescue", *(f"-i{id}" for id in lost)]
    said = subprocess.run(rescue, capture_output=True, text=True, check=True)
    assert "rescued: 2" in said.stdout and "whatever its target" in said.stderr
    ready = db.execute("SELECT count(*) FROM samples WHERE state = 'pending'").fetchone()[0]
    again = enqueued(db, target=min(6, ready))
    claimed(db, again)
    assert started(project, again, 0).wait(PATIENCE_S) == 0
    asked = db.execute("SELECT stage, candidate_id FROM completions WHERE job_id = ?", [again]).fetchall()
    assert Counter(asked) == Counter((stage, id) for stage in ("classification", "instance") for id in lost)
    stages = dict(db.execute("SELECT id, stage FROM candidates").fetchall())
    assert {stages[id] for id in lost} == {"done"}
    assert {row[0] for row in db.execute("SELECT candidate_id FROM samples WHERE state = 'pending'")} >= lost


def test_a_recipe_without_these_stages_does_not_wait_for_what_was_rescued(project: Path, db: Database) -> None:
    job_id = enqueued(db, target=20)
    claimed(db, job_id)
    assert started(project, job_id, 0).wait(PATIENCE_S) == 0
    (lost,) = db.execute("SELECT id FROM candidates WHERE stage = 'rejected' LIMIT 1").fetchone()
    decisions.rescue(db, candidate_ids=[lost])
    spec = GenerateSpec(target=4, recipe="alpaca", batch=4, seed=3)
    again = jobs.enqueue(db, "generate", spec.model_dump(mode="json"))
    claimed(db, again)
    assert started(project, again, 0).wait(PATIENCE_S) == 0
    assert db["completions"].count_where("job_id = ?", [again]) == 0
    assert db["candidates"].get(lost)["stage"] == "classification", "it is left to a run that has the stage"


def test_a_frozen_worker_loses_its_work_to_another_and_cannot_store_it_later(project: Path, db: Database) -> None:
    """The lease is taken over when it has expired; the sleeper's answer, made in good faith, is not stored."""
    with write(db):
        job_id = enqueued(db, target=1)
        (token,) = leases.take(db, job_id, 0, [("instruction", 7)])
    assert leases.held(db, "instruction") == {7}
    db.execute("UPDATE leases SET expires_at = 0")
    assert leases.held(db, "instruction") == set()
    with write(db):
        (second,) = leases.take(db, job_id, 1, [("instruction", 7)])
    leases.renew(db, [token])
    assert not leases.settle(db, token)
    assert leases.settle(db, second)
    with write(db):
        (third,) = leases.take(db, job_id, 1, [("instruction", 7)])
    assert third not in (token, second), "a fencing token is never used twice"


def job_status(db: Database, project: Path) -> dict[str, Any]:
    """The only job as ``status --json`` tells it."""
    (job,) = status(db, project)["jobs"]
    return job


DRIVER = """
from pathlib import Path
from alpaca_tui.jobs import specs, supervisor
specs.command = lambda project, job: {argv!r}
supervisor.run_job(Path({project!r}), {job_id}, grace_s=20.0)
"""


def test_the_runner_replaces_a_killed_worker_and_a_killed_runner_is_resumed(project: Path, db: Database) -> None:
    job_id = enqueued(db, target=100_000, workers=2)
    driver = DRIVER.format(argv=argv(project, job_id), project=str(project), job_id=job_id)

    def recorded(rank: int) -> Identity | None:
        rows = jobs.processes(db, job_id, jobs.get(db, job_id).attempt)
        found = [Identity(r.pid, r.create_time) for r in rows if r.role == "worker" and r.rank == rank]
        return next((worker for worker in found if processes.alive(*worker)), None)

    def at_work() -> bool:
        return len(read_live(project, job_id)) == 2 and recorded(0) is not None and recorded(1) is not None

    runner = subprocess.Popen([sys.executable, "-c", driver], cwd=project)
    wait_until(at_work, "two workers are at work")
    victim = recorded(1)
    assert victim is not None
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: recorded(1) not in (None, victim), "the killed one is replaced")

    def story() -> str:
        return " ".join(detail for _, _, detail in jobs.events(db, job_id))

    wait_until(lambda: "worker 1 was killed by signal 9; started again (1 of 3)" in story(), "it is told")
    assert jobs.get(db, job_id).state == "running"
    runner.kill()
    runner.wait()
    assert reconcile(db, project) == [job_id]
    assert recorded(0) is None
    assert recorded(1) is None
    jobs.requeue(db, job_id)
    before = len(calls(db))
    runner = subprocess.Popen([sys.executable, "-c", driver], cwd=project)
    wait_until(lambda: len(calls(db)) > before + 20, "the resumed job goes on")
    told: dict[str, Any] = {}

    def learned() -> bool:
        # A time to go is told from the first calls on, be they all of one stage; each stage's yield once it has any.
        told.update(job_status(db, project))
        return bool(told["eta_range_s"]) and set(told["yields"] or ()) == {"instruction", "instance"}

    wait_until(learned, "the time to go and what both stages yield are told")
    assert 0 < told["eta_range_s"][0] <= told["eta_s"] <= told["eta_range_s"][1]
    assert told["workers"] == 2
    assert 0 <= told["progress"] < 1 and told["cost_to_go"] == 0
    jobs.request_stop(db, job_id)
    runner.wait(PATIENCE_S)
    job = jobs.get(db, job_id)
    assert (job.state, job.reason) == ("stopped", "stopped at request")
    check_books(db, project)
