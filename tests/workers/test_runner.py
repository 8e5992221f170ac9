"""A job outlives its terminal, stops when told to, leaves no process behind, and always says how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlite_utils import Database

from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.jobs import live, logs, processes, spawn
from alpaca_tui.jobs.follow import follow
from alpaca_tui.jobs.processes import Identity
from alpaca_tui.jobs.reconcile import reconcile
from alpaca_tui.jobs.specs import GenerateSpec, Spec, TrainSpec, recipe_path
from alpaca_tui.jobs.status import status
from alpaca_tui.jobs.supervisor import RUNNER_VARIABLE, Ending, conclude
from alpaca_tui.store import jobs
from alpaca_tui.store.database import create_project

PATIENCE_S = 60.0

WORKER = """
import sys, time
from alpaca_tui.core.errors import AlpacaError, Cancelled
from alpaca_tui.jobs.live import LiveSnapshot
from alpaca_tui.workers.base import worker_main

def run(context):
{body}

sys.exit(worker_main(run))
"""

UNTIL_STOPPED = """
print("at work", flush=True)
while not context.stopping():
    context.live.write(LiveSnapshot(time.time(), "waiting", 0.5, 12.0, 30.0))
    time.sleep(0.02)
print("saved", flush=True)
raise Cancelled
"""

DEAF = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("at work", flush=True)
time.sleep(600)
"""

# A rank as torchrun leaves it: a session of its own, its launcher gone, deaf to SIGTERM.
ORPHANING_LAUNCHER = """
import subprocess, sys
rank = '''
import signal, sys, time
from pathlib import Path
from alpaca_tui.jobs import processes
from alpaca_tui.store import jobs
from alpaca_tui.store.database import open_project
signal.signal(signal.SIGTERM, signal.SIG_IGN)
jobs.add_process(open_project(Path(".")), 1, 1, "worker", 1, *processes.identity())
print("registered", flush=True)
time.sleep(600)
'''
child = subprocess.Popen([sys.executable, "-c", rank], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print("error: the launcher gave up", flush=True)
sys.exit(3)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


@pytest.fixture
def db(project: Path) -> Iterator[Database]:
    opened = create_project(project)
    yield opened
    # Whatever a failing test leaves behind must not outlive it.
    for job in jobs.all_jobs(opened):
        for attempt in range(1, job.attempt + 1):
            for row in jobs.processes(opened, job.id, attempt):
                processes.kill_all([(row.pid, row.create_time)], 0.0)


def queued(db: Database, kind: str = "generate") -> int:
    return jobs.enqueue(db, kind, GenerateSpec(target=1).model_dump(mode="json"))


def worker(body: str) -> str:
    return WORKER.format(body=textwrap.indent(textwrap.dedent(body), "    "))


def runner(project: Path, job_id: int, script: str, grace_s: float = 20.0) -> subprocess.Popen[bytes]:
    """A real runner process that runs a script in the worker's place."""
    path = project / f"script-{time.monotonic_ns()}.py"
    path.write_text(script, "utf-8")
    argv = [sys.executable, str(path), "--project", str(project), "--job", str(job_id)]
    driver = (
        "from pathlib import Path\nfrom alpaca_tui.jobs import supervisor\nsupervisor._ORPHAN_GRACE_S = 0.5\n"
        f"supervisor.run_job(Path({str(project)!r}), {job_id}, {argv!r}, grace_s={grace_s})"
    )
    return subprocess.Popen([sys.executable, "-c", driver])


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def wait_for_log(project: Path, job_id: int, text: str) -> None:
    wait_until(lambda: text in logs.lines(logs.log_path(project, job_id)), f"the log says {text!r}")


def recorded(db: Database, job_id: int, role: str, rank: int = 0) -> Identity:
    job = jobs.get(db, job_id)
    rows = [p for p in jobs.processes(db, job_id, job.attempt) if (p.role, p.rank) == (role, rank)]
    assert rows, f"no {role} of rank {rank} is recorded"
    return Identity(rows[0].pid, rows[0].create_time)


def all_gone(db: Database, job_id: int) -> bool:
    job = jobs.get(db, job_id)
    rows = jobs.processes(db, job_id, job.attempt)
    assert rows
    return not any(processes.alive(p.pid, p.create_time) for p in rows)


# How a job ends ------------------------------------------------------------------------------------------------


