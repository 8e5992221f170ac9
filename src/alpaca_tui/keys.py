"""Keys: from the environment, or a file that nobody else can read. Never from a SPEC, an argument or config.toml."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from alpaca_tui.config import EndpointConfig
from alpaca_tui.core.errors import AlpacaError, UsageError

DEFAULT_VARIABLE = "OPENAI_API_KEY"
NO_KEY = "none"
"""What a server that asks for no key is sent: the client insists on one."""


class Key:
    """A secret that no ``repr`` and no ``str`` gives away; ``value`` does."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "Key(…)"

    def hide(self, text: str) -> str:
        """The text with the key struck out: some servers quote it in their errors."""
        return text.replace(self.value, "…") if self.value not in ("", NO_KEY) else text


def find_key(settings: EndpointConfig, environment: Mapping[str, str] = os.environ) -> Key:
    """The endpoint's key. Raises AlpacaError saying what to set where there must be one.

    A server at an address of its own, for which neither a variable nor a file is named, may do without.
    """
    variable = settings.key_variable or DEFAULT_VARIABLE
    value = environment.get(variable, "").strip()
    if not value and settings.key_file is not None:
        value = _read(settings.key_file.expanduser())
    if value:
        if not value.isascii() or not value.isprintable() or " " in value:
            raise UsageError(f"the key in {variable} (or its file) is not a single word of ASCII: check how it was set")
        return Key(value)
    named = settings.key_variable is not None or settings.key_file is not None
    if named or settings.base_url is None:
        raise AlpacaError(
            f"no key for {settings.base_url or 'the OpenAI API'}: set the environment variable {variable} "
            "where the job is started or resumed (or name a 0600 file as key_file in config.toml)"
        )
    return Key(NO_KEY)


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as handle:
            mode = stat.S_IMODE(os.fstat(handle.fileno()).st_mode)
            if mode & 0o077:
                raise UsageError(f"the key file {path} can be read by others (mode {mode:04o}); run: chmod 600 {path}")
            return handle.read(10_000).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the key file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
