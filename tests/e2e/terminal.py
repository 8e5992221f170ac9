"""The cockpit in a real pty, seen as a person sees it: a screen of characters, and keys."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import psutil
import pyte


class Terminal:
    """A command in a pty of ``columns`` by ``rows``; ``screen()`` is what stands on it."""

    def __init__(self, *arguments: object, columns: int = 120, rows: int = 40) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(rows)}
        environment.pop("NO_COLOR", None)
        self.process = pexpect.spawn(
            str(Path(sys.executable).with_name("alpaca-tui")),
            [str(argument) for argument in arguments],
            dimensions=(rows, columns),
            env=environment,
            timeout=10,
        )

    def screen(self) -> str:
        """The screen's lines now."""
        with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
            while True:
                self._stream.feed(self.process.read_nonblocking(65536, timeout=0.05))
        return "\n".join(self._screen.display)

    def wait(self, pattern: str, timeout: float = 30.0) -> str:
        """Wait until the pattern stands on the screen; return the screen."""
        return self.until(lambda shown: re.search(pattern, shown) is not None, f"{pattern!r} on the screen", timeout)

    def until(self, met: Callable[[str], bool], what: str, timeout: float = 30.0) -> str:
        """Wait until ``met(screen)``; fail with the screen after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        shown = self.screen()
        while not met(shown):
            assert time.monotonic() < deadline, f"no {what} within {timeout:.0f} s:\n{shown}"
            assert self.process.isalive(), f"the cockpit ended while waiting for {what}:\n{shown}"
            time.sleep(0.1)
            shown = self.screen()
        return shown

    def press(self, *keys: str) -> None:
        """Type the keys, each drawn before the next."""
        for key in keys:
            self.process.send(key)
            time.sleep(0.05)
            self.screen()

    def kill(self) -> None:
        """SIGKILL to the cockpit and its launcher, as when the machine's patience or a person's ends."""
        for child in psutil.Process(self.process.pid).children():
            child.kill()
        self.process.kill(signal.SIGKILL)
        self.process.wait()

    def leave(self) -> int:
        """Quit by the key; return the exit code."""
        self.press("q")
        self.process.expect(pexpect.EOF, timeout=15)
        self.process.close()
        return int(self.process.exitstatus if self.process.exitstatus is not None else -1)
