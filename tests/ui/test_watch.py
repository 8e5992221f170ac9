"""``status --watch``: one screen of plain text that fits, ends cleanly, and is as good in a pipe."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from alpaca_tui.cli.watching import lines
from alpaca_tui.store import database, jobs

from .test_hostile import CORPUS, FORBIDDEN
from .test_terminal import Terminal, terminals  # noqa: F401  (a fixture)

CODE = (
    "import sys; from alpaca_tui.cli.main import main; "
    "sys.argv[1:] = ['--project', sys.argv[1], 'status', '--watch', *sys.argv[2:]]; main()"
)
SEQUENCE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def end_job(project: Path, reason: str) -> None:
    db = database.open_project(project)
    jobs.set_state(db, 5, "failed", reason=reason, exit_code=1)
    db.conn.close()


def started(project: Path, terminals: list[Terminal], columns: int, rows: int, **more: str) -> Terminal:  # noqa: F811
    terminal = Terminal(project, CODE, columns, rows, **more)
    terminals.append(terminal)
    return terminal


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 8)])
def test_it_fits_the_screen_follows_the_project_and_ends_with_ctrl_c(
    project: Path, terminals: list[Terminal], size: tuple[int, int]  # noqa: F811
) -> None:  # fmt: skip
    terminal = started(project, terminals, *size)
    terminal.wait_for("alpaca-tui")
    terminal.wait_for("job 5" if size[1] > 8 else "more lines")
    if size[1] > 8:
        assert "s left  beat" in terminal.text or "SILENT" in terminal.text
        end_job(project, "the loss became nan at step 3; lower the learning rate")
        terminal.wait_for("failed")
        terminal.wait_for("nothing is at work")
    assert all(len(line) <= size[0] for line in terminal.screen.display)
    assert {found[-1:] for found in SEQUENCE.findall(terminal.bytes)} <= {b"H", b"K", b"J"}  # no colour, no modes
    terminal.child.sendintr()
    assert terminal.end() == 0
    assert b"Traceback" not in terminal.bytes and b"Abort" not in terminal.bytes


def test_it_is_drawn_anew_when_the_window_changes(project: Path, terminals: list[Terminal]) -> None:  # noqa: F811
    terminal = started(project, terminals, 100, 30)
    terminal.wait_for("job 1")
    terminal.screen.resize(8, 50)
    terminal.child.setwinsize(8, 50)
    terminal.wait_for("more lines")
    for size in ((1, 1), (2, 3), (30, 100)):
        terminal.screen.resize(*size)
        terminal.child.setwinsize(*size)
        terminal.read(0.3)
    terminal.wait_for("job 1")
    terminal.child.sendintr()
    assert terminal.end() == 0


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_in_a_pipe_there_is_no_sequence_and_the_readers_end_is_no_fault(project: Path, flags: list[str]) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CODE, str(project), *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None and child.stderr is not None
    first = child.stdout.readline()
    if flags:
        assert json.loads(first)["seeds"] == 175
    else:
        assert first.startswith(b"alpaca-tui  /") and b"\x1b" not in first
        for _ in range(4):
            child.stdout.readline()
    child.stdout.close()
    end_job(project, "so that there is something new to write")
    assert child.wait(60) == 0
    assert b"Traceback" not in child.stderr.read()


def test_a_dumb_terminal_gets_plain_lines_and_a_signal_ends_it(project: Path, terminals: list[Terminal]) -> None:  # noqa: F811
    terminal = started(project, terminals, 200, 30, TERM="dumb")
    terminal.wait_for("job 1")
    assert b"\x1b" not in terminal.bytes
    os.kill(terminal.child.pid, signal.SIGTERM)
    assert terminal.end() == -signal.SIGTERM


def value(**jobs_fields: Any) -> dict[str, Any]:
    job = {"id": 1, "kind": "generate", "state": "running", "progress": 0.5, "tokens_per_s": 12.0, "eta_s": 500.0,
           "heartbeat_age_s": 1.0, "activity": "a", "reason": None, "elapsed_s": 9.0}  # fmt: skip
    return {
        "project": "/p", "seeds": 175, "completions": 3, "datasets": [{"name": "first"}],
        "candidates": {"total": 9, "kept": 6, "rejected": {"novelty": 3}},
        "samples": {"total": 6, "pending": 1, "accepted": 2, "rejected": 3, "filtered": {"echo": 1}},
        "jobs": [job | jobs_fields],
    }  # fmt: skip


@given(st.integers(0, 200), st.integers(0, 60), st.text(max_size=300), st.integers(0, 60))
def test_any_text_fits_any_screen(width: int, height: int, text: str, count: int) -> None:
    seen = value(reason=text, activity=text)
    seen["project"] = text
    seen["jobs"] = [seen["jobs"][0] | {"id": n, "state": "failed" if n % 2 else "running"} for n in range(count)]
    shown = lines(seen, width, height, "12:00:00")
    assert len(shown) <= height
    for line in shown:
        assert cell_len(line) <= max(width, 1) and not FORBIDDEN.search(line) and "\n" not in line


def test_what_is_at_work_comes_first_and_hostile_reasons_are_inert() -> None:
    seen = value()
    seen["jobs"] = [
        seen["jobs"][0] | {"id": 1, "state": "succeeded"},
        seen["jobs"][0] | {"id": 2, "heartbeat_age_s": 40.0},
        seen["jobs"][0] | {"id": 3, "state": "failed", "reason": " ".join(CORPUS)},
    ]
    shown = lines(seen, 200, 30, "12:00:00")
    assert [line[:5] for line in shown if line.startswith("job")] == ["job 2", "job 3", "job 1"]
    assert "[#####.....] 50%  12 tok/s  8 min left  SILENT 40 s" in "\n".join(shown)
    assert not any(FORBIDDEN.search(line) for line in shown)
