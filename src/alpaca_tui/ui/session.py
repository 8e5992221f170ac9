"""Where a person was in a project, kept in one small file so that the next start goes on there.

It is display and no fact: nothing is lost with the file, so it is replaced without fsync, and a broken one is passed
over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from alpaca_tui.ui.bindings import SCREENS

FILE = "cockpit.json"
"""In the project's ``runs`` directory."""
VERSION = 1
MOST_BYTES = 64_000
"""A larger file is none of ours; no larger one is written."""
SAVE_EVERY_S = 5.0
"""How much of the way a SIGKILL can lose."""


class Place:
    """What one screen remembers. Whoever edits the file can put anything there, so every value is asked for by type."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = values or {}

    def text(self, name: str) -> str:
        """A text; empty where there is none."""
        value = self._values.get(name)
        return value if isinstance(value, str) else ""

    def one_of(self, name: str, choices: tuple[str, ...]) -> str | None:
        """One of ``choices``, or None."""
        value = self._values.get(name)
        return value if isinstance(value, str) and value in choices else None

    def whole(self, name: str, low: int = 0, high: int = 2**62) -> int | None:
        """A whole number from ``low`` to ``high``, or None."""
        value = self._values.get(name)
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return value if good else None

    def flag(self, name: str) -> bool:
        """True only where true stands there."""
        return self._values.get(name) is True

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers; empty where it is anything else."""
        value = self._values.get(name)
        if not isinstance(value, list) or any(isinstance(v, bool) or not isinstance(v, int | float) for v in value):
            return ()
        return tuple(float(v) for v in value) if all(abs(v) < 1e15 for v in value) else ()

    def __bool__(self) -> bool:
        return bool(self._values)


class Session:
    """The places of all screens, read once and written where they have changed."""

    def __init__(self, project: Path, *, enabled: bool, fresh: bool = False) -> None:
        """``enabled`` False: nothing is read or written, every start is the first. ``fresh``: this start is."""
        self._path = project / "runs" / FILE
        self._enabled = enabled
        self._places: dict[str, dict[str, Any]] = {}
        self._head: dict[str, Any] = {}
        self._written: dict[str, Any] | None = None
        self.problem = ""
        """Why the file could not be read, in one sentence; empty where it could, or where there is none."""
        if enabled and not fresh:
            self._read()

    def _read(self) -> None:
        try:
            with self._path.open("rb") as file:
                found = file.read(MOST_BYTES + 1)
            value = json.loads(found) if len(found) <= MOST_BYTES else None
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or value.get("version") != VERSION or not isinstance(value.get("places"), dict):
            self.problem = (
                f"runs/{FILE} could not be read, so the cockpit starts as at the first time. Nothing is lost."
            )
            return
        self._head = {name: value[name] for name in ("screen", "theme", "configured_theme") if name in value}
        self._places = {name: place for name, place in value["places"].items() if isinstance(place, dict)}

    @property
    def screen(self) -> str | None:
        """The screen that was in sight."""
        return Place(self._head).one_of("screen", SCREENS)

    def theme(self, configured: str) -> str:
        """The theme that was chosen by key, as long as the configured one is the same as then; else that one."""
        head = Place(self._head)
        return head.text("theme") if head.text("configured_theme") == configured and head.text("theme") else configured

    def place(self, screen: str) -> Place:
        """What that screen remembers."""
        return Place(self._places.get(screen))

    def keep(self, screen: str, place: Mapping[str, Any]) -> None:
        """Remember this of that screen."""
        self._places[screen] = dict(place)

    def save(self, screen: str, theme: str, configured_theme: str) -> None:
        """Write the file where anything has changed; what can't be written is forgotten without a word."""
        if not self._enabled:
            return
        value = {
            "version": VERSION, "screen": screen, "theme": theme, "configured_theme": configured_theme,
            "places": self._places,
        }  # fmt: skip
        text = json.dumps(value)
        if value == self._written or len(text) > MOST_BYTES:
            return
        self._written = json.loads(text)
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with os.fdopen(
                os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w"
            ) as file:
                file.write(text)
            temporary.replace(self._path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
