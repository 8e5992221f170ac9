"""How soon does the cockpit show a project of 50,000 samples, and what does it hold in memory?

    python benchmarks/ui_start.py [--samples 50000] [--runs 7]

The real command in a real pty. The first frame is the first one with real content: the project's name stands in it. The
peer, in the same run: an empty Textual app of one label, so that one sees what is Textual's and
Python's own. Memory is taken after all seven screens were shown and 2,000 rows were paged through.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from big_project import fill
from terminal import Terminal, at_rest, cockpit

BUDGET_S = 0.5
BUDGET_MB = 120
EMPTY = (
    "from textual.app import App\nfrom textual.widgets import Label\n"
    "class Empty(App):\n    BINDINGS = [('q', 'quit')]\n"
    "    def compose(self):\n        yield Label('painted')\n"
    "Empty().run()"
)


def first_frame(terminal: Terminal, words: str) -> float:
    """Seconds from the start to the bytes that complete the first frame with ``words``."""
    try:
        return terminal.wait(lambda lines: any(words in line for line in lines), words) - terminal.started
    finally:
        terminal.close()


def memory(project: Path) -> dict[str, float]:
    """After all screens and much paging."""
    terminal = cockpit(project)
    terminal.wait(lambda lines: any(project.name in line for line in lines), "first frame")
    for key in "1234567":
        terminal.type(key)
        at_rest(terminal, 0.7)
    for key in "24":
        terminal.type(key)
        at_rest(terminal, 0.5)
        for _ in range(100):
            terminal.type("\x1b[6~")
            terminal.settle(0.02)
    at_rest(terminal)
    sums = terminal.memory_mb()
    terminal.close()
    return sums


def main() -> None:
    """Fill, start, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "bigproject"
        fill(project, given.samples, 7).close()
        ours, empty = [], []
        for _ in range(given.runs):
            ours.append(first_frame(cockpit(project), "bigproject"))
            empty.append(first_frame(Terminal([sys.executable, "-c", EMPTY]), "painted"))
        middle, base = statistics.median(ours), statistics.median(empty)
        print(f"first frame, {given.samples:,} samples, {given.runs} runs each   median    worst   budget   ratio")
        print(f"  empty Textual app {base:31.3f} s {max(empty):6.3f} s {'':9}  x1.00")
        print(f"  the cockpit {middle:37.3f} s {max(ours):6.3f} s {BUDGET_S:6.1f} s  x{middle / base:.2f}")
        held = memory(project)
        print("memory after all screens: " + ", ".join(f"{name} {value:.0f} MB" for name, value in held.items()))
        print(f"  resident {held['rss'] / BUDGET_MB:.0%} of the budget of {BUDGET_MB} MB")


if __name__ == "__main__":
    main()
