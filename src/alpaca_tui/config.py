"""Where the project lies, and its ``config.toml``."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.pack_options import PackOptions
from alpaca_tui.core.rouge import TokenizerName

PROJECT_VARIABLE = "ALPACA_TUI_PROJECT"
CONFIG_NAME = "config.toml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GenerateConfig(_Section):
    """Defaults for generation."""

    model: str = "smollm2-135m"
    """The model SPEC that invents instructions, inputs and outputs."""
    recipe: str = "self-instruct"
    """The prompt pack."""
    threshold: float = Field(0.7, ge=0.0, le=1.0)
    """ROUGE-L over which an instruction is too close to a known one (Self-Instruct: 0.7)."""
    batch: int = Field(8, ge=1)
    """Requests in flight at once."""
    output_model: str | None = None
    """A model SPEC that writes every output anew; None: the outputs of ``model`` stay."""
    options: PackOptions = PackOptions()
    """How generation departs from its recipe: ``mode``, ``human``, ``machine``, ``settings`` and so on."""


class RulesConfig(_Section):
    """The filter's rules, by name."""

    disabled: tuple[str, ...] = ()
    """Rules that are not applied."""
    tokenizer: TokenizerName = "rouge"
    """How texts are cut into words for every score: ``rouge`` as in the paper; ``unicode`` for any language."""


class UiConfig(_Section):
    """The cockpit."""

    theme: str | None = None
    """A theme's name; None: the default."""
    keys: dict[str, str] = Field(default_factory=dict)
    """Action name to key, for rebinding."""
    bell: bool = False
    """Ring for: done, not a number, out of memory, dead worker, disk low."""


class Config(_Section):
    """A project's ``config.toml``; every value has a default."""

    generate: GenerateConfig = GenerateConfig()
    rules: RulesConfig = RulesConfig()
    ui: UiConfig = UiConfig()


def load(project: Path) -> Config:
    """The project's configuration. Raises UsageError naming the file and the faulty value."""
    path = project / CONFIG_NAME
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: {where}: {first['msg']}") from error


def project_directory(explicit: Path | None) -> Path:
    """``--project``, else the environment, else the current directory if it is a project, else the user's default."""
    if explicit is not None:
        return explicit.expanduser().absolute()
    named = os.environ.get(PROJECT_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    here = Path.cwd()
    if (here / "alpaca.db").is_file():
        return here
    return user_data_path("alpaca-tui") / "default"
