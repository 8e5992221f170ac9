"""``status --watch``: the project on one screen of plain text, for those whose terminal could not show the cockpit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size

from alpaca_tui.core.text import inert_json
from alpaca_tui.core.visible import one_line

if TYPE_CHECKING:
    from sqlite_utils import Database

EVERY_S = 2.0
_BAR = 10
_ACTIVE = ("running", "stopping", "queued")


def lines(value: dict[str, Any], width: int, height: int, at: str) -> list[str]:
    """The status as at most ``height`` lines of at most ``width`` cells: what is at work first, then what has ended.

    ``value`` is what ``status --json`` prints, ``at`` the time of day. Every text is inert and on one line.
    """
    seen, samples = value["candidates"], value["samples"]
    rejected = sum(seen["rejected"].values())
    worst = sorted(seen["rejected"].items(), key=lambda item: -item[1])[:4]
    why = f": {', '.join(f'{rule} {n}' for rule, n in worst)}" if worst else ""
    head = [
        f"alpaca-tui  {at}  {one_line(value['project'])}" if at else f"alpaca-tui  {one_line(value['project'])}",
        f"seeds {value['seeds']:,}  model calls {value['completions']:,}",
        f"instructions {seen['total']:,}: {seen['kept']:,} kept, {rejected:,} thrown out{why}",
        f"samples {samples['total']:,}: {samples['pending']:,} pending, {samples['accepted']:,} accepted, "
        f"{samples['rejected']:,} rejected, {sum(samples['filtered'].values()):,} filtered by a rule",
    ]
    if value["datasets"]:
        head.append("data sets " + ", ".join(one_line(row["name"]) for row in value["datasets"]))
    jobs = [job for job in reversed(value["jobs"]) if job["state"] in _ACTIVE]
    ended = [job for job in reversed(value["jobs"]) if job["state"] not in _ACTIVE]
    body = [""]
    for job in jobs:
        body += _active(job)
    body += [_ended(job) for job in ended]
    if not value["jobs"]:
        body.append("no job yet; start one with: alpaca-tui generate --target 100")
    elif not jobs:
        body.insert(1, "nothing is at work")
    shown = head + body
    if len(shown) > height:
        left_out = len(shown) - height + 1
        shown = [*shown[: max(0, height - 1)], f"and {left_out:,} more lines; all jobs: alpaca-tui jobs list"]
    return [_cut(line, width) for line in shown[:height]]


def _cut(line: str, width: int) -> str:
    return line if cell_len(line) <= width else set_cell_size(line, max(0, width - 1)) + "~"


def _active(job: dict[str, Any]) -> list[str]:
    parts = [f"job {job['id']:<4}{job['kind']:<9} {job['state']:<9}"]
    progress = job.get("progress")
    if progress is not None:
        done = round(_BAR * min(1.0, max(0.0, progress)))
        parts.append(f"[{'#' * done}{'.' * (_BAR - done)}] {progress:.0%}")
    if job.get("tokens_per_s"):
        parts.append(f"{job['tokens_per_s']:.0f} tok/s")
    if job.get("eta_s") is not None:
        parts.append(f"{_duration(job['eta_s'])} left")
    beat = job.get("heartbeat_age_s")
    if beat is not None:
        parts.append(f"{'SILENT' if beat >= 15 else 'beat'} {_duration(beat)}")
    activity = one_line(job.get("activity") or "")
    return ["  ".join(parts), *([f"        {activity}"] if activity else [])]


def _ended(job: dict[str, Any]) -> str:
    took = f"after {_duration(job['elapsed_s'])}" if job.get("elapsed_s") is not None else ""
    reason = one_line(job.get("reason") or "")
    return f"job {job['id']:<4}{job['kind']:<9} {job['state']:<11}  {took}  {reason}".rstrip()


def _duration(seconds: float) -> str:
    s = max(0, round(seconds))
    return f"{s} s" if s < 100 else f"{round(s / 60)} min" if s < 6000 else f"{s // 3600} h {s % 3600 // 60:02d}"


def watch(db: Database, project: Path, *, as_json: bool) -> None:
    """Show the status until ctrl+c, which is its ordinary end; with ``as_json`` an object a line.

    A terminal gets one screen, drawn again in place and fitted to its size; a pipe, a file or a dumb terminal gets the
    text anew whenever it has changed, without a control sequence.
    """
    from alpaca_tui.jobs import status as statuses

    in_place = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not as_json
    wake = threading.Event()
    before = signal.signal(signal.SIGWINCH, _waker(wake)) if in_place else None
    last: list[str] | str = ""
    try:
        while True:
            try:
                value = statuses.status(db, project)
            except sqlite3.OperationalError as error:
                said: list[str] | str = [f"The project is busy ({one_line(str(error))}); it is looked at again."]
            else:
                columns, rows = shutil.get_terminal_size() if in_place else (1_000_000, 1_000_000)
                at = time.strftime("%H:%M:%S") if in_place else ""
                said = inert_json(json.dumps(value, ensure_ascii=False)) if as_json else lines(value, columns, rows, at)
            if as_json or said != last:
                _show(said, in_place=in_place)
            last = said
            wake.wait(EVERY_S)
            wake.clear()
    except KeyboardInterrupt:
        sys.stdout.write("" if as_json else "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough; what is left in the buffer must not fail at the exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        if before is not None:
            signal.signal(signal.SIGWINCH, before)


def _waker(wake: threading.Event) -> Callable[[int, FrameType | None], None]:
    return lambda _number, _frame: wake.set()


def _show(said: Sequence[str] | str, *, in_place: bool) -> None:
    if isinstance(said, str):
        text = f"{said}\n"
    elif in_place:
        # Home; each line, and what is left of the one before cleared; then what is left below. No newline at the very
        # end: on a full screen it would scroll.
        text = "\x1b[H" + "\x1b[K\r\n".join(said) + "\x1b[K\x1b[J"
    else:
        text = "\n".join(said).rstrip() + "\n\n"
    sys.stdout.write(text.encode("utf-8", "replace").decode("utf-8"))
    sys.stdout.flush()
