"""Jobs as rows: states change only as they may, one runner gets a job, and the story of a job is kept."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlite_utils import Database

from alpaca_tui.core.errors import UsageError
from alpaca_tui.store import jobs
from alpaca_tui.store.database import create_project, open_project


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return create_project(tmp_path)


def states(db: Database, job_id: int) -> list[str]:
    return [detail for _, kind, detail in jobs.events(db, job_id) if kind == "state"]


def test_a_job_keeps_its_spec_and_starts_queued(db: Database) -> None:
    job = jobs.get(db, jobs.enqueue(db, "generate", {"target": 3, "recipe": "self-instruct"}))
    assert (job.kind, job.state, job.attempt, job.active) == ("generate", "queued", 1, True)
    assert job.spec == {"target": 3, "recipe": "self-instruct"}
    assert (job.started_at, job.finished_at, job.result) == (None, None, None)


def test_an_unknown_job_is_named(db: Database) -> None:
    with pytest.raises(UsageError, match="there is no job 7"):
        jobs.get(db, 7)


def test_claiming_makes_it_run_and_records_the_runner_with_it(db: Database) -> None:
    job_id = jobs.enqueue(db, "generate", {})
    job = jobs.claim(db, job_id, 4242, 17.25)
    assert job is not None and job.state == "running" and job.started_at is not None
    assert jobs.processes(db, job_id, 1) == [jobs.ProcessRow("runner", 0, 4242, 17.25)]
    assert jobs.claim(db, job_id, 4243, 18.0) is None
    assert jobs.processes(db, job_id, 1) == [jobs.ProcessRow("runner", 0, 4242, 17.25)]


def test_of_many_claims_at_once_one_wins(tmp_path: Path) -> None:
    job_id = jobs.enqueue(create_project(tmp_path), "generate", {})
    barrier = threading.Barrier(6)
    won: list[int] = []

    def claim(pid: int) -> None:
        db = open_project(tmp_path)
        barrier.wait()
        if jobs.claim(db, job_id, pid, 1.0) is not None:
            won.append(pid)

    threads = [threading.Thread(target=claim, args=(pid,)) for pid in range(100, 106)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert [p.pid for p in jobs.processes(open_project(tmp_path), job_id, 1)] == won


def test_a_state_that_may_not_follow_changes_nothing(db: Database) -> None:
    job_id = jobs.enqueue(db, "generate", {})
    assert not jobs.set_state(db, job_id, "succeeded")
    assert jobs.set_state(db, job_id, "running")
    assert jobs.set_state(db, job_id, "failed", reason="no model", exit_code=1, log_tail="last line")
    assert not jobs.set_state(db, job_id, "interrupted", reason="too late")
    job = jobs.get(db, job_id)
    assert (job.state, job.reason, job.exit_code, job.log_tail) == ("failed", "no model", 1, "last line")
    assert states(db, job_id) == ["queued", "running", "failed: no model"]


def test_an_earlier_attempt_cannot_end_a_later_one(db: Database) -> None:
    job_id = jobs.enqueue(db, "generate", {})
    jobs.claim(db, job_id, 1, 1.0)
    jobs.set_state(db, job_id, "interrupted", attempt=1)
    jobs.requeue(db, job_id)
    jobs.claim(db, job_id, 2, 2.0)
    assert not jobs.set_state(db, job_id, "succeeded", attempt=1)
    assert jobs.get(db, job_id).state == "running"
    assert jobs.set_state(db, job_id, "succeeded", attempt=2)


def test_queueing_again_is_a_new_attempt_without_the_old_ending(db: Database) -> None:
    job_id = jobs.enqueue(db, "train", {})
    jobs.claim(db, job_id, 1, 1.0)
    jobs.request_stop(db, job_id)
    jobs.set_state(db, job_id, "stopped", reason="stopped at request", exit_code=75)
    jobs.requeue(db, job_id)
    job = jobs.get(db, job_id)
    assert (job.state, job.attempt) == ("queued", 2)
    assert (job.stop_requested_at, job.finished_at, job.reason, job.exit_code) == (None, None, None, None)
    assert jobs.processes(db, job_id, 2) == []


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_only_what_ended_early_can_be_queued_again(db: Database, state: str) -> None:
    job_id = jobs.enqueue(db, "generate", {})
    for following in {"queued": [], "running": ["running"], "succeeded": ["running", "succeeded"]}[state]:
        jobs.set_state(db, job_id, following)
    with pytest.raises(UsageError, match=f"job {job_id} is {state}"):
        jobs.requeue(db, job_id)


def test_a_stop_request_is_for_the_runner_unless_none_has_the_job(db: Database) -> None:
    waiting, running = jobs.enqueue(db, "generate", {}), jobs.enqueue(db, "generate", {})
    jobs.claim(db, running, 1, 1.0)
    assert jobs.request_stop(db, waiting).state == "stopped"
    stopping = jobs.request_stop(db, running)
    assert stopping.state == "stopping" and stopping.stop_requested_at is not None
    assert jobs.request_stop(db, running) == stopping
    with pytest.raises(UsageError, match="nothing to stop"):
        jobs.request_stop(db, waiting)


def test_a_process_that_registers_again_replaces_itself(db: Database) -> None:
    job_id = jobs.enqueue(db, "train", {})
    for rank, pid in [(0, 10), (1, 11), (0, 10), (1, 12)]:
        jobs.add_process(db, job_id, 1, "worker", rank, pid, 5.0)
    jobs.add_process(db, job_id, 2, "worker", 0, 20, 6.0)
    assert {(p.rank, p.pid) for p in jobs.processes(db, job_id, 1)} == {(0, 10), (1, 12)}
    assert [p.pid for p in jobs.processes(db, job_id, 2)] == [20]


def test_active_jobs_and_since_when(db: Database) -> None:
    first, second, third = (jobs.enqueue(db, "generate", {}) for _ in range(3))
    jobs.claim(db, second, 1, 1.0)
    jobs.request_stop(db, third)
    assert [job.id for job in jobs.active(db)] == [first, second]
    assert jobs.state_since(db, first) == pytest.approx(jobs.get(db, first).created_at, abs=5)
    assert jobs.state_since(db, second) >= jobs.state_since(db, first)


def test_results_and_the_list_by_kind(db: Database) -> None:
    made, trained = jobs.enqueue(db, "generate", {}), jobs.enqueue(db, "train", {})
    jobs.set_result(db, made, {"samples": 30, "tokens": 4000})
    assert jobs.get(db, made).result == {"samples": 30, "tokens": 4000}
    assert [job.id for job in jobs.all_jobs(db)] == [made, trained]
    assert [job.id for job in jobs.all_jobs(db, "train")] == [trained]
