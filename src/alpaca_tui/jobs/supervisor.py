"""What a runner does: start the worker, beat, see to a stop, leave nothing behind, record how it ended."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlite_utils import Database

from alpaca_tui.core.errors import LOST_PEERS, AlpacaError, UsageError
from alpaca_tui.core.jobstates import ACTIVE
from alpaca_tui.jobs import live, logs, processes, specs
from alpaca_tui.jobs.crew import EXIT_STOPPED, MAX_RESTARTS, Crew
from alpaca_tui.jobs.processes import Identity
from alpaca_tui.store import jobs, leases
from alpaca_tui.store.database import data_version, open_project

RUNNER_VARIABLE = "ALPACA_TUI_RUNNER"
"""Tells a worker who its runner is: pid and create time with a colon between them."""
OUTCOME = "outcome.json"
"""What the worker of rank 0 says on leaving. A launcher between it and the runner turns every exit code into 1."""

_POLL_S = 0.25
_BEAT_S = 1.0
_LOG_CHECK_S = 5.0
_ORPHAN_GRACE_S = 10.0
_HELPER_GRACE_S = 2.0
_RECORD_RETRY_S = 600.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a worker ended. Exit codes as in subprocess: −N is signal N; ``said`` is what the worker itself gave."""

    exit_code: int
    stop_requested: bool = False
    killed: bool = False
    said: int | None = None
    error: str | None = None
    launcher_signal: int | None = None


def conclude(ending: Ending, job_id: int, grace_s: float) -> tuple[str, str | None]:
    """The job's final state and, unless it succeeded, the reason in one sentence."""
    logs_hint = f"see its log: alpaca-tui jobs logs {job_id}"
    # A worker that had said its word and then hung in leaving lost nothing by being killed.
    if ending.exit_code == 0 or (ending.killed and ending.said == 0):
        return "succeeded", None
    if ending.killed and ending.said != EXIT_STOPPED:
        return "stopped", f"it did not stop within {grace_s:g} s of the request and was killed; what was saved is kept"
    # With several ranks, one that failed makes the launcher stop the others, rank 0 among them.
    if EXIT_STOPPED in (ending.exit_code, ending.said) and (ending.stop_requested or ending.error is None):
        return "stopped", "stopped at request" if ending.stop_requested else "stopped by a signal from outside"
    if ending.exit_code == EXIT_STOPPED and ending.said == EXIT_STOPPED:
        return "stopped", ending.error  # the worker's own decision: a budget is used up
    if ending.error is not None and not (ending.launcher_signal and ending.error.startswith(LOST_PEERS)):
        return "failed", ending.error
    if ending.stop_requested:
        return "stopped", "stopped at request before it had anything to save"
    number = -ending.exit_code if ending.exit_code < 0 else ending.launcher_signal
    if number is not None:
        hint = " (out of memory?)" if number == signal.SIGKILL else f"; {logs_hint}"
        return "failed", f"killed by signal {number}{hint}"
    return "failed", f"the worker ended with exit code {ending.exit_code} and gave no reason; {logs_hint}"


def run_job(
    project: Path,
    job_id: int,
    argv: Sequence[str] | None = None,
    *,
    grace_s: float | None = None,
    on_taken: Callable[[], None] | None = None,
) -> None:
    """Take the queued job and run it to its end in this process; without ``argv``, the command of its kind.

    Where another runner has the job, returns at once. ``on_taken`` is called when the job has a runner, this or
    another. Raises UsageError where the job doesn't wait to be run.
    """
    project = project.absolute()
    db = open_project(project)
    job = jobs.claim(db, job_id, *processes.identity())
    if job is None:
        state = jobs.get(db, job_id).state
        if state not in ACTIVE:
            raise UsageError(f"job {job_id} is {state}, not queued")
    if on_taken:
        on_taken()
    if job is not None:
        Supervisor(db, project, job, argv, specs.GRACE_S[job.kind] if grace_s is None else grace_s).run()


