"""What every command shares: the project, stdout for data, stderr for narration."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from alpaca_tui import resources
from alpaca_tui.core.text import inert_json
from alpaca_tui.core.visible import printable

if TYPE_CHECKING:
    from rich.console import Console
    from sqlite_utils import Database


@dataclass(frozen=True, slots=True)
class State:
    """The global options."""

    project: Path | None = None
    json: bool = False


def state(ctx: typer.Context) -> State:
    """The global options of this call."""
    found = ctx.find_object(State)
    return found or State()


def project_dir(ctx: typer.Context) -> Path:
    """The project directory that this call is about."""
    return resources.project_directory(state(ctx).project)


def open_db(ctx: typer.Context, *, create: bool = False) -> Database:
    """The project's database; with ``create``, a new project is made where there is none."""
    from alpaca_tui.store import database, projects

    project = project_dir(ctx)
    if not create:
        return database.open_project(project)
    db, new = projects.ensure(project)
    if new:
        narrate(f"new project in {project}")
    return db


def emit(ctx: typer.Context, value: Any, text: str | Callable[[Console], None]) -> None:
    """Print the value as JSON with ``--json``, else the text (or what the function prints) for a person."""
    if state(ctx).json:
        sys.stdout.write(inert_json(json.dumps(value, ensure_ascii=False)) + "\n")
    elif callable(text):
        text(_console())
    else:
        sys.stdout.write(shown(text, sys.stdout) + "\n")


def shown(text: str, stream: TextIO) -> str:
    """The text as ``stream`` may have it: on a terminal every character that could drive it becomes a visible sign.

    Into a pipe or a file it goes as it is, but for lone surrogates, which cannot be encoded.
    """
    return printable(text) if stream.isatty() else text.encode("utf-8", "replace").decode("utf-8")


def _console() -> Console:
    """A console on stdout whose every string, also in tables, passes through ``shown``."""
    from rich.console import Console
    from rich.text import Text

    class InertConsole(Console):
        # Before anything is measured: a sign takes a cell where the character that it stands for took none.
        def render_str(self, text: str, **named: Any) -> Text:
            return super().render_str(shown(text, sys.stdout), **named)

    return InertConsole(highlight=False, markup=False, emoji=False)


def narrate(text: str) -> None:
    """Say something about the work, never data."""
    sys.stderr.write(shown(text, sys.stderr) + "\n")
    sys.stderr.flush()