def test_a_worker_that_reaches_its_goal_makes_the_job_succeed(project: Path, db: Database) -> None:
    job_id = queued(db)
    assert runner(project, job_id, worker("print('tokens: 7')")).wait(PATIENCE_S) == 0
    job = jobs.get(db, job_id)
    assert (job.state, job.exit_code, job.reason) == ("succeeded", 0, None)
    assert job.log_tail is not None and job.log_tail.startswith("--- attempt 1, ")
    assert job.log_tail.endswith("tokens: 7")
    assert [detail for _, kind, detail in jobs.events(db, job_id) if kind == "state"] == [
        "queued",
        "running",
        "succeeded",
    ]


def test_a_failing_worker_gives_its_one_sentence_as_the_reason(project: Path, db: Database) -> None:
    job_id = queued(db)
    body = "raise AlpacaError('the model directory /models/llama holds\\nno tokenizer.json')"
    runner(project, job_id, worker(body)).wait(PATIENCE_S)
    job = jobs.get(db, job_id)
    assert (job.state, job.exit_code) == ("failed", 1)
    assert job.reason == "the model directory /models/llama holds no tokenizer.json"
    assert "Traceback" not in (job.log_tail or "")


def test_an_unforeseen_error_keeps_its_traceback_in_the_log(project: Path, db: Database) -> None:
    job_id = queued(db)
    runner(project, job_id, worker("{}['absent']")).wait(PATIENCE_S)
    job = jobs.get(db, job_id)
    assert (job.state, job.reason) == ("failed", "KeyError: 'absent'")
    assert "Traceback" in (job.log_tail or "")


def test_a_worker_that_cannot_even_begin_gives_the_reason_of_its_traceback(project: Path, db: Database) -> None:
    job_id = queued(db)
    runner(project, job_id, "import no_such_library").wait(PATIENCE_S)
    job = jobs.get(db, job_id)
    assert (job.state, job.reason) == ("failed", "ModuleNotFoundError: No module named 'no_such_library'")


def test_a_worker_killed_from_outside_is_named_as_such(project: Path, db: Database) -> None:
    job_id = queued(db)
    process = runner(project, job_id, worker(UNTIL_STOPPED))
    wait_for_log(project, job_id, "at work")
    os.kill(recorded(db, job_id, "worker").pid, signal.SIGKILL)
    process.wait(PATIENCE_S)
    job = jobs.get(db, job_id)
    assert (job.state, job.exit_code, job.reason) == ("failed", -9, "killed by signal 9 (out of memory?)")


def test_a_command_that_cannot_be_run_fails_the_job(project: Path, db: Database) -> None:
    job_id = queued(db)
    driver = (
        "from pathlib import Path\nfrom alpaca_tui.jobs.supervisor import run_job\n"
        f"run_job(Path({str(project)!r}), {job_id}, ['/nonexistent/python'])"
    )
    subprocess.run([sys.executable, "-c", driver], check=True, timeout=PATIENCE_S)
    job = jobs.get(db, job_id)
    assert job.state == "failed" and "/nonexistent/python" in (job.reason or "")


def test_the_log_tail_is_short_and_inert(project: Path, db: Database) -> None:
    job_id = queued(db)
    body = """
        for i in range(60):
            print(f"line {i} \\x1b[31mred\\x1b[0m \\x1b]0;title\\x07 " + "x" * 400)
        print("10%\\r50%\\r100%")
    """
    runner(project, job_id, worker(body)).wait(PATIENCE_S)
    tail = jobs.get(db, job_id).log_tail or ""
    assert "\x1b" not in tail and "title" not in tail and "[31m" not in tail
    assert tail.endswith("100%") and "50%" not in tail
    assert len(tail.encode()) <= 4096


# Stopping ------------------------------------------------------------------------------------------------------


def test_a_stop_lets_the_worker_save_and_leave(project: Path, db: Database) -> None:
    job_id = queued(db)
    process = runner(project, job_id, worker(UNTIL_STOPPED))
    wait_for_log(project, job_id, "at work")
    assert jobs.request_stop(db, job_id).state == "stopping"
    process.wait(PATIENCE_S)
    job = jobs.get(db, job_id)
    assert (job.state, job.exit_code, job.reason) == ("stopped", 75, "stopped at request")
    assert (job.log_tail or "").endswith("saved")
    assert all_gone(db, job_id)


