"""The end of the cockpit: signals that it obeys, and a deadline after which it is gone, whatever holds it up."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

OBEYED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Each ends the cockpit; the exit code is 128 and the signal's number."""

GRACE_S = 1.5
"""What a thread may still take once the cockpit is over: what it has not committed by then, SQLite undoes."""
LEAVING_S = 3.0
"""The longest way from the wish to leave to the end of the process."""


def exit_code(number: int) -> int:
    """The exit code of a process that a signal has ended, as shells count."""
    return 128 + number


def within(seconds: float, code: Callable[[], int]) -> None:
    """End the process after that time without asking anybody. Returns at once; the earliest deadline wins.

    From a thread of its own, so that it holds where the event loop hangs, a thread can't be stopped, or the
    interpreter waits for one at its end.
    """

    def end() -> None:
        time.sleep(seconds)
        os._exit(code())

    threading.Thread(target=end, name="alpaca-deadline", daemon=True).start()


def obey(tell: Callable[[int], object]) -> None:
    """From now on hand those signals to ``tell``, in the main thread, between any two of its steps."""

    def handle(number: int, frame: FrameType | None) -> Any:
        tell(number)

    for number in OBEYED:
        signal.signal(number, handle)
