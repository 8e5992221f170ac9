"""Opens the cockpit on the project, creating it where it is new. Little is imported, for the first frame's sake."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from alpaca_tui.ui.launcher import Tether, launch
from alpaca_tui.ui.options import UiOptions

__all__ = ["asked", "in_terminal", "launch", "open"]

SLOW_FPS = 4
_NO_FLAG = "restore"
_FLAGS = {f"--{f.name.replace('_', '-')}": f.name for f in fields(UiOptions) if f.type == "bool" and f.name != _NO_FLAG}


def asked(arguments: Sequence[str]) -> tuple[Path | None, UiOptions] | None:
    """(project, options) where the arguments ask for the cockpit and nothing else; None where they must be parsed."""
    project: str | None = None
    chosen: dict[str, bool] = {}
    items = iter(arguments)
    for item in items:
        if item in _FLAGS:
            chosen[_FLAGS[item]] = True
        elif item.startswith("--project="):
            project = item.removeprefix("--project=")
        elif item == "--project" and (value := next(items, None)) is not None:
            project = value
        else:
            return None
    return (None if project is None else Path(project)), UiOptions(**chosen)  # type: ignore[arg-type]


def in_terminal() -> bool:
    """Whether a person sits there."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def open(explicit: Path | None, options: UiOptions, tether: Tether) -> int:
    """Run the cockpit on that project, or on the one that would be meant; return its exit code."""
    if options.slow:
        os.environ.setdefault("TEXTUAL_FPS", str(SLOW_FPS))  # read once, when Textual is imported
    from alpaca_tui import resources
    from alpaca_tui.store import ready

    project = resources.project_directory(explicit)
    if not ready.is_ready(project):
        _prepare(project, create=not options.readonly)
    from alpaca_tui.ui.app import run

    return run(project, options=replace(options, restore=True), tether=tether)


def _prepare(project: Path, *, create: bool) -> None:
    """Create the project, or bring its schema up to date; AlpacaError where it can't be opened."""
    from alpaca_tui.cli.common import narrate
    from alpaca_tui.store import database, projects

    db, new = projects.ensure(project) if create else (database.open_project(project), False)
    db.conn.close()
    if new:
        narrate(f"new project in {project}")
