"""What the cockpit sends to the terminal and takes of the processor: idle, and under eight live streams.

    python benchmarks/ui_bytes.py [--samples 50000] [--seconds 30]

The real command in a real pty of 120 x 40, on the Cockpit screen. ``streams.py`` is the generation: eight workers of 50
tokens a second, and four stored responses a second. Budgets: 0 B/s and 1 % of a core idle, 15 KB/s and 10 % streaming.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from big_project import fill
from streams import streaming
from terminal import Terminal, at_rest, cockpit


def measure(terminal: Terminal, seconds: float) -> tuple[float, float]:
    """Bytes a second, and the processor's share in percent of one core."""
    before = terminal.cpu_s()
    sent = terminal.settle(seconds, draw=False)
    return sent / seconds, 100 * (terminal.cpu_s() - before) / seconds


def watched(project: Path, seconds: float, *flags: str) -> tuple[float, float]:
    """Of one cockpit from its start to its end."""
    terminal = cockpit(project, *flags)
    terminal.wait(lambda lines: any(project.name in line for line in lines), "first frame")
    at_rest(terminal, 2.0, 8.0)
    try:
        return measure(terminal, seconds)
    finally:
        terminal.close()


def main() -> None:
    """Fill, watch, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "bigproject"
        fill(project, given.samples, 7).close()
        print(f"{given.samples:,} samples, {given.seconds:.0f} s each        bytes/s   budget   of a core  budget")
        for name, flags in (("idle", ()), ("idle --slow", ("--slow",))):
            sent, share = watched(project, given.seconds, *flags)
            print(f"  {name:<28} {sent:12,.0f} {0:8,} {share:9.1f} % {1:5} %")
        with streaming(project):
            for name, flags in (("8 streams", ()), ("8 streams --slow", ("--slow",))):
                sent, share = watched(project, given.seconds, *flags)
                print(f"  {name:<28} {sent:12,.0f} {15_000:8,} {share:9.1f} % {10:5} %")


if __name__ == "__main__":
    main()
