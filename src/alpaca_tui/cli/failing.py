"""How a command fails: one sentence on stderr and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from alpaca_tui.core.errors import AlpacaError

DEBUG_VARIABLE = "ALPACA_TUI_DEBUG"


def guarded(act: Callable[[], object]) -> None:
    """Do it; say in one sentence what went wrong where it did, and exit with the code that goes with it."""
    try:
        act()
    except AlpacaError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; that is no fault.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        from alpaca_tui.core.text import one_line

        text = one_line(f"{type(error).__name__}: {error}")
        _say(f"error: {text} (unforeseen; set {DEBUG_VARIABLE}=1 for the details)")
        sys.exit(1)


def _say(text: str) -> None:
    from alpaca_tui.cli import common

    common.narrate(text)
