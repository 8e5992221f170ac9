"""What a run asks of its recipe beyond the pack's own numbers; laid over the manifest before it is checked.

Options that differ from the pack travel inside it, as a further file: the pack's hash then covers them, and a stored
call can be rendered again from the stored pack alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.parsing import Mode

OPTIONS_FILE = "options.json"
"""The name of that file among a pack's files."""

_PATHS = "TABLE.NAME, such as instruction.temperature or input_first.stop"


class PackOptions(BaseModel):
    """How a run departs from its pack; the defaults depart from nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode = "fixed"
    """``faithful`` does as the public codebases do, their known faults included."""
    human: Annotated[int, Field(ge=0, le=64)] | None = None
    """Human-written demonstrations in an instruction prompt."""
    machine: Annotated[int, Field(ge=0, le=64)] | None = None
    """Machine-written ones."""
    per_request: Annotated[int, Field(ge=1, le=90)] | None = None
    """New instructions asked for in one request."""
    max_instances: Annotated[int, Field(ge=1, le=50)] | None = None
    """Instances kept of one instruction."""
    classification_only: bool = False
    """Show classification tasks only, and ask for such."""
    calibrate: bool | None = None
    """Take the model's bias off every yes/no margin (None: as the pack says)."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Any other number of the manifest, by its dotted path."""

    def as_file(self) -> str | None:
        """The text of the options' file; None where there is nothing to say."""
        values = self.model_dump(exclude_defaults=True)
        return json.dumps(values, sort_keys=True) if values else None


def read_options(files: Mapping[str, str]) -> PackOptions:
    """The options that travel with these files. Raises UsageError where they are unreadable."""
    try:
        return PackOptions.model_validate_json(files.get(OPTIONS_FILE, "{}"))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"prompt pack, {OPTIONS_FILE}, {where}: {first['msg']}") from error


def lay_over(raw: dict[str, Any], options: PackOptions) -> None:
    """Change the manifest as read from TOML. Values are checked later, with the rest of it.

    Raises UsageError for a setting that names no table.
    """
    shown, asked = raw.get("demonstrations"), raw.get("instruction")
    if isinstance(shown, dict) and isinstance(asked, dict):
        _number(shown, asked, options)
    for table in ("output_first", "input_first"):
        if options.max_instances is not None and isinstance(raw.get(table), dict):
            raw[table]["max_instances"] = options.max_instances
    if options.calibrate is not None and isinstance(raw.get("classification"), dict):
        raw["classification"]["calibrate"] = options.calibrate
    for path, value in options.settings.items():
        table, dot, name = path.rpartition(".")
        place: Any = raw
        for part in table.split("."):
            place = place.get(part) if isinstance(place, dict) else None
        if not dot or not isinstance(place, dict):
            tables = ", ".join(name for name, value in raw.items() if isinstance(value, dict))
            raise UsageError(f"there is no setting {path!r} in this recipe; write {_PATHS}; its tables are {tables}")
        place[name] = value
        # What a person asks for goes before what the public codebases did.
        if options.mode == "faithful" and isinstance(place.get("faithful"), dict):
            place["faithful"].pop(name, None)


def _number(shown: dict[str, Any], asked: dict[str, Any], options: PackOptions) -> None:
    """Other demonstrations move the numbers of the list that the model goes on with."""
    try:
        per_request = options.per_request or asked["last_number"] - asked["first_number"] + 1
        human = shown["human"] if options.human is None else options.human
        machine = shown["machine"] if options.machine is None else options.machine
        if options.human is not None or options.machine is not None:
            shown.update(human=human, machine=machine, count=human + machine)
            asked["first_number"] = human + machine + 1
        if options.human is not None or options.machine is not None or options.per_request is not None:
            asked["last_number"] = asked["first_number"] + per_request - 1
    except (KeyError, TypeError):
        return  # a manifest that lacks one of them is refused when it is checked
