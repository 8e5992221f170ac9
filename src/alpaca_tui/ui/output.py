"""Writing to the terminal from a thread, so that a terminal that doesn't read stalls nobody."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

FULL_BYTES = 65_536
"""With more than this unwritten, new frames would only come late: they are left out until it has caught up."""


class Output(threading.Thread):
    """Writes what it is given in order. ``write`` never waits, ``stop`` only for a while."""

    def __init__(self, fileno: int, *, on_gone: Callable[[], object], on_caught_up: Callable[[], object]) -> None:
        super().__init__(name="alpaca-output", daemon=True)
        self._fileno = fileno
        self._on_gone, self._on_caught_up = on_gone, on_caught_up
        self._news = threading.Condition()
        self._waiting = bytearray()
        self._unwritten = 0
        self._stopping = self._gone = self._skipped = False

    def write(self, text: str) -> None:
        """Have the text written."""
        data = text.encode("utf-8", "replace")
        with self._news:
            if not self._gone:
                self._waiting += data
                self._unwritten += len(data)
                self._news.notify()

    def full(self) -> bool:
        """Whether the next frame had better be left out; if so, ``on_caught_up`` will ask for a whole one."""
        with self._news:
            behind = self._unwritten > FULL_BYTES
            self._skipped |= behind
            return behind

    def stop(self, timeout: float) -> bool:
        """Write the rest and end; False where the terminal has not taken all in that time."""
        with self._news:
            self._stopping = True
            self._news.notify()
        self.join(timeout)
        return not self.is_alive()

    def run(self) -> None:
        """Write until told to stop, or until there is no terminal."""
        while True:
            with self._news:
                while not self._waiting and not self._stopping:
                    self._news.wait()
                data, self._waiting = bytes(self._waiting), bytearray()
            if not data:
                return
            try:
                self._put(data)
            except OSError:
                with self._news:
                    self._gone = True
                    self._waiting.clear()
                self._on_gone()
                return

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                done = os.write(self._fileno, rest[:4096])
            except BlockingIOError:  # whoever shares the terminal has made it so
                select.select([], [self._fileno], [], 1.0)
                continue
            rest = rest[done:]
            with self._news:
                self._unwritten -= done
                caught_up = self._skipped and not self._unwritten
                if caught_up:
                    self._skipped = False
            if caught_up:
                self._on_caught_up()
