"""A running generation as the cockpit sees one: live snapshots rewritten, rows stored, a runner that beats.

    python benchmarks/streams.py PROJECT [--streams 8] [--tokens-per-s 50] [--rows-per-s 4] [--seconds 3600]

No model runs: the text is words by chance. Everything else goes through the functions that workers use, in a process of
its own, which is the job's runner; it ends the job when it is told to stop (SIGTERM) or its time is up.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from big_project import WORDS, text

from alpaca_tui import resources
from alpaca_tui.core.records import Completion, Request, SamplingParams, Verdict
from alpaca_tui.jobs import live, processes
from alpaca_tui.store import candidates, completions, jobs, projects, seeds
from alpaca_tui.store.database import write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlite_utils import Database

TURN_S = 1 / 6
"""As often as a worker replaces its snapshot."""
TOKENS_OF_A_TEXT = 180


class Ended(Exception):
    """SIGTERM came."""


def stream(project: Path, streams: int, tokens_per_s: float, rows_per_s: float, seconds: float) -> None:
    """Be the job until the time is up or SIGTERM comes."""
    db, _ = projects.ensure(project)
    me = processes.identity()
    job = jobs.enqueue(db, "generate", {"target": 100_000, "recipe": "self-instruct", "model": "smollm2-135m"})
    live.clear_live(project, job)
    jobs.claim(db, job, *me)
    signal.signal(signal.SIGTERM, _end)
    try:
        _work(db, project, job, me, (streams, tokens_per_s, rows_per_s), time.monotonic() + seconds)
    except Ended:
        pass
    finally:
        jobs.set_state(db, job, "succeeded", exit_code=0)
        db.close()


def _end(number: int, frame: object) -> None:
    raise Ended


def _work(
    db: Database,
    project: Path,
    job: int,
    me: processes.Identity,
    pace: tuple[int, float, float],
    until: float,
) -> None:
    """Write on: one live file a stream, so eight workers with one slot each."""
    streams, tokens_per_s, rows_per_s = pace
    rng = random.Random(7)
    writers = [live.LiveWriter(project, job, n, hz=1000) for n in range(streams)]
    written = [rng.choices(WORDS, k=rng.randrange(TOKENS_OF_A_TEXT)) for _ in writers]
    began, turn, next_row, next_beat, row = time.monotonic(), 0, 0.0, 0.0, 0
    made = [0.0] * streams
    while time.monotonic() < until:
        for n, writer in enumerate(writers):
            made[n] += tokens_per_s * TURN_S
            new = int(made[n])
            made[n] -= new
            if len(written[n]) > TOKENS_OF_A_TEXT:
                written[n] = []
            written[n] += rng.choices(WORDS, k=new)
            slot = live.Slot("new instructions", "instruction", " ".join(written[n]), len(written[n]))
            writer.write(live.LiveSnapshot(time.time(), "writing instructions", 0.5, tokens_per_s, 600, (slot,)))
        now = time.monotonic()
        if now >= next_beat:
            live.beat(project, job, *me)
            next_beat = now + 1
        if rows_per_s and now >= next_row:
            row += 1
            _row(db, job, row, rng)
            next_row = now + 1 / rows_per_s
        turn += 1
        time.sleep(max(0.0, began + turn * TURN_S - time.monotonic()))


def _row(db: Database, job: int, number: int, rng: random.Random) -> None:
    """One response with one kept instruction, in one transaction."""
    pack = resources.read_pack("self-instruct")
    shown = seeds.pool(db)[:6]
    variables: dict[str, object] = {"demonstrations": [entry.instruction for entry in shown]}
    request = Request("prompt", SamplingParams(), number)
    call = completions.Call(
        job, "instruction", "instruction", pack.hash, "smollm2-135m", variables, request, None, tuple(shown)
    )
    with write(db):
        done = completions.record(db, call, Completion("answer", "stop", 400, 60, 2.5), None)
        candidates.add(db, done, 0, text(rng, 5, 30), [Verdict("length", True)], "rouge")


@contextmanager
def streaming(project: Path, streams: int = 8, tokens_per_s: float = 50, rows_per_s: float = 4) -> Iterator[None]:
    """Such a job in the background for as long as the block lasts."""
    command = [sys.executable, __file__, str(project), "--streams", str(streams)]
    command += ["--tokens-per-s", str(tokens_per_s), "--rows-per-s", str(rows_per_s)]
    process = subprocess.Popen(command)
    try:
        time.sleep(2.0)
        if process.poll() is not None:
            raise SystemExit("the streams ended at once")
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens-per-s", type=float, default=50)
    parser.add_argument("--rows-per-s", type=float, default=4)
    parser.add_argument("--seconds", type=float, default=3600)
    given = parser.parse_args()
    stream(given.project, given.streams, given.tokens_per_s, given.rows_per_s, given.seconds)