class Supervisor:
    """One attempt at one job: ``run`` is initialise, loop, shut down."""

    def __init__(
        self, db: Database, project: Path, job: jobs.JobRow, argv: Sequence[str] | None, grace_s: float
    ) -> None:
        self._db = db
        self._project = project
        self._job = job
        self._argv = argv
        self._grace_s = grace_s
        self._me = processes.identity()
        self._log = logs.log_path(project, job.id)
        self._log_start = 0
        self._signalled = False
        self._stop_requested = False
        self._deadline: float | None = None
        self._asked: set[Identity] = set()
        self._data_version: int | None = None
        self._beat_due = 0.0
        self._log_due = 0.0
        self._trouble = ""

    def run(self) -> None:
        """Run the worker to its end. Whatever happens here, no process is left and the row says how it ended."""
        ending: tuple[str, str | None]
        code: int | None = None
        try:
            crew = self._initialise()
            killed = self._loop(crew)
            killed = self._clear() or killed
            code = crew.wait()
            ending = conclude(self._ending(code, killed), self._job.id, self._grace_s)
        except Exception as error:
            self._clear()
            failure = f"the worker could not be run: {type(error).__name__}: {error}"
            ending = ("failed", str(error) if isinstance(error, AlpacaError) else failure)
        self._record(*ending, code)

    def _initialise(self) -> Crew:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        processes.adopt_orphans()
        live.clear_live(self._project, self._job.id)
        self._beat()
        argv = list(self._argv) if self._argv is not None else specs.command(self._project, self._job)
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        with logs.open_append(self._log) as log:
            log.write(logs.header(self._job.attempt, argv))
        size = 1 if self._argv is not None else specs.workers(self._job)
        restarts = MAX_RESTARTS if self._argv is None and self._job.kind == "generate" else 0
        return Crew(lambda rank: self._start(argv, rank, size), size, restarts)

    def _start(self, argv: list[str], rank: int, size: int) -> subprocess.Popen[bytes]:
        with logs.open_append(self._log) as log:
            process = self._popen(argv, log, specs.environment(self._job, rank, size))
        role = "launcher" if self._job.kind == "train" else "worker"
        try:
            who = processes.identity(process.pid)
            jobs.add_process(self._db, self._job.id, self._job.attempt, role, rank, *who)
        except ProcessLookupError:
            pass  # it has ended already
        except (sqlite3.Error, AlpacaError) as error:
            self._note(error)  # the worker registers itself, too
        return process

    def _popen(self, argv: list[str], log: IO[bytes], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        def tie() -> None:
            processes.die_with_parent()
            if os.getppid() != self._me.pid:
                os._exit(1)

        runner = f"{self._me.pid}:{self._me.create_time}"
        # preexec_fn is safe here: the runner has no second thread. Its own session: no signal meant for a terminal's
        # group, or for the runner's, reaches the worker.
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self._project,
            env=os.environ | environment | {RUNNER_VARIABLE: runner},
            start_new_session=True,
            preexec_fn=tie,
        )

    def _on_signal(self, number: int, frame: object) -> None:
        self._signalled = True

    def _loop(self, crew: Crew) -> bool:
        """Wait for the workers' end; return whether one overstayed the grace after a stop request."""
        while True:
            self._mourn(crew)
            if not crew.at_work:
                return False
            self._tick()
            if self._stop_requested:
                if self._deadline is None:
                    self._deadline = time.monotonic() + self._grace_s
                if time.monotonic() >= self._deadline:
                    return True
                self._ask_to_stop()
            time.sleep(_POLL_S)

    def _mourn(self, crew: Crew) -> None:
        """Give back what dead workers had taken, start killed ones again, and write both into the job's story."""
        for death in crew.watch(restart=not self._stop_requested and not self._signalled):
            how = f"was killed by signal {-death.code}" if death.code < 0 else f"failed with exit code {death.code}"
            then = f"; started again ({death.restarted} of {MAX_RESTARTS})" if death.restarted else ""
            try:
                if self._job.kind == "generate":
                    leases.release(self._db, self._job.id, death.rank)
                if death.restarted or crew.size > 1:
                    jobs.event(self._db, self._job.id, "worker", f"worker {death.rank} {how}{then}")
            except (sqlite3.Error, AlpacaError) as error:
                self._note(error)  # the leases expire by themselves

    def _tick(self) -> None:
        self._beat()
        if time.monotonic() >= self._log_due:
            self._log_due = time.monotonic() + _LOG_CHECK_S
            logs.bound(self._log)
        try:
            self._watch_for_stop()
        except (sqlite3.Error, AlpacaError, OSError) as error:
            self._note(error)  # busy, or the disk is full: the next tick tries again

    def _watch_for_stop(self) -> None:
        if self._signalled and not self._stop_requested:
            self._stop_requested = True  # whatever the database says to it
            if jobs.get(self._db, self._job.id).state == "running":
                jobs.request_stop(self._db, self._job.id)
        version = data_version(self._db)
        if version != self._data_version:
            if jobs.get(self._db, self._job.id).state == "stopping":
                self._stop_requested = True
            self._data_version = version

    def _beat(self) -> None:
        if time.monotonic() >= self._beat_due:
            self._beat_due = time.monotonic() + _BEAT_S
            live.beat(self._project, self._job.id, *self._me)

    def _note(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if text != self._trouble:
            self._trouble = text
            print(text, file=sys.stderr, flush=True)

    def _ask_to_stop(self) -> None:
        """SIGTERM, once each, to the workers; to everything where none has registered yet: nothing is to be saved.

        Not to a launcher with workers: it would end at once and take them with it in the middle of a save.
        """
        workers = self._workers()
        for target in workers if workers is not None else processes.descendants():
            if target not in self._asked:
                self._asked.add(target)
                processes.send(target, signal.SIGTERM)

    def _workers(self) -> list[Identity] | None:
        """The living workers on record; None where none has ever registered."""
        try:
            rows = jobs.processes(self._db, self._job.id, self._job.attempt)
        except sqlite3.Error as error:
            self._note(error)
            return []
        workers = [Identity(row.pid, row.create_time) for row in rows if row.role == "worker"]
        return [worker for worker in workers if processes.alive(*worker)] if workers else None

    def _clear(self) -> bool:
        """End whatever is left: workers in sessions of their own, helpers; return whether it took force after a stop.

        Orphans have become our children, so that none is missed, whether recorded or not.
        """
        grace = _ORPHAN_GRACE_S
        if self._deadline is not None:
            grace = max(0.0, self._deadline - time.monotonic())
        workers = self._workers()
        overstayed = False
        if workers:
            processes.kill_all(workers, grace, self._beat)
            overstayed = self._deadline is not None and time.monotonic() >= self._deadline
        processes.kill_all(processes.descendants(), _HELPER_GRACE_S, self._beat)
        return overstayed

    def _ending(self, code: int, killed: bool) -> Ending:
        value = live.read_json(live.live_dir(self._project, self._job.id) / OUTCOME) or {}
        current = value.get("attempt") == self._job.attempt
        said = value.get("code") if current else None
        return Ending(
            exit_code=code,
            stop_requested=self._stop_requested,
            killed=killed,
            said=said,
            error=logs.error_line(self._log, self._log_start),
            launcher_signal=logs.signal_named(self._log, self._log_start) if self._job.kind == "train" else None,
        )

    def _record(self, state: str, reason: str | None, code: int | None) -> None:
        """Write down the end; a database that is busy, or a disk that is full, is waited for."""
        tail = logs.tail(self._log, start=self._log_start) or None
        give_up = time.monotonic() + _RECORD_RETRY_S
        while True:
            self._beat()
            try:
                jobs.set_state(
                    self._db,
                    self._job.id,
                    state,
                    reason=reason,
                    exit_code=code,
                    log_tail=tail,
                    attempt=self._job.attempt,
                )
                return
            except (sqlite3.Error, AlpacaError) as error:
                self._note(error)
                if time.monotonic() >= give_up:
                    raise
            time.sleep(_BEAT_S)
