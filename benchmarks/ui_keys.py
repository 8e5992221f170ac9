"""How long from a key to the painted answer, on every screen of a project of 50,000 samples, at rest and streaming?

    python benchmarks/ui_keys.py [--samples 50000] [--rounds 12] [--columns 120] [--rows 40]

The real command in a real pty. Keys are 150 ms apart, as of somebody in a hurry; a key's time is that to the arrival
of the first bytes that change the picture where the key should change it. While eight streams write (``streams.py``)
frames come without keys as well: one of theirs in the same place counts for the key, so there the figures flatter a
little. Apart stand first visits, which come before the cockpit has had time to make the screen; esc, for which one
waits 100 ms, since only then it is known that no sequence follows; and a query of 22 characters, typed at once.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from big_project import fill
from streams import streaming
from terminal import Terminal, at_rest, cockpit, percentile

BUDGET_MS = 50
APART = ("first visits", "esc (with its 100 ms)", "a query, typed at once")
PAUSE_S = 0.15
LIMIT_S = 3.0

Lines = list[str]


@dataclass(frozen=True)
class Press:
    """A key, its kind, and the part of the screen that must change."""

    kind: str
    keys: str
    part: Callable[[Lines], object]


def tab(lines: Lines) -> object:
    """The body's upper half: what another screen changes."""
    return lines[1:20]


def body(lines: Lines) -> object:
    """All between tabs and status."""
    return lines[1:-2]


def tour() -> Iterator[Press]:
    """One round: every kind of key."""
    for key in "2345671":
        yield Press("switch screen", key, tab)
    yield Press("switch screen", "2", tab)
    for key in "sss":
        yield Press("review: next card", key, body)
    for key in "ar":
        yield Press("review: decide", key, body)
    for key in "uu":
        yield Press("review: undo", key, body)
    yield Press("a query, typed at once", "/ status:pending len>40\r", body)
    yield Press("esc (with its 100 ms)", "\x1b", body)
    yield Press("switch screen", "3", tab)
    for key in ("j", "j", "k", "G", "g", "\x1b[6~", "\x1b[6~", "\x1b[5~"):
        yield Press("lists: move", key, body)
    yield Press("switch screen", "4", tab)
    for key in ("j", "j", "k"):
        yield Press("lists: move", key, body)
    for key in "llh":
        yield Press("filters: threshold", key, body)
    yield Press("switch screen", "5", tab)
    for key in "+lLHh0y":
        yield Press("train: chart", key, body)
    yield Press("switch screen", "7", tab)
    yield Press("help", "?", body)
    yield Press("esc (with its 100 ms)", "\x1b", body)
    yield Press("switch screen", "1", tab)


def press(terminal: Terminal, one: Press) -> float | None:
    """Milliseconds to the answer; None where nothing of it came."""
    before = one.part(terminal.lines())
    start = time.perf_counter()
    terminal.type(one.keys)
    while time.perf_counter() < start + LIMIT_S:
        at = terminal.read(0.5)
        if at is not None and one.part(terminal.lines()) != before:
            return (at - start) * 1000
    return None


def measure(terminal: Terminal, rounds: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Milliseconds by kind, and how often no answer came."""
    took: dict[str, list[float]] = {}
    none: dict[str, int] = {}
    for number in range(rounds + 1):
        for one in tour():
            terminal.settle(PAUSE_S)
            ms = press(terminal, one)
            kind = "first visits" if number == 0 and one.kind == "switch screen" else one.kind
            if number == 0 and kind != "first visits":
                continue
            if ms is None:
                none[kind] = none.get(kind, 0) + 1
            else:
                took.setdefault(kind, []).append(ms)
    return took, none


def report(name: str, took: dict[str, list[float]], none: dict[str, int]) -> None:
    """A table."""
    print(f"{name:<24}    n   median      p95    worst   (budget: p95 {BUDGET_MS} ms)")
    every = [ms for kind, some in took.items() if kind not in APART for ms in some]
    for kind, some in [("all but first, esc", every), *sorted(took.items())]:
        p95 = percentile(some, 0.95)
        print(
            f"  {kind:<22} {len(some):4} {statistics.median(some):6.1f} ms {p95:6.1f} ms {max(some):6.1f} ms"
            f"{'  over' if p95 > BUDGET_MS else ''}{f'  ({none[kind]} changed nothing)' if kind in none else ''}"
        )


def main() -> None:
    """Fill, press, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--columns", type=int, default=120)
    parser.add_argument("--rows", type=int, default=40)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "bigproject"
        fill(project, given.samples, 7).close()
        for name, load in (("at rest", nullcontext()), ("8 streams", streaming(project))):
            with load:
                terminal = cockpit(project, "--fresh", columns=given.columns, rows=given.rows)
                terminal.wait(lambda lines: any("kept " in line for line in lines), "facts")
                at_rest(terminal, 1.0, 6.0)
                took, none = measure(terminal, given.rounds)
                terminal.close()
            report(name, took, none)


if __name__ == "__main__":
    main()
