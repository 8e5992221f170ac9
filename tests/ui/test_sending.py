"""Y sends what is in sight by OSC 52 and writes it into a private file; it never claims to have copied."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from alpaca_tui.jobs import logs
from alpaca_tui.ui import sending
from alpaca_tui.ui.options import UiOptions

from .conftest import Opened, toasts
from .test_few_colours import COMMAND
from .test_terminal import Terminal, terminals  # noqa: F401  (a fixture)

OSC = re.compile(rb"\x1b\]52;c;([A-Za-z0-9+/=]*)\x07")


def sent(project: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (project / sending.FOLDER).iterdir()}


async def test_every_screen_sends_what_is_in_focus(opened: Opened, project: Path) -> None:
    logs.log_path(project, 5).write_text("first line\nsecond [/line] \x1b[2J\n")
    async with opened(project, (140, 40)) as (app, pilot):
        for keys in ("1Y", "2Y", "2vvY", "3Y", "4\tjY", "5Y", "6Y", "6bY", "7Y", "7oY"):
            for key in keys:
                await pilot.press("tab" if key == "\t" else key)
                await app.workers.wait_for_complete()
                await pilot.pause()
            if "b" in keys:
                await pilot.press("escape")
        said = toasts(app)
        assert "There is no text to send here." in said and "copied" not in said
        assert said.count("was sent to the terminal's clipboard, if the terminal lets it in. It is also in") == 9
    found = sent(project)
    assert found["sample-9.txt"] == (
        "Instruction:\nTranslate the phrase into Spanish.\n\nInput:\nWhere is the library?\n\n"
        "Output:\n¿Dónde está la biblioteca?\n"
    )
    assert found["selection-of-2-samples.txt"].count("Instruction:") == 2
    assert "Harden this deployment script" in found["seed-1.txt"]
    rejected = next(text for name, text in found.items() if name.startswith("instruction-"))
    assert "INSTRUCTION" in rejected and rejected.startswith(("novelty", "length", "banned", "program"))
    assert "RUN 2" in found["facts-of-job-2.txt"]
    assert "Reference:\n" in next(text for name, text in found.items() if name.startswith("task-"))
    assert "Left:\n" in found["blind-task.txt"]
    assert found["log-of-job-5.txt"] == "first line\nsecond [/line]\n"
    assert "queued" in found["story-of-job-5.txt"]
    assert (project / "sent").stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (project / "sent").iterdir())


async def test_a_dialog_that_is_read_can_be_sent(opened: Opened, project: Path) -> None:
    async with opened(project) as (_, pilot):
        await pilot.press("2", "p", "Y")
        await pilot.pause()
    assert "PROMPT" in sent(project)["how-sample-9-was-made.txt"]


async def test_watching_leaves_no_file_in_the_project(
    opened: Opened, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    async with opened(project, options=UiOptions(readonly=True)) as (app, pilot):
        await pilot.press("2", "Y")
        await pilot.pause()
        assert str(tmp_path / "data") in toasts(app)
    assert not (project / "sent").exists() and "sample-9.txt" in sent(tmp_path / "data" / "alpaca-tui")


async def test_what_cannot_be_written_is_said(opened: Opened, project: Path) -> None:
    (project / "sent").mkdir()
    target = project / "target"
    target.write_text("untouched")
    (project / "sent" / "sample-9.txt").symlink_to(target)
    async with opened(project) as (app, pilot):
        await pilot.press("2", "Y")
        await pilot.pause()
        assert "No file could be written" in toasts(app)
    assert target.read_text() == "untouched"


@pytest.mark.parametrize("tmux", [False, True])
def test_the_terminal_gets_osc_52(project: Path, terminals: list[Terminal], tmux: bool) -> None:  # noqa: F811
    terminal = Terminal(project, COMMAND.format(()), 120, 40, **({"TMUX": "/tmp/tmux-0/default,1,0"} if tmux else {}))
    terminals.append(terminal)
    terminal.wait_for("kept 22/48")
    terminal.child.send("2")
    terminal.wait_for("showing")
    assert not OSC.search(terminal.bytes)
    terminal.child.send("Y")
    terminal.wait_for("was sent to")
    found = OSC.findall(terminal.bytes)
    assert {base64.b64decode(payload) for payload in found} == {(project / "sent" / "sample-9.txt").read_bytes()}
    assert (b"\x1bPtmux;\x1b\x1b]52;c;" in terminal.bytes) == tmux
    terminal.child.send("q")
    assert terminal.end() == 0


@pytest.mark.parametrize(
    ("slow", "length", "through"), [(False, 70_000, True), (False, 80_000, False), (True, 9_000, False)]
)
def test_too_long_for_a_terminal_goes_into_the_file_only(
    project: Path, terminals: list[Terminal], slow: bool, length: int, through: bool  # noqa: F811
) -> None:  # fmt: skip
    logs.log_path(project, 5).write_text("\n".join(["x" * 299] * (length // 300)))
    terminal = Terminal(project, COMMAND.format(("--slow",) if slow else ()), 120, 40)
    terminals.append(terminal)
    terminal.wait_for("kept 22/48")
    terminal.child.send("7")
    terminal.wait_for("x" * 99)
    terminal.child.send("Y")
    terminal.wait_for("was sent to" if through else "is too long for the")
    assert bool(OSC.search(terminal.bytes)) == through
    assert len((project / "sent" / "log-of-job-5.txt").read_text()) == length // 300 * 300
    terminal.child.send("q")
    assert terminal.end() == 0


def test_nothing_in_a_text_ends_the_sequence() -> None:
    text = "a\x07b\x1b\\c\x9cd ü 漢"
    (payload,) = OSC.findall(sending.sequence(text, {}).encode())
    assert base64.b64decode(payload).decode() == text
    assert sending.sequence(text, {}).count("\x07") == 1