def test_a_worker_that_ignores_the_stop_is_killed_after_the_grace(project: Path, db: Database) -> None:
    job_id = queued(db)
    process = runner(project, job_id, DEAF, grace_s=0.5)
    wait_for_log(project, job_id, "at work")
    jobs.request_stop(db, job_id)
    process.wait(PATIENCE_S)
    job = jobs.get(db, job_id)
    assert (job.state, job.exit_code) == ("stopped", -9)
    assert "did not stop within 0.5 s" in (job.reason or "")
    assert all_gone(db, job_id)


def test_terminating_the_runner_is_a_stop_request(project: Path, db: Database) -> None:
    job_id = queued(db)
    process = runner(project, job_id, worker(UNTIL_STOPPED))
    wait_for_log(project, job_id, "at work")
    process.terminate()
    process.wait(PATIENCE_S)
    job = jobs.get(db, job_id)
    assert (job.state, job.exit_code, job.reason) == ("stopped", 75, "stopped at request")
    assert job.stop_requested_at is not None


def test_a_goal_reached_while_stopping_counts(project: Path, db: Database) -> None:
    job_id = queued(db)
    body = "print('at work', flush=True)\nwhile not context.stopping(): time.sleep(0.02)"
    process = runner(project, job_id, worker(body))
    wait_for_log(project, job_id, "at work")
    jobs.request_stop(db, job_id)
    process.wait(PATIENCE_S)
    assert jobs.get(db, job_id).state == "succeeded"


def test_a_signal_while_leaving_does_not_change_the_ending(project: Path, db: Database) -> None:
    """The interpreter puts the default handlers back on its way out: a late SIGTERM would kill it there."""
    job_id = queued(db)
    body = """
        import os, subprocess
        storm = f"import os\\nwhile True: os.kill({os.getpid()}, 15)"
        subprocess.Popen([sys.executable, "-c", storm])
        while not context.stopping(): time.sleep(0.01)
        raise Cancelled
    """
    runner(project, job_id, worker(body)).wait(PATIENCE_S)
    assert jobs.get(db, job_id).exit_code == 75


def test_a_queued_job_stops_at_once_and_no_runner_takes_it(project: Path, db: Database) -> None:
    job_id = queued(db)
    assert spawn.stop(db, project, job_id).state == "stopped"
    with pytest.raises(AlpacaError, match=f"job {job_id} is stopped, not queued"):
        spawn.start(project, job_id)
    assert jobs.get(db, job_id).state == "stopped"


# Launchers and ranks -------------------------------------------------------------------------------------------


def test_a_rank_in_a_session_of_its_own_does_not_outlive_the_job(project: Path, db: Database) -> None:
    job_id = queued(db, "train")
    process = runner(project, job_id, ORPHANING_LAUNCHER)
    wait_until(lambda: len(jobs.processes(db, job_id, 1)) == 3, "the rank is registered")
    rank = recorded(db, job_id, "worker", 1)
    assert os.getsid(rank.pid) == rank.pid
    process.wait(PATIENCE_S)
    job = jobs.get(db, job_id)
    assert (job.state, job.exit_code, job.reason) == ("failed", 3, "the launcher gave up")
    assert all_gone(db, job_id)


def test_a_stop_goes_to_the_ranks_and_their_word_counts_behind_a_launcher(project: Path, db: Database) -> None:
    """As accelerate does, this launcher dies of SIGTERM at once and turns every exit code into 1."""
    job_id = queued(db, "train")
    rank = project / "rank.py"
    rank.write_text(worker(UNTIL_STOPPED), "utf-8")
    launcher = (
        f"import subprocess, sys\nsys.exit(subprocess.call([sys.executable, {str(rank)!r}, *sys.argv[1:]]) and 1)"
    )
    process = runner(project, job_id, launcher)
    wait_for_log(project, job_id, "at work")
    assert recorded(db, job_id, "launcher").pid != recorded(db, job_id, "worker").pid
    jobs.request_stop(db, job_id)
    process.wait(PATIENCE_S)
    job = jobs.get(db, job_id)
    assert (job.state, job.exit_code, job.reason) == ("stopped", 1, "stopped at request")
    assert (job.log_tail or "").endswith("saved")


