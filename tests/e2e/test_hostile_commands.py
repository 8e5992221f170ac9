"""What the commands print to a terminal is inert: the corpus of the cockpit's tests, in every field, read as bytes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from ui.test_hostile import FORBIDDEN, hostile  # noqa: F401  (a fixture)

COMMAND = str(Path(sys.executable).with_name("alpaca-tui"))
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

COMMANDS = (
    ("status",),
    ("review", "list", "all"),
    ("review", "list", "all", "--json"),
    ("seeds", "list"),
    ("seeds", "check"),
    ("jobs", "list"),
    ("jobs", "show", "2"),
    ("jobs", "logs", "2"),
    ("dataset", "list"),
    ("filter", "--threshold", "0.6"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nothing_in_a_text_reaches_the_terminal(hostile: Path, command: tuple[str, ...]) -> None:  # noqa: F811
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120"}
    words = [word for word in command if word != "--json"]
    given = ["--project", str(hostile), *(["--json"] if "--json" in command else []), *words]
    child = pexpect.spawn(COMMAND, given, env=env, dimensions=(50, 120), timeout=60)
    printed = child.read().decode("utf-8")  # every byte can be decoded
    child.close()
    assert child.exitstatus == 0, printed
    left = COLOUR.sub("", printed.replace("\r\n", "\n"))
    assert not FORBIDDEN.findall(left.replace("\r\x1b[K", "")), FORBIDDEN.findall(left)[:9]


def test_a_pipe_gets_the_texts_as_they_are(hostile: Path) -> None:  # noqa: F811
    done = subprocess.run(
        [COMMAND, "--project", str(hostile), "--json", "review", "list", "all"], capture_output=True, check=True
    )
    instructions = [row["instruction"] for row in json.loads(done.stdout)["samples"]]
    assert any("\x1b]52;c;" in text for text in instructions)
    assert any("\u202e" in text for text in instructions)
