"""The options of ``generate`` that choose how the method is carried out."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import ValidationError

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.pack_options import PackOptions

Mode = Annotated[
    str | None,
    typer.Option(help="fixed, or faithful: as the public codebases do, their known faults included and counted."),
]
OutputModel = Annotated[
    str | None, typer.Option(metavar="SPEC", help="Another model that writes every output anew; the first one stays.")
]
Regenerate = Annotated[
    bool, typer.Option("--regenerate", help="Invent nothing: let the output model answer all pending samples.")
]
Demonstrations = Annotated[
    str | None, typer.Option(metavar="HUMAN:MACHINE", help="Instructions shown in a prompt, such as 6:2.")
]
PerRequest = Annotated[int | None, typer.Option(min=1, max=90, help="New instructions asked for in one request.")]
Instances = Annotated[int | None, typer.Option(min=1, max=50, help="Instances kept of one instruction, at most.")]
ClassificationOnly = Annotated[
    bool, typer.Option("--classification-only", help="Show classification tasks only, and ask for such.")
]
Calibrate = Annotated[
    bool | None, typer.Option("--calibrate/--no-calibrate", help="Take the model's bias off every yes/no margin.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="TABLE.NAME=VALUE", help="Any number of the recipe: instruction.temperature=1; repeatable."
    ),
]


def pack_options(
    defaults: PackOptions,
    *,
    mode: str | None,
    demonstrations: str | None,
    per_request: int | None,
    instances: int | None,
    classification_only: bool,
    calibrate: bool | None,
    settings: dict[str, Any],
) -> PackOptions:
    """The project's defaults with the command line's options over them. Raises UsageError for one out of range."""
    human, machine = _counts(demonstrations) if demonstrations is not None else (None, None)
    given = {
        "mode": mode,
        "human": human,
        "machine": machine,
        "per_request": per_request,
        "max_instances": instances,
        "classification_only": classification_only or None,
        "calibrate": calibrate,
    }
    values = defaults.model_dump() | {name: value for name, value in given.items() if value is not None}
    values["settings"] = defaults.settings | settings
    try:
        return PackOptions.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"the option {name} cannot be {first['input']!r}: {first['msg'].lower()}") from error


def _counts(text: str) -> tuple[int, int]:
    human, colon, machine = text.partition(":")
    if not (colon and human.isdecimal() and machine.isdecimal()):
        raise UsageError(f"cannot read the demonstrations {text!r}; write HUMAN:MACHINE, such as 6:2")
    return int(human), int(machine)
