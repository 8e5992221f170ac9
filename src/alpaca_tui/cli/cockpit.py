"""Opens the cockpit on the project, creating it where it is new."""

from __future__ import annotations

import os

import typer

from alpaca_tui.cli import common

SLOW_FPS = 4


def open(ctx: typer.Context, *, ascii: bool, slow: bool, readonly: bool, mouse: bool, bell: bool, fresh: bool) -> int:
    """Run the cockpit; return its exit code."""
    if slow:
        os.environ.setdefault("TEXTUAL_FPS", str(SLOW_FPS))  # read once, when Textual is imported
    from alpaca_tui.ui.app import UiOptions, run

    project = common.project_dir(ctx)
    common.open_db(ctx, create=not readonly).close()
    options = UiOptions(
        ascii=ascii, slow=slow, readonly=readonly, no_mouse=not mouse, bell=bell, restore=True, fresh=fresh
    )
    return run(project, options=options)
