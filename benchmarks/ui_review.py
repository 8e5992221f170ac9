"""How long from a key in Review to the next card, for a reviewer of 200 samples in a project of 50,000?

    python benchmarks/ui_review.py [--samples 50000] [--judge 200] [--query QUERY] [--columns 120] [--rows 40]
                                   [--json FILE]

The real cockpit runs in a pty on a generated project. The scripted reviewer accepts, rejects, skips, undoes and gives
reasons, and presses the next key 50 ms after the next card. Measured is from writing the key to the arrival of the
bytes that complete the next card's head, which stands for the decision's commit too: a card is painted after it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import tempfile
import time
from pathlib import Path

from big_project import fill
from terminal import Terminal, cockpit, percentile

BETWEEN_S = 0.05
KEYS = ("a",) * 5 + ("r",) * 3 + ("s", "R2", "u")


class Reviewer:
    """The cockpit in a pty, and the line that names the card."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def press(self, keys: str, met: re.Pattern[str]) -> float:
        """Milliseconds from the keys to the head that answers them."""
        before = self._terminal.lines()[1]

        def answered(lines: list[str]) -> bool:
            return lines[1] != before and met.search(lines[1]) is not None

        return self._terminal.press(keys, answered, met.pattern)


ANSWER = {
    "a": re.compile(r"#\d+ accepted|accepted"),
    "r": re.compile(r"#\d+ rejected|rejected"),
    "R2": re.compile(r"rejected: |rejected"),
    "s": re.compile(r"#\d+"),
    "u": re.compile(r"taken back"),
}


def review(reviewer: Reviewer, count: int, query: str, seed: int) -> dict[str, list[float]]:
    """Milliseconds of every key, by key."""
    rng = random.Random(seed)
    reviewer.press("2", re.compile(r"#\d+"))
    took: dict[str, list[float]] = {}
    if query:
        took["/"] = [reviewer.press(f"/ {query}\r", re.compile(re.escape(query[:8])))]
    judged, undoable = 0, 0
    while judged < count:
        key = rng.choice(KEYS)
        if key == "u" and not undoable:
            continue
        took.setdefault(key, []).append(reviewer.press(key, ANSWER[key]))
        undoable += {"u": -1, "s": 0}.get(key, 1)
        judged += key not in ("s", "u")
        time.sleep(BETWEEN_S)
    return took


def main() -> None:
    """Fill, review, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--judge", type=int, default=200)
    parser.add_argument("--query", default="")
    parser.add_argument("--columns", type=int, default=120)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        project = Path(directory) / "big"
        fill(project, given.samples, given.seed).close()
        terminal = cockpit(project, columns=given.columns, rows=given.rows)
        took = review(Reviewer(terminal), given.judge, given.query, given.seed)
        terminal.close()
    every = [one for key, some in took.items() if key != "/" for one in some]
    figures = {
        "samples": given.samples,
        "judged": given.judge,
        "keys": len(every),
        "bytes_per_key": terminal.bytes // len(every),
    }
    for name, some in [("all", every), *sorted(took.items())]:
        p95 = percentile(some, 0.95)
        figures[name] = {"median_ms": round(statistics.median(some), 1), "p95_ms": round(p95, 1), "n": len(some)}
        print(f"{name:>4}  {len(some):4} keys  median {statistics.median(some):6.1f} ms  p95 {p95:6.1f} ms")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
