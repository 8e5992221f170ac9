"""The cockpit as a child of a tiny process that sees it end, however that comes, and leaves a sane terminal behind.

A cockpit that is killed (SIGKILL, out of memory, a fault in a library) cannot give the terminal back: the alternate
screen, raw keys, mouse reports and a hidden cursor would stay. So the process that the shell started forks before
anything large is imported. The child becomes the cockpit; the parent waits, passes signals on, stops and goes on with
it, and ends as it ended. Nothing of Textual is imported here.

Two pipes tie them: through one the child learns that the parent is gone (it then ends), through the other the
parent knows whether the child held the terminal when it died.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

PASSED_ON = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
PATIENCE_S = 4
"""After a request to end, this long; then SIGKILL. The cockpit's own deadlines are shorter."""

_SETTLING_S = 0.02
"""A signal to the whole group reaches the one before the other."""

RESTORE = (
    "\x1b\\"  # the end of whatever sequence was cut short
    "\x1b[?2026l"  # synchronised output off
    "\x1b[?2004l"  # bracketed paste off
    "\x1b[?2048l"  # reports of the window's size off
    "\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l"  # mouse off
    "\x1b[?1004l"  # reports of focus off
    "\x1b[<u"  # the keyboard protocol as before
    "\x1b[0m\x1b[?7h"  # plain characters, lines wrap
    "\x1b[?1049l\x1b[?25h"  # the ordinary screen, a cursor
)


class Tether:
    """The child's end of the two pipes; by default of none, for a cockpit that was started otherwise."""

    def __init__(self, lifeline: int | None = None, notes: int | None = None) -> None:
        self.lifeline = lifeline
        """Readable (at its end) once the parent is gone."""
        self._notes = notes

    def report(self, *, shown: bool) -> None:
        """Tell the parent whether the terminal is in the cockpit's hands."""
        if self._notes is not None:
            with suppress(OSError):
                os.write(self._notes, b"1" if shown else b"0")


def launch() -> Tether:
    """Return in the child. In the parent, wait for the child's end, restore the terminal where it must be, and exit."""
    terminal = sys.__stdin__.fileno() if sys.__stdin__ is not None else 0
    try:
        modes = termios.tcgetattr(terminal)
    except termios.error:
        return Tether()
    life_read, life_write = os.pipe()
    note_read, note_write = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    child = os.fork()
    if child == 0:
        os.close(life_write)
        os.close(note_read)
        os.set_blocking(note_write, False)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the cockpit takes it over; else Python's traceback
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        return Tether(life_read, note_write)
    os.close(life_read)
    os.close(note_write)
    os._exit(_Watch(child, terminal, modes, note_read).run())


class _Watch:
    """The parent's part."""

    def __init__(self, child: int, terminal: int, modes: list[Any], notes: int) -> None:
        self._child, self._terminal, self._modes, self._notes = child, terminal, modes, notes

    def run(self) -> int:
        """Until the child has ended; return the exit code that tells how."""
        for number in PASSED_ON:
            signal.signal(number, self._pass_on)
        signal.signal(signal.SIGALRM, lambda *_: self._kill(signal.SIGKILL))
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        while True:
            _, status = os.waitpid(self._child, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                break
            time.sleep(_SETTLING_S)
            if not _stopped(self._child):  # we were stopped and continued with it; to stop once more would be wrong
                continue
            os.kill(os.getpid(), signal.SIGSTOP)  # the shell shall see the job stopped
            if _stopped(self._child):  # and continue it, also where it continued us alone
                self._kill(signal.SIGCONT)
        signal.alarm(0)
        for number in PASSED_ON:
            signal.signal(number, signal.SIG_DFL)
        self._settle(status)
        return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._kill(number)
        if number in (signal.SIGHUP, signal.SIGTERM):
            signal.alarm(PATIENCE_S)

    def _kill(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._child, number)

    def _settle(self, status: int) -> None:
        """Give the terminal back where the child could not."""
        os.set_blocking(self._notes, False)
        try:
            held = os.read(self._notes, 1 << 16).endswith(b"1")
        except OSError:
            held = False
        said = ""
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) not in PASSED_ON:
            said = f"alpaca-tui: the cockpit was ended by {_name(os.WTERMSIG(status))}. Jobs go on. "
            said += "Open it again with: alpaca-tui\r\n"
        if held:
            said = RESTORE + said
            with suppress(OSError, termios.error):
                if os.tcgetpgrp(self._terminal) == os.getpgrp():
                    termios.tcsetattr(self._terminal, termios.TCSANOW, self._modes)
                    termios.tcflush(self._terminal, termios.TCIFLUSH)
        data = said.encode()
        with suppress(OSError):
            while data:
                data = data[os.write(2, data) :]


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
    except OSError:
        return True
