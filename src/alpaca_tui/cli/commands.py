"""The command line: parse, call the same functions as the cockpit, print."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from alpaca_tui.cli import cockpit, common, failing
from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.ui.options import UiOptions

app = typer.Typer(
    name="alpaca-tui",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Make an instruction-tuned model by Self-Instruct, and trust it. Without a command: the cockpit.",
)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    project: Annotated[
        Path | None,
        typer.Option(
            "--project",
            metavar="DIR",
            help="The project directory (default: $ALPACA_TUI_PROJECT, here, or the user's own).",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Cockpit: no braille, no boxes.")] = False,
    slow: Annotated[bool, typer.Option("--slow", help="Cockpit: 4 frames a second, 16 colours.")] = False,
    readonly: Annotated[bool, typer.Option("--readonly", help="Cockpit: watch only.")] = False,
    no_mouse: Annotated[bool, typer.Option("--no-mouse", help="Cockpit: leave the mouse to the terminal.")] = False,
    bell: Annotated[bool, typer.Option("--bell", help="Cockpit: ring when a job ends or falls silent.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Cockpit: begin anew, not where it was left.")] = False,
) -> None:
    if show_version:
        typer.echo(f"alpaca-tui {version('alpaca-tui')}")
        raise typer.Exit
    ctx.obj = common.State(project, as_json)
    if ctx.invoked_subcommand is None:
        if not cockpit.in_terminal():
            raise AlpacaError("the cockpit needs a terminal; for scripts there are commands, see: alpaca-tui --help")
        options = UiOptions(ascii=ascii_only, slow=slow, readonly=readonly, no_mouse=no_mouse, bell=bell, fresh=fresh)
        raise typer.Exit(cockpit.open(project, options, cockpit.launch()))


def _register() -> None:
    from alpaca_tui.cli import chat, compare, datasets, demo, filtering, jobs, machine, project, review, seeds, work

    app.add_typer(seeds.app, name="seeds", help="List, check, import and export seed tasks.")
    app.add_typer(review.app, name="review", help="Accept, reject, edit and undo from scripts.")
    app.add_typer(datasets.app, name="dataset", help="Freeze, list and export data sets.")
    app.add_typer(jobs.app, name="jobs", help="What runs, what happened.")
    project.register(app)
    work.register(app)
    compare.register(app)
    chat.register(app)
    filtering.register(app)
    demo.register(app)
    machine.register(app)


_register()


def hoist(arguments: list[str]) -> list[str]:
    """Move the global options to the front, so that they may stand anywhere: ``generate --json --project DIR``."""
    front: list[str] = []
    rest: list[str] = []
    items = iter(arguments)
    for item in items:
        if item == "--":
            rest += [item, *items]
        elif item == "--json" or item.startswith("--project="):
            front.append(item)
        elif item == "--project":
            front += [item, *([value] if (value := next(items, None)) is not None else [])]
        else:
            rest.append(item)
    return front + rest


def main() -> None:
    """Parse, call, print."""
    failing.guarded(lambda: app(hoist(sys.argv[1:]), prog_name="alpaca-tui"))
