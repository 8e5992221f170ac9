"""Text on its way to the person's own clipboard: OSC 52 to the terminal, and a file for where that does not arrive.

Whether a terminal obeys OSC 52 cannot be known: many ask, some are told not to, tmux takes it only with ``set-clipboard
on`` (its default, ``external``, drops it) and passes it through only with ``allow-passthrough on``. So the text is
"sent", never "copied", and the file always has it.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alpaca_tui.core.text import clean_text

if TYPE_CHECKING:
    from alpaca_tui.ui.app import CockpitApp

MOST_BYTES = 74_000
"""What terminals commonly take in one sequence (100,000 bytes as base64)."""
MOST_BYTES_SLOW = 8_000
"""On a bad link the keys that are pressed next would wait for the rest."""
FOLDER = "sent"


@dataclass(frozen=True, slots=True)
class Text:
    """What a screen has to send, and what it is: "sample 9"."""

    name: str
    text: str


def labelled(**parts: str) -> str:
    """Texts under their names; empty ones are left out."""
    return "\n\n".join(f"{name.capitalize()}:\n{text}" for name, text in parts.items() if text) + "\n"


def sequence(text: str, environment: Mapping[str, str]) -> str:
    """OSC 52 with the text; inside tmux a second time, wrapped, for the terminal around it."""
    plain = f"\x1b]52;c;{base64.b64encode(text.encode('utf-8', 'replace')).decode('ascii')}\x07"
    if not environment.get("TMUX"):
        return plain
    doubled = plain.replace("\x1b", "\x1b\x1b")
    return f"{plain}\x1bPtmux;{doubled}\x1b\\"


def write(folder: Path, name: str, text: str) -> Path:
    """Write the text to a private file of that name, in place of an earlier one; return its path. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / (re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60] + ".txt")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
    return path


def send(app: CockpitApp) -> None:
    """Send the text of the screen in sight, and say what became of it."""
    from alpaca_tui.resources import user_data_directory

    found: Text | None = getattr(app.screen, "sendable", lambda: None)()
    if found is None:
        app.say("There is no text to send here.")
        return
    text = clean_text(found.text)  # it may end up in a shell
    # A project that is only watched gets no files: its owner is somebody else.
    folder = user_data_directory() if app.options.readonly else app.project
    try:
        where = f"It is also in {write(folder / FOLDER, found.name, text)}"
    except OSError as error:
        where = f"No file could be written ({error.strerror})"
    size, most = len(text.encode("utf-8", "replace")), MOST_BYTES_SLOW if app.options.slow else MOST_BYTES
    what = f"{found.name[:1].upper()}{found.name[1:]}"
    if size > most:
        app.say(f"{what} is too long for the terminal's clipboard ({size:,} bytes, it takes {most:,}). {where}.")
        return
    if app._driver is not None:
        app._driver.write(sequence(text, os.environ))
    app.say(f"{what} was sent to the terminal's clipboard, if the terminal lets it in. {where}.")
