"""Editing a sample in the user's editor: the labelled text format, and the call of the editor."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.text import clean_text

PARTS = ("instruction", "input", "output")
_LABEL = "#: "
_HEAD = (
    "#: Sample {id}. Change what stands under the labels, then save and quit; without a change nothing is stored.\n"
    "#: A line of the text itself that begins with #: has a backslash before it.\n"
)


def dump(sample_id: int, texts: tuple[str, str, str]) -> str:
    """The three texts under their labels."""
    out = _HEAD.format(id=sample_id)
    for name, text in zip(PARTS, texts, strict=True):
        out += f"{_LABEL}{name}\n{_escaped(text)}\n"
    return out


def _escaped(text: str) -> str:
    return "\n".join(f"\\{line}" if line.lstrip("\\").startswith("#:") else line for line in text.split("\n"))


def parse(edited: str, original: tuple[str, str, str]) -> tuple[str, str, str]:
    """The three texts of an edited file. Editors end a file in a newline: newlines at a text's end don't count.

    Raises AlpacaError where a label is missing or stands twice.
    """
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in edited.replace("\r\n", "\n").split("\n"):
        name = line.removeprefix(_LABEL).strip() if line.startswith(_LABEL) else ""
        if name in PARTS:
            if name in found:
                raise AlpacaError(f"the label '{_LABEL}{name}' stands twice in the edited text; nothing was stored")
            current = found[name] = []
        elif not line.startswith("#:"):
            current.append(line[1:] if line.startswith("\\") and line.lstrip("\\").startswith("#:") else line)
    missing = [name for name in PARTS if name not in found]
    if missing:
        raise AlpacaError(f"the label '{_LABEL}{missing[0]}' is missing in the edited text; nothing was stored")
    texts = tuple("\n".join(found[name]).rstrip("\n") for name in PARTS)
    same = [old if new == old.rstrip("\n") else new for new, old in zip(texts, original, strict=True)]
    return same[0], same[1], same[2]


def editor() -> list[str]:
    """The user's editor as a command. Raises AlpacaError where there is none."""
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if chosen:
        return shlex.split(chosen)
    for name in ("nano", "vim", "vi"):
        if shutil.which(name):
            return [name]
    raise AlpacaError("no editor is set and none was found: set EDITOR, or edit here with i")


def edit(sample_id: int, texts: tuple[str, str, str]) -> tuple[str, str, str]:
    """Let the user edit the texts; blocks until the editor ends. The file is private and goes afterwards.

    Raises AlpacaError where the editor fails or its result can't be read.
    """
    command = editor()
    with tempfile.TemporaryDirectory(prefix="alpaca-tui-") as folder:  # 0700
        path = Path(folder) / f"sample-{sample_id}.txt"
        path.touch(mode=0o600)
        path.write_text(dump(sample_id, texts), "utf-8", errors="replace")
        try:
            done = subprocess.run([*command, str(path)], check=False)
        except OSError as error:
            raise AlpacaError(
                f"the editor {command[0]!r} could not be started ({error.strerror}): set EDITOR, or edit here with i"
            ) from error
        if done.returncode != 0:
            raise AlpacaError(f"the editor ended with code {done.returncode}; nothing was stored")
        return parse(path.read_text("utf-8", errors="replace"), texts)


def cleaned(texts: tuple[str, str, str]) -> tuple[str, str, str]:
    """The texts without control characters, as everything that is stored."""
    one, two, three = (clean_text(text) for text in texts)
    return one, two, three
