"""A command in a real pty for the cockpit's benchmarks: what it writes, when it came, and the screen it makes."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import psutil
import pyte


class Terminal:
    """``command`` in a pty of ``columns`` by ``rows``; times are those of the bytes' arrival, before they are drawn."""

    def __init__(self, command: list[str], *, columns: int = 120, rows: int = 40) -> None:
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(rows)}
        environment.pop("NO_COLOR", None)
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.bytes = 0
        self.started = time.perf_counter()
        self._child = pexpect.spawn(
            command[0], command[1:], dimensions=(rows, columns), env=environment, timeout=30, maxread=1 << 16
        )
        self._child.delaybeforesend = None  # else pexpect waits 50 ms before each key
        self.process = psutil.Process(self._child.pid)

    def processes(self) -> list[psutil.Process]:
        """The program and all that it has started."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_s(self) -> float:
        """Seconds of processor time that they have taken."""
        return sum(sum(process.cpu_times()[:2]) for process in self.processes())

    def memory_mb(self) -> dict[str, float]:
        """Their resident, proportional and unique memory in MB (10^6 bytes)."""
        found = [process.memory_full_info() for process in self.processes()]
        return {name: sum(getattr(info, name) for info in found) / 1e6 for name in ("rss", "pss", "uss")}

    def lines(self) -> list[str]:
        """The screen's lines now."""
        return list(self._screen.display)

    def read(self, timeout: float, *, draw: bool = True) -> float | None:
        """Take what comes within ``timeout`` seconds; return when it came, None where nothing did."""
        try:
            found = self._child.read_nonblocking(1 << 16, timeout=timeout)
        except pexpect.TIMEOUT:
            return None
        except pexpect.EOF:
            raise SystemExit("the program ended:\n" + "\n".join(self.lines())) from None
        at = time.perf_counter()
        self.bytes += len(found)
        if draw:
            self._stream.feed(found)
        return at

    def wait(self, met: Callable[[list[str]], bool], what: str, timeout: float = 30.0) -> float:
        """Read until the screen meets the condition; return when the bytes for it had come."""
        end = time.perf_counter() + timeout
        while time.perf_counter() < end:
            at = self.read(0.5)
            if at is not None and met(self.lines()):
                return at
        raise SystemExit(f"no {what} within {timeout:.0f} s:\n" + "\n".join(self.lines()))

    def press(self, keys: str, met: Callable[[list[str]], bool], what: str) -> float:
        """Milliseconds from the keys to the bytes that complete the screen that answers them."""
        start = time.perf_counter()
        self._child.send(keys)
        return (self.wait(met, what) - start) * 1000

    def type(self, keys: str) -> None:
        """Send keys without waiting for an answer."""
        self._child.send(keys)

    def settle(self, seconds: float, *, draw: bool = True) -> int:
        """Read for that long; return how many bytes came."""
        before, end = self.bytes, time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.read(left, draw=draw)
        return self.bytes - before

    def close(self) -> None:
        """End the program."""
        self._child.send("q")
        self._child.close(force=True)


def cockpit(project: Path, *flags: str, columns: int = 120, rows: int = 40) -> Terminal:
    """The cockpit, by its real command, on a project."""
    command = [str(Path(sys.executable).with_name("alpaca-tui")), "--project", str(project), *flags]
    return Terminal(command, columns=columns, rows=rows)


def at_rest(terminal: Terminal, quiet_s: float = 1.0, limit_s: float = 20.0) -> None:
    """Read until nothing has come for ``quiet_s``, at most ``limit_s``."""
    end = time.perf_counter() + limit_s
    while time.perf_counter() < end and terminal.read(quiet_s) is not None:
        pass


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
