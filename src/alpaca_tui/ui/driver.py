"""Textual's driver for terminals, made to survive what terminals do: go away, stall, be suspended at any moment.

What it changes: reading ends when the terminal is gone (Textual's reads on, without end); writing never blocks the
event loop; SIGTSTP and SIGCONT act from the event loop, between two of its steps, and only where there is something
to suspend or to resume.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import threading
import time
from codecs import getincrementaldecoder
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING, Any, TextIO, cast

from textual._parser import ParseError
from textual._time import get_time
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from alpaca_tui.ui import ending
from alpaca_tui.ui.output import Output

if TYPE_CHECKING:
    from alpaca_tui.ui.endingapp import EndingApp

READ_BYTES = 4096
TICK_MS = 100
"""How long the reader waits for a key before it looks whether it should end, or whether an escape stands alone."""
FLUSH_S = 1.0
"""How long leaving waits for a terminal that does not read."""
_GONE_S = 2.0


def _fileno(file: TextIO | None) -> int:
    return 2 if file is None else file.fileno()


class CockpitDriver(LinuxDriver):
    """A terminal that may vanish."""

    def __init__(self, app: Any, **given: Any) -> None:
        self._output: Output | None = None
        self._shown = False
        """The terminal is ours: alternate screen, raw keys."""
        self._gone = False
        self.last_input = 0.0
        """When something was last typed (or clicked), on the monotonic clock."""
        super().__init__(app, **given)

    @property
    def _cockpit(self) -> EndingApp:
        return cast("EndingApp", self._app)

    # Taking the terminal and giving it back ------------------------------------------------------------------------

    def start_application_mode(self) -> None:
        """Take the terminal, once we are in its foreground; not a second time, and not when it is gone."""
        if self._shown or self._gone or not self._in_foreground():
            return
        self._output = Output(_fileno(self._file), on_gone=self._lost, on_caught_up=self._caught_up)
        self._output.start()
        super().start_application_mode()
        if self._writer_thread is None:  # Textual could not even set the terminal's modes
            self._lost()
            return
        self._shown = True
        self._cockpit.tether.report(shown=True)

    def stop_application_mode(self) -> None:
        """Give the terminal back as it was."""
        if self._shown:
            self._shown = False
            super().stop_application_mode()

    def close(self) -> None:
        """Wait a while until the terminal has taken all, then let go of it."""
        super().close()
        self._writer_thread = None
        output, self._output = self._output, None
        if output is not None and output.stop(FLUSH_S):
            self._cockpit.tether.report(shown=False)

    def write(self, data: str) -> None:
        """Have it written; what comes when there is no terminal is dropped."""
        if self._output is not None:
            self._output.write(data)

    def full(self) -> bool:
        """Whether the next frame had better be left out: the terminal lags behind."""
        return self._output is not None and self._output.full()

    def _caught_up(self) -> None:
        self._soon(self._cockpit.repaint)

    def _lost(self) -> None:
        """There is no terminal any more: nobody sees us, and nothing that we hold is of any use."""
        if not self._gone:
            self._gone = True
            code = ending.exit_code(signal.SIGHUP)
            ending.within(_GONE_S, lambda: self._cockpit.return_code or code)
            self._soon(lambda: self._cockpit.leave_with(code))

    def _soon(self, act: Any) -> None:
        def in_context() -> None:
            with self._app._context():  # timers and messages ask it for the app
                act()

        with suppress(RuntimeError):  # the loop is closed: the process is about to end
            self._loop.call_soon_threadsafe(in_context)

    # Reading -------------------------------------------------------------------------------------------------------

    def run_input_thread(self) -> None:
        """Hand on what is typed until told to end, or until the terminal is gone."""
        parser, decode = XTermParser(self._debug), getincrementaldecoder("utf-8")("replace").decode
        poll = select.poll()
        poll.register(self.fileno, select.POLLIN)
        while not self.exit_event.is_set():
            text = ""
            # An escape that stands alone is known by what does not follow in time; no longer than that.
            due = parser._timeout_time
            wait = TICK_MS if due is None else max(1, min(TICK_MS, ceil(1000 * (due - get_time()))))
            if poll.poll(wait):
                try:
                    data = os.read(self.fileno, READ_BYTES)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if not data:
                    self._lost()
                    break
                text = decode(data)
                self.last_input = time.monotonic()
            for event in parser.feed(text) if text else ():
                self.process_message(event)
            for event in parser.tick():
                self.process_message(event)
        with suppress(EOFError, ParseError):
            for _ in parser.feed(""):
                pass

    # Being suspended -----------------------------------------------------------------------------------------------

    def _sigtstp_application(self, *_: Any) -> None:
        if self._shown:
            self._soon(self._suspend)
        else:
            self._stop()

    def _sigcont_application(self, *_: Any) -> None:
        """Continued after a SIGSTOP, of which nobody could give notice: the terminal may have been used meanwhile."""
        if self._shown:
            self._soon(self._retake)

    def _suspend(self) -> None:
        if self._shown:
            self.suspend_application_mode()
            self._stop()
            self._resume()

    def _retake(self) -> None:
        if self._shown and not self._app._exit:
            self.suspend_application_mode()
            self._resume()

    def _resume(self) -> None:
        self._must_signal_resume = True
        self.start_application_mode()
        self._app.refresh(layout=True)

    def _stop(self) -> None:
        """Stop here and now, until continued. Sent to the thread itself, which so takes no further step before."""
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGSTOP)

    def _in_foreground(self) -> bool:
        """Wait, stopped, until the shell gives us the terminal; False where that will not be."""
        while not self._cockpit.leaving:
            try:
                if os.tcgetpgrp(self.fileno) == os.getpgrp():
                    return True
            except OSError as error:
                if error.errno == errno.ENOTTY:  # a terminal, but not the one that governs us: nobody will ask
                    return True
                self._lost()
                return False
            self._stop()
        return False
