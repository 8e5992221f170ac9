"""A line of progress on stderr, where that is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from alpaca_tui.cli import common

_INTERVAL_S = 0.1


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Shows the text it is called with, in place of the one before, ten times a second at most; wiped at the end."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    shown = 0.0

    def show(text: str) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _INTERVAL_S:
            shown = now
            sys.stderr.write(f"\r\x1b[K{common.shown(text, sys.stderr)}")
            sys.stderr.flush()

    try:
        yield show
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