@pytest.mark.parametrize("launcher", ["accelerate", "torchrun"])
@pytest.mark.slow
def test_real_launchers_hand_on_the_stop_and_leave_no_rank(project: Path, db: Database, launcher: str) -> None:
    job_id = queued(db, "train")
    rank = project / "rank.py"
    rank.write_text(worker(UNTIL_STOPPED), "utf-8")
    start = {
        "accelerate": ["-m", "accelerate.commands.launch", "--config_file", str(recipe_path("cpu"))],
        "torchrun": ["-m", "torch.distributed.run", "--nproc_per_node", "2"],
    }[launcher]
    arguments = [*start, str(rank), "--project", str(project), "--job", str(job_id)]
    script = f"import os, sys\nos.execv(sys.executable, [sys.executable, *{arguments!r}])"
    process = runner(project, job_id, script)
    ranks = 2 if launcher == "torchrun" else 1
    log = logs.log_path(project, job_id)
    wait_until(lambda: logs.lines(log).count("at work") == ranks, f"{ranks} ranks are at work")
    assert len(jobs.processes(db, job_id, 1)) == 2 + ranks
    jobs.request_stop(db, job_id)
    process.wait(PATIENCE_S)
    job = jobs.get(db, job_id)
    assert (job.state, job.exit_code, job.reason) == ("stopped", 1, "stopped at request")
    assert logs.lines(log).count("saved") == ranks
    assert all_gone(db, job_id)


def test_a_stop_before_any_rank_has_registered_ends_the_launcher_too(project: Path, db: Database) -> None:
    job_id = queued(db, "train")
    script = "import time\nprint('loading', flush=True)\ntime.sleep(600)"
    process = runner(project, job_id, script)
    wait_for_log(project, job_id, "loading")
    jobs.request_stop(db, job_id)
    process.wait(PATIENCE_S)
    job = jobs.get(db, job_id)
    assert (job.state, job.exit_code) == ("stopped", -15)
    assert all_gone(db, job_id)


# Runners that die ----------------------------------------------------------------------------------------------


def test_a_killed_runner_takes_its_worker_along_and_the_job_can_be_resumed(project: Path, db: Database) -> None:
    job_id = queued(db)
    process = runner(project, job_id, worker(UNTIL_STOPPED))
    wait_for_log(project, job_id, "at work")
    process.kill()
    process.wait(PATIENCE_S)
    # The kernel tells the worker; nobody has reconciled yet.
    wait_until(lambda: not processes.alive(*recorded(db, job_id, "worker")), "the worker is gone")
    assert jobs.get(db, job_id).state == "running"
    assert reconcile(db, project) == [job_id]
    job = jobs.get(db, job_id)
    assert job.state == "interrupted"
    assert f"jobs resume {job_id}" in (job.reason or "")
    assert reconcile(db, project) == []
    jobs.requeue(db, job_id)
    runner(project, job_id, worker("print('second attempt')")).wait(PATIENCE_S)
    job = jobs.get(db, job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)
    text = logs.log_path(project, job_id).read_text()
    assert "--- attempt 1, " in text and "--- attempt 2, " in text


