"""What every worker does alike: tie itself to its runner, register, stop when told to, end with one clear line."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from alpaca_tui.core.errors import AlpacaError, Cancelled, Paused
from alpaca_tui.core.text import one_line
from alpaca_tui.jobs import processes
from alpaca_tui.jobs.crew import EXIT_STOPPED
from alpaca_tui.jobs.live import LiveWriter, live_dir, write_json
from alpaca_tui.jobs.processes import Identity
from alpaca_tui.jobs.supervisor import OUTCOME, RUNNER_VARIABLE
from alpaca_tui.store import jobs
from alpaca_tui.store.database import open_project
from alpaca_tui.store.jobs import JobRow

_MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker gets. ``rank`` is 0 where there is one process; ``stopping()`` says whether to save and leave."""

    project: Path
    job: JobRow
    db: Database
    rank: int
    live: LiveWriter
    stopping: Callable[[], bool]


class _StopFlag:
    """A signal handler that only sets a flag."""

    def __init__(self) -> None:
        self._set = False

    def __call__(self) -> bool:
        return self._set

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def ignore(self) -> None:
        """Let no late signal turn an ending that is decided into a death: the interpreter resets handlers on exit."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: object) -> None:
        self._set = True


def worker_main(run: Callable[[WorkerContext], None]) -> int:
    """Run one worker process to its end; return its exit code.

    0: the goal is reached. 75: stopped at request (``run`` raised Cancelled), everything finished is saved. 1: failed;
    the log's last line is "error: " and one sentence (an unforeseen exception's traceback stands before it).
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--project", type=lambda value: Path(value).absolute(), required=True)
    parser.add_argument("--job", type=int, required=True)
    arguments = parser.parse_args()
    rank = int(os.environ.get("RANK", "0"))
    faulthandler.enable()  # a crash in native code leaves a trace in the log
    stopping = _StopFlag()
    stopping.install()
    _tie_to_runner()
    reason = attempt = None
    try:
        db = open_project(arguments.project)
        job = jobs.get(db, arguments.job)
        attempt = job.attempt
        jobs.add_process(db, job.id, job.attempt, "worker", rank, *processes.identity())
        live_dir(arguments.project, job.id).mkdir(mode=0o700, parents=True, exist_ok=True)
        writer = LiveWriter(arguments.project, job.id, rank)
        run(WorkerContext(arguments.project, job, db, rank, writer, stopping))
        code = 0
    except Cancelled:
        code = EXIT_STOPPED
    except Paused as error:
        code, reason = EXIT_STOPPED, str(error)
    except AlpacaError as error:
        code, reason = 1, str(error)
    except Exception as error:
        traceback.print_exc()
        code, reason = 1, f"{type(error).__name__}: {error}"
    stopping.ignore()
    _leave(arguments.project, arguments.job, rank, attempt, code, reason)
    return code


def _tie_to_runner() -> None:
    """Get SIGTERM when the parent ends; leave at once where the runner is gone already.

    SIGTERM, so that what is finished is saved; reconciling kills whoever doesn't go. A rank's parent is the launcher,
    which the runner has tied to itself. Started by hand, there is no runner and nothing to tie to.
    """
    value = os.environ.get(RUNNER_VARIABLE)
    if not value:
        return
    processes.die_with_parent(signal.SIGTERM)
    pid, _, create_time = value.partition(":")
    # Of a parent that ended before the tie was made, nothing is told: then the runner is no ancestor any more.
    if not processes.descends_from(Identity(int(pid), float(create_time))):
        print("error: the runner of this job is gone", file=sys.stderr, flush=True)
        sys.exit(1)


def _leave(project: Path, job_id: int, rank: int, attempt: int | None, code: int, reason: str | None) -> None:
    sys.stdout.flush()
    if reason is not None:
        print(f"error: {one_line(reason)[:_MAX_REASON]}", file=sys.stderr, flush=True)
    if rank == 0 and attempt is not None:
        # A launcher passes every exit code but 0 on as 1.
        write_json(live_dir(project, job_id) / OUTCOME, {"attempt": attempt, "code": code})
