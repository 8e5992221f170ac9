"""The entry point. The cockpit has a short way in: its first frame waits for nothing that it doesn't use."""

from __future__ import annotations

import sys

from alpaca_tui.cli import cockpit, failing


def main() -> None:
    """Open the cockpit where nothing else is asked for, else parse the command line."""
    asked = cockpit.asked(sys.argv[1:])
    if asked is None or not cockpit.in_terminal():
        from alpaca_tui.cli import commands

        commands.main()
        return
    tether = cockpit.launch()
    failing.guarded(lambda: sys.exit(cockpit.open(*asked, tether)))


if __name__ == "__main__":
    main()