def test_a_worker_whose_runner_is_gone_leaves_before_it_touches_anything(project: Path, db: Database) -> None:
    """Between the worker's start and its tie to the runner, the runner may end without the kernel's telling."""
    job_id = queued(db)
    dead = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gone = processes.identity(dead.pid)
    dead.kill()
    dead.wait()
    script = project / "worker.py"
    script.write_text(worker("print('at work')"), "utf-8")
    done = subprocess.run(
        [sys.executable, str(script), "--project", str(project), "--job", str(job_id)],
        env=os.environ | {RUNNER_VARIABLE: f"{gone.pid}:{gone.create_time}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: the runner of this job is gone\n"
    assert jobs.processes(db, job_id, 1) == []


def test_reconciling_kills_a_leftover_worker_before_a_resume_is_possible(
    project: Path, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alpaca_tui.jobs.reconcile._LEFTOVER_GRACE_S", 0.5)
    job_id = queued(db)
    dead = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gone = processes.identity(dead.pid)
    dead.kill()
    dead.wait()
    leftover = subprocess.Popen([sys.executable, "-c", DEAF], start_new_session=True, stdout=subprocess.PIPE)
    assert leftover.stdout is not None and leftover.stdout.readline() == b"at work\n"
    jobs.claim(db, job_id, *gone)
    jobs.add_process(db, job_id, 1, "worker", 0, *processes.identity(leftover.pid))
    assert reconcile(db, project) == [job_id]
    assert leftover.wait(PATIENCE_S) == -signal.SIGKILL


def test_a_pid_that_another_process_got_is_not_the_runner(project: Path, db: Database) -> None:
    job_id = queued(db)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        now_there = processes.identity(bystander.pid)
        jobs.claim(db, job_id, now_there.pid, now_there.create_time - 3600.0)
        assert reconcile(db, project) == [job_id]
        assert bystander.poll() is None, "a process that only shares the pid must not be touched"
    finally:
        bystander.kill()
        bystander.wait()


def test_a_living_runner_is_left_alone(project: Path, db: Database) -> None:
    job_id = queued(db)
    jobs.claim(db, job_id, *processes.identity())
    assert reconcile(db, project) == []


def test_a_runner_on_another_machine_is_believed_while_it_beats(project: Path, db: Database) -> None:
    job_id = queued(db)
    jobs.claim(db, job_id, 2**22 + 1, 1.0)
    live.clear_live(project, job_id)
    path = live.live_dir(project, job_id) / "runner.json"
    live.write_json(path, {"at": time.time(), "pid": 2**22 + 1, "create_time": 1.0, "host": "another-node"})
    assert reconcile(db, project) == []
    live.write_json(path, {"at": time.time() - 60, "pid": 2**22 + 1, "create_time": 1.0, "host": "another-node"})
    assert reconcile(db, project) == [job_id]


def test_a_job_that_no_runner_ever_took_is_interrupted(project: Path, db: Database) -> None:
    fresh, forgotten = queued(db), queued(db)
    with db.conn:
        db.execute("UPDATE job_events SET at = at - 3600 WHERE job_id = ?", [forgotten])
    assert reconcile(db, project) == [forgotten]
    assert jobs.get(db, fresh).state == "queued"


def test_of_two_runners_one_gets_the_job(project: Path, db: Database) -> None:
    job_id = queued(db)
    both = [runner(project, job_id, worker("time.sleep(0.5)")) for _ in range(2)]
    assert [process.wait(PATIENCE_S) for process in both] == [0, 0]
    assert jobs.get(db, job_id).state == "succeeded"
    assert logs.log_path(project, job_id).read_text().count("--- attempt") == 1


# The detached start --------------------------------------------------------------------------------------------


def test_a_job_outlives_the_kill_of_whoever_started_it(project: Path, db: Database) -> None:
    """The job's real command, which ends by itself with a reason: there is no such recipe."""
    starter = (
        "import os, signal\nfrom pathlib import Path\nfrom alpaca_tui.jobs import spawn\n"
        f"spawn.start(Path({str(project)!r}), 1)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    job_id = jobs.enqueue(db, "generate", GenerateSpec(target=1, recipe="no-such-recipe").model_dump(mode="json"))
    done = subprocess.run([sys.executable, "-c", starter], check=False, timeout=PATIENCE_S)
    assert done.returncode == -signal.SIGKILL
    job = jobs.get(db, job_id)
    assert job.state != "queued"
    me = recorded(db, job_id, "runner")
    if processes.alive(*me):
        process = psutil.Process(me.pid)
        assert os.getsid(me.pid) not in (me.pid, os.getsid(0)), "in a session of its own, but not its leader"
        assert process.terminal() is None
    ended = follow(db, project, job_id, lambda job, snapshots: None, interval=0.1)
    assert ended.state == "failed" and ended.reason
    assert (project / "runs" / str(job_id)).stat().st_mode & 0o777 == 0o700
    assert logs.log_path(project, job_id).stat().st_mode & 0o777 == 0o600


def test_a_runner_that_cannot_begin_says_why_and_fails_the_job(
    project: Path, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(AlpacaError, match="could not be started"):
        spawn.submit(db, project, "generate", GenerateSpec(target=1))
    assert jobs.get(db, 1).state == "failed"


def test_an_unknown_kind_or_a_foreign_spec_is_refused(project: Path, db: Database) -> None:
    with pytest.raises(UsageError, match="kinds: generate, train, evaluate"):
        spawn.submit(db, project, "train", GenerateSpec(target=1))
    assert jobs.all_jobs(db) == []


# What is shown -------------------------------------------------------------------------------------------------


def test_status_shows_the_living_job_and_its_end(project: Path, db: Database) -> None:
    job_id = queued(db)
    process = runner(project, job_id, worker(UNTIL_STOPPED))
    wait_for_log(project, job_id, "at work")
    wait_until(lambda: live.read_live(project, job_id), "a snapshot is there")
    value = status(db, project)
    (shown,) = value["jobs"]
    assert (shown["id"], shown["kind"], shown["state"]) == (job_id, "generate", "running")
    assert (shown["progress"], shown["tokens_per_s"], shown["eta_s"]) == (0.5, 12.0, 30.0)
    assert shown["heartbeat_age_s"] is not None
    assert value["samples"]["pending"] == 0 and value["candidates"]["total"] == 0 and value["seeds"] == 0
    spawn.stop(db, project, job_id)
    process.wait(PATIENCE_S)
    (shown,) = status(db, project)["jobs"]
    assert (shown["state"], shown["tokens_per_s"], shown["heartbeat_age_s"]) == ("stopped", None, None)


def test_the_runner_survives_a_busy_database_and_a_full_disk_of_snapshots(project: Path, db: Database) -> None:
    job_id = queued(db)
    process = runner(project, job_id, worker(UNTIL_STOPPED))
    wait_for_log(project, job_id, "at work")
    directory = live.live_dir(project, job_id)
    directory.rename(directory.with_name("elsewhere"))  # every heartbeat fails from now on
    jobs.request_stop(db, job_id)
    db.conn.execute("BEGIN IMMEDIATE")  # the final state has to wait for this
    wait_for_log(project, job_id, "saved")
    time.sleep(1.0)
    assert process.poll() is None
    db.conn.execute("ROLLBACK")
    process.wait(PATIENCE_S)
    assert jobs.get(db, job_id).state == "stopped"


def test_a_log_that_grows_too_long_keeps_its_end_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with logs.open_append(path) as log:
        for i in range(1000):
            log.write(f"line {i}\n".encode())
        assert not logs.bound(path, limit=10**6, kept=100)
        assert logs.bound(path, limit=1000, kept=95)
        log.write(b"afterwards\n")
    kept = path.read_text().splitlines()
    assert kept[0].startswith("--- earlier output was dropped")
    assert kept[1] == "line 990" and kept[-2:] == ["line 999", "afterwards"]
    assert path.stat().st_size < 300


@pytest.mark.parametrize(
    ("ending", "state", "words"),
    [
        (Ending(0, stop_requested=True), "succeeded", None),
        (Ending(75), "stopped", "from outside"),
        (Ending(-9, stop_requested=True, killed=True), "stopped", "did not stop within 20 s"),
        (Ending(-9, stop_requested=True, killed=True, said=75), "stopped", "stopped at request"),
        (Ending(-9, stop_requested=True, killed=True, said=0), "succeeded", None),
        (Ending(1, stop_requested=True, error="the disk is full"), "failed", "the disk is full"),
        (Ending(1, said=75, error="loss is NaN"), "failed", "loss is NaN"),
        (Ending(1, launcher_signal=9), "failed", "signal 9 (out of memory?)"),
        (Ending(-11), "failed", "signal 11; see its log: alpaca-tui jobs logs 7"),
        (Ending(2), "failed", "exit code 2 and gave no reason"),
    ],
)
def test_every_ending_has_its_state_and_reason(ending: Ending, state: str, words: str | None) -> None:
    got, reason = conclude(ending, 7, 20.0)
    assert got == state
    assert reason is None if words is None else words in (reason or "")


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [("generate", GenerateSpec(target=1), "generating"), ("train", TrainSpec(dataset="a"), "training")],
)
def test_a_second_generation_or_training_is_refused(
    project: Path, db: Database, kind: str, spec: Spec, said: str
) -> None:
    job_id, stopped = (jobs.enqueue(db, kind, spec.model_dump(mode="json")) for _ in range(2))
    jobs.set_state(db, stopped, "failed", reason="for this test")
    process = runner(project, job_id, worker(UNTIL_STOPPED))
    wait_for_log(project, job_id, "at work")
    for again in (lambda: spawn.submit(db, project, kind, spec), lambda: spawn.resume(db, project, stopped)):
        with pytest.raises(UsageError, match=f"job {job_id} is {said} .* jobs stop {job_id}"):
            again()
    assert len(jobs.all_jobs(db)) == 2 and jobs.get(db, stopped).state == "failed"
    spawn.stop(db, project, job_id)
    process.wait(PATIENCE_S)
