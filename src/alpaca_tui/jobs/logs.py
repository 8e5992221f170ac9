"""A job's log: one file that all its processes append to, bounded in size, read from its end."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from alpaca_tui.core.text import clean_text, one_line
from alpaca_tui.jobs.live import run_dir

MAX_LOG_BYTES = 64 * 2**20
KEPT_BYTES = 8 * 2**20
"""What is left of a log that reached the limit: its end."""
_WINDOW = 256 * 2**10
_ERROR = "error: "
_MAX_REASON = 600
_CSI = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?)")
_EXCEPTION = re.compile(r"(?P<name>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit))(?:: .*)?")
_LAUNCHERS_OWN = ("CalledProcessError", "ChildFailedError")
_SIGNAL = re.compile(r"Signals\.SIG\w+: (\d+)|Signal (\d+) \(SIG")


def log_path(project: Path, job_id: int) -> Path:
    """The log of a job's worker, all attempts in one file."""
    return run_dir(project, job_id) / "log"


def runner_log_path(project: Path, job_id: int) -> Path:
    """What the runner itself had to say; empty as a rule."""
    return run_dir(project, job_id) / "runner.log"


def open_append(path: Path) -> BinaryIO:
    """Open for appending, private to the user. Appending writers survive ``bound``."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)


def header(attempt: int, command: Sequence[str]) -> bytes:
    """The line that opens an attempt: when, which, and the command."""
    began = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return f"--- attempt {attempt}, {began}: {' '.join(command)}\n".encode("utf-8", "replace")


def bound(path: Path, limit: int = MAX_LOG_BYTES, kept: int = KEPT_BYTES) -> bool:
    """Drop all but the end of a log that has reached ``limit`` bytes; return whether it was cut.

    It is cut in place, because the workers hold it open. A line written in that very moment can be lost; a reader
    that remembers an offset starts again where the file has become shorter.
    """
    with suppress(OSError):
        if path.stat().st_size < limit:
            return False
        end = _read_end(path, kept)
        os.truncate(path, 0)
        with open_append(path) as log:
            log.write(b"--- earlier output was dropped: the log had reached its limit\n")
            log.write(end[end.find(b"\n") + 1 :])
        return True
    return False


def _read_end(path: Path, size: int, start: int = 0) -> bytes:
    with path.open("rb") as handle:
        length = handle.seek(0, os.SEEK_END)
        # A log that was cut is shorter than where the attempt began in it.
        first = start if start <= length else 0
        handle.seek(max(first, length - size))
        return handle.read(size)


def lines(path: Path, start: int = 0) -> list[str]:
    """The last lines of a log (256 KiB at most) from byte ``start`` on, without control sequences.

    Of a line that was drawn over and over (a progress bar), only its last state is left. Empty where there is no log.
    """
    try:
        text = _CSI.sub("", _read_end(path, _WINDOW, start).decode("utf-8", "replace"))
    except OSError:
        return []
    found = [clean_text(line.rstrip("\r").rpartition("\r")[2]).rstrip() for line in text.split("\n")]
    return [line for line in found if line]


def tail(path: Path, count: int = 20, max_bytes: int = 4096, start: int = 0) -> str:
    """The last ``count`` lines as text that is safe to show, at most ``max_bytes`` in UTF-8."""
    text = "\n".join(lines(path, start)[-count:]).encode("utf-8")
    return text[-max_bytes:].decode("utf-8", "ignore")


def error_line(path: Path, start: int = 0) -> str | None:
    """Why a worker failed, in one sentence: its last line beginning with "error: ", without that.

    Where it ended before it could say so (an import that failed), the last line of the last traceback, save for
    those in which a launcher only says that its worker failed. None where there is neither.
    """
    found = lines(path, start)[::-1]
    said = next((line.removeprefix(_ERROR) for line in found if line.startswith(_ERROR)), None)
    if said is None and "Traceback (most recent call last):" in found:
        raised = (line for line in found if (match := _EXCEPTION.fullmatch(line)) and not _launchers_own(match["name"]))
        said = next(raised, None)
    return None if said is None else one_line(said)[:_MAX_REASON]


def _launchers_own(name: str) -> bool:
    return name.endswith(_LAUNCHERS_OWN)


def signal_named(path: Path, start: int = 0) -> int | None:
    """The signal that a launcher (accelerate, torchrun) says one of its processes died of; it keeps the code itself."""
    for line in reversed(lines(path, start)[-200:]):
        match = _SIGNAL.search(line)
        if match:
            return int(match[1] or match[2])
    return None
