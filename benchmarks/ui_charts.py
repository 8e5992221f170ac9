"""Does a chart of a million points draw like one of a thousand? Ours, and plotext where an interpreter has it.

    python benchmarks/ui_charts.py [--points 1000,10000,100000,1000000] [--draws 20] [--peer PYTHON]

Four series of so many steps each are stored as a training stores them. ``first read`` makes the bounded slices that
cockpit keeps (min, max and mean; in the watcher's thread), ``one more`` reads on from there, ``draw`` makes the lines
of a chart of 100 by 30 cells from them, on the event loop. The peer draws in a process of its own (its
interpreter after ``--peer``, plotext 5; no dependency of the project) the same series: every point, and such slices.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlite_utils import Database

from alpaca_tui.store import jobs, projects
from alpaca_tui.store.database import now, write
from alpaca_tui.ui import charts, glyphs
from alpaca_tui.ui.curves import GrowingCurve
from alpaca_tui.ui.snapshot import Curve

NAMES = ("loss", "eval_loss", "grad_norm", "learning_rate")
STYLES = ("$primary", "$secondary", "$accent", "$warning")
WIDTH, HEIGHT = 100, 30
PEER = """
import sys, time, statistics, random, math
import plotext
points, draws, feed = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rng = random.Random(7)
series = []
for n in range(4):
    values = [(n + 1) * (0.3 + 0.7 / (1 + s / 200)) * rng.uniform(0.9, 1.1) for s in range(points)]
    steps = list(range(points))
    if feed == "slices" and points > 2048:
        size = 2 ** math.ceil(math.log2(points / 2048))
        some, xs = [], []
        for i in range(0, points, size):
            part = values[i:i + size]
            some += [min(part), max(part)]
            xs += [i, i]
        steps, values = xs, some
    series.append((steps, values))
took = []
for _ in range(draws):
    start = time.perf_counter()
    plotext.clear_figure()
    plotext.plotsize(100, 30)
    for steps, values in series:
        plotext.plot(steps, values, marker="braille")
    plotext.build()
    took.append(time.perf_counter() - start)
print(statistics.median(took) * 1000)
"""


def store(db: Database, points: int) -> int:
    """A training with four metrics of so many steps."""
    rng = random.Random(7)
    job = jobs.enqueue(db, "train", {})
    at = now()
    with write(db):
        for n, name in enumerate(NAMES):
            db.conn.executemany(
                "INSERT INTO metrics (job_id, name, step, value, at) VALUES (?, ?, ?, ?, ?)",
                (
                    (job, name, step, (n + 1) * (0.3 + 0.7 / (1 + step / 200)) * rng.uniform(0.9, 1.1), at)
                    for step in range(points)
                ),
            )
    return job


def timed(act: Callable[[], object], times: int) -> float:
    """Milliseconds, the median."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        took.append(time.perf_counter() - start)
    return statistics.median(took) * 1000


def ours(db: Database, points: int, draws: int) -> tuple[float, float, float]:
    """Milliseconds of the first read, of one more step, and of a draw."""
    job = store(db, points)
    growing = [GrowingCurve(job, name) for name in NAMES]
    curves: list[Curve] = []
    first = timed(lambda: curves.extend(one.extend(db) for one in growing), 1)
    with write(db):
        for name in NAMES:
            db["metrics"].insert({"job_id": job, "name": name, "step": points, "value": 1.0, "at": now()})
    more = timed(lambda: [one.extend(db) for one in growing], 1)
    drawn = [
        charts.Curve(c.steps, c.values, style, lows=c.lows, highs=c.highs)
        for c, style in zip(curves, STYLES, strict=True)
    ]
    return first, more, timed(lambda: charts.line_chart(drawn, WIDTH, HEIGHT, glyphs.UNICODE), draws)


def peer(python: str | None, points: int, draws: int, feed: str) -> float:
    """Milliseconds of plotext's draw; not a number where there is no peer."""
    if python is None:
        return math.nan
    times = str(max(1, min(draws, 20_000 // (points // 1000 + 1) // 1000)))
    done = subprocess.run(
        [python, "-c", PEER, str(points), times, feed], capture_output=True, text=True, check=False, timeout=300
    )
    return float(done.stdout) if done.returncode == 0 else math.nan


def main() -> None:
    """Store, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", default="1000,10000,100000,1000000")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--peer", metavar="PYTHON")
    given = parser.parse_args()
    print(
        f"4 series, {WIDTH} x {HEIGHT} cells, ms    first read  one more step     draw   plotext, all   plotext, slices"
    )
    for points in map(int, given.points.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            db, _ = projects.ensure(Path(folder) / "charts")
            first, more, draw = ours(db, points, given.draws)
            db.close()
        every, some = (peer(given.peer, points, given.draws, feed) for feed in ("all", "slices"))
        print(f"  {points:>12,} points each {first:14.1f} {more:9.1f} {draw:8.1f} {every:13.1f} {some:16.1f}")


if __name__ == "__main__":
    main()
