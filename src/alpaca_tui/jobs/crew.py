"""The worker processes of one job: started together, watched, and started again where one was killed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from alpaca_tui.jobs.processes import Identity, identity

EXIT_STOPPED = 75
"""A worker's exit code for "stopped at request, everything saved" (EX_TEMPFAIL of sysexits.h)."""

MAX_RESTARTS = 3
"""How often one worker of a generation is started again after a death by signal, within one attempt."""


@dataclass(frozen=True, slots=True)
class Death:
    """A worker that ended by a signal or with a failure. ``restarted`` counts its new starts, 0 where there is none."""

    rank: int
    code: int
    restarted: int


class Crew:
    """``start(rank)`` starts one worker. ``restarts`` bounds how often each of them is started again."""

    def __init__(self, start: Callable[[int], subprocess.Popen[bytes]], size: int, restarts: int = 0) -> None:
        self._start, self._restarts = start, restarts
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._codes: dict[int, int] = {}
        self._started = dict.fromkeys(range(size), 0)
        for rank in range(size):
            self._running[rank] = start(rank)

    @property
    def size(self) -> int:
        """Workers that were asked for."""
        return len(self._started)

    def identity(self, rank: int) -> Identity:
        """Who works at this rank. Raises ProcessLookupError where it has ended."""
        return identity(self._running[rank].pid)

    def watch(self, *, restart: bool) -> list[Death]:
        """Notice who has ended since; start again who was killed, if ``restart`` and the goal isn't reached."""
        deaths = []
        ended = {rank: code for rank, p in self._running.items() if (code := p.poll()) is not None}
        for rank, code in ended.items():
            del self._running[rank]
            self._codes[rank] = code
        for rank, code in ended.items():
            if code in (0, EXIT_STOPPED):
                continue
            again = restart and code < 0 and self._started[rank] < self._restarts and 0 not in self._codes.values()
            if again:
                self._started[rank] += 1
                del self._codes[rank]
                self._running[rank] = self._start(rank)
            deaths.append(Death(rank, code, self._started[rank] if again else 0))
        return deaths

    @property
    def at_work(self) -> bool:
        """Whether any worker was still running when last looked at."""
        return bool(self._running)

    def wait(self) -> int:
        """Wait for all; return the exit code that says how the job went: the best that a worker gave."""
        for rank, process in list(self._running.items()):
            self._codes[rank] = process.wait()
        self._running.clear()
        codes = list(self._codes.values())
        return next((code for code in (0, EXIT_STOPPED) if code in codes), codes[-1])
