"""What every command shares: the project, stdout for data, stderr for narration."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from alpaca_tui import config

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
    return config.project_directory(state(ctx).project)


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
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    elif callable(text):
        from rich.console import Console

        text(Console(highlight=False, markup=False, emoji=False))
    else:
        sys.stdout.write(text + "\n")


def narrate(text: str) -> None:
    """Say something about the work, never data."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
