"""In a real terminal: what ends the cockpit, and what it leaves: no process, a sane terminal, a true exit code."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import psutil
import pytest

from alpaca_tui.store import database, jobs

from .test_terminal import CALL, DEAF, IMPORTS, RUN, Terminal

LAUNCHED = "import sys; sys.argv[1:1] = ['--project']; from alpaca_tui.cli.main import main; main()"
"""As the command does it: a tiny process in front of the cockpit."""
DAWDLING = (
    "from alpaca_tui.ui import app; import time; "
    "app.CockpitApp.on_unmount = lambda self: (self.watcher.stop(), time.sleep(2)); "
)
WITHOUT_A_WORD = (
    "import os, signal, subprocess, sys; from pathlib import Path; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    "done = subprocess.run([sys.executable, '-c', os.environ['COCKPIT'], sys.argv[1]]); "
    "Path(os.environ['CODE']).write_text(str(done.returncode))"
)
"""A shell that keeps the hang-up to itself: the cockpit sees only that its terminal is gone."""
GONE = 128 + signal.SIGHUP
LEFT = (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?2004l")


@pytest.fixture
def started() -> Iterator[Callable[..., Terminal]]:
    terminals: list[Terminal] = []

    def start(project: Path, code: str = LAUNCHED, **size: int) -> Terminal:
        terminals.append(Terminal(project, code, **size))
        return terminals[-1]

    yield start
    for terminal in terminals:
        for process in family(terminal):
            process.kill()
        with contextlib.suppress(pexpect.ExceptionPexpect, OSError):
            terminal.child.close(force=True)


def family(terminal: Terminal) -> list[psutil.Process]:
    """The process in the terminal and its children."""
    try:
        process = psutil.Process(terminal.child.pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cockpit_of(terminal: Terminal) -> psutil.Process:
    """The cockpit itself, behind its launcher."""
    return family(terminal)[1]


def hang_up(terminal: Terminal) -> None:
    terminal.child.ptyproc.fileobj.close()


def all_end(processes: list[psutil.Process]) -> int:
    """Wait for their ends; return the exit code of the first (negative: died by that signal)."""
    ended, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive, f"still there: {[(p.pid, p.cpu_times()) for p in alive]}"
    return int(next(p.returncode for p in ended if p == processes[0]) or 0)


def modes(terminal: Terminal) -> list[object]:
    return list(termios.tcgetattr(terminal.child.child_fd))


def wait_until(met: Callable[[], bool], terminal: Terminal, what: str) -> None:
    end = time.monotonic() + 60
    while not met():
        assert time.monotonic() < end, f"never: {what}\n{terminal.text}"
        terminal.read(0.05)


# The terminal goes away --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [LAUNCHED, RUN], ids=["launched", "alone"])
@pytest.mark.parametrize("delay", [0.05, 0.15, 0.25, 0.35, 0.6])
def test_hung_up_while_it_starts(project: Path, started: Callable[..., Terminal], code: str, delay: float) -> None:
    terminal = started(project, code)
    time.sleep(delay)
    processes = family(terminal)
    hang_up(terminal)
    assert all_end(processes) in (GONE, -signal.SIGHUP)


@pytest.mark.parametrize("code", [LAUNCHED, RUN], ids=["launched", "alone"])
def test_hung_up_while_it_runs(project: Path, started: Callable[..., Terminal], code: str) -> None:
    terminal = started(project, code)
    terminal.wait_for("kept 22/48")
    processes = family(terminal)
    hang_up(terminal)
    assert all_end(processes) == GONE
    db = database.open_project(project)
    assert jobs.get(db, 5).state == "running"
    db.conn.close()


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 1.0])
def test_hung_up_after_q_while_a_replay_is_worked_out(
    project: Path, started: Callable[..., Terminal], delay: float
) -> None:
    terminal = started(project, IMPORTS + DEAF + CALL)
    terminal.wait_for("kept 22/48")
    terminal.child.send("4c")
    terminal.wait_for("drawing the curve")
    processes = family(terminal)
    terminal.child.send("q")
    terminal.read(delay)
    hang_up(terminal)
    assert all_end(processes) in (0, GONE)


def test_hung_up_between_giving_the_terminal_back_and_the_end(project: Path, started: Callable[..., Terminal]) -> None:
    """SIGCONT comes with SIGHUP: it once made the cockpit take the dead terminal again, and read from it for ever."""
    terminal = started(project, IMPORTS + DAWDLING + CALL)
    terminal.wait_for("kept 22/48")
    processes = family(terminal)
    terminal.child.send("q")
    wait_until(lambda: b"\x1b[?1049l" in terminal.bytes, terminal, "the terminal given back")
    hang_up(terminal)
    assert all_end(processes) in (0, GONE)


@pytest.mark.parametrize("code", [LAUNCHED, RUN], ids=["launched", "alone"])
def test_hung_up_without_a_signal(
    project: Path,
    started: Callable[..., Terminal],
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COCKPIT", code)
    monkeypatch.setenv("CODE", str(tmp_path / "code"))
    terminal = started(project, WITHOUT_A_WORD)
    terminal.wait_for("kept 22/48")
    processes = family(terminal)
    hang_up(terminal)
    all_end(processes)
    assert (tmp_path / "code").read_text() == str(GONE)


@pytest.mark.parametrize("number", [0, signal.SIGTERM], ids=["hang-up", "SIGTERM"])
def test_ended_while_the_editor_is_open(
    project: Path, started: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The editor is told, and the cockpit does not wait for it without end."""
    monkeypatch.setenv("EDITOR", f"{sys.executable} -c \"import time; print('editing', flush=True); time.sleep(600)\"")
    monkeypatch.delenv("VISUAL", raising=False)
    terminal = started(project)
    terminal.wait_for("kept 22/48")
    terminal.child.send("2")
    terminal.wait_for("showing pending")
    terminal.child.send("e")
    wait_until(lambda: b"editing" in terminal.bytes, terminal, "the editor")
    processes = family(terminal)
    assert len(processes) == 3
    if number:
        terminal.child.kill(number)
    else:
        hang_up(terminal)
    assert all_end(processes) == 128 + (number or signal.SIGHUP)


# Signals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_launcher_ends_both_and_restores_the_terminal(
    project: Path, started: Callable[..., Terminal], number: signal.Signals
) -> None:
    terminal = started(project)
    before = modes(terminal)
    terminal.wait_for("kept 22/48")
    processes = family(terminal)
    assert modes(terminal) != before
    terminal.child.kill(number)
    all_end(processes[1:])
    assert modes(terminal) == before
    assert terminal.end() == 128 + number
    assert all(sequence in terminal.bytes for sequence in LEFT)


def test_after_sigkill_the_launcher_restores_the_terminal(project: Path, started: Callable[..., Terminal]) -> None:
    terminal = started(project)
    before = modes(terminal)
    terminal.wait_for("kept 22/48")
    seen = len(terminal.bytes)
    cockpit_of(terminal).kill()
    wait_until(lambda: b"Jobs go on" in terminal.bytes, terminal, "what has happened")
    assert modes(terminal) == before
    assert terminal.end() == 128 + signal.SIGKILL
    assert all(sequence in terminal.bytes[seen:] for sequence in LEFT)
    db = database.open_project(project)
    assert jobs.get(db, 5).state == "running"
    db.conn.close()


def test_a_killed_launcher_takes_the_cockpit_with_it(project: Path, started: Callable[..., Terminal]) -> None:
    terminal = started(project)
    terminal.wait_for("kept 22/48")
    cockpit = cockpit_of(terminal)
    terminal.child.kill(signal.SIGKILL)
    all_end([cockpit])
    terminal.read(0.5)
    assert all(sequence in terminal.bytes for sequence in LEFT)


def stopped(terminal: Terminal) -> bool:
    return all(process.status() == psutil.STATUS_STOPPED for process in family(terminal))


@pytest.mark.parametrize("code", [LAUNCHED, RUN], ids=["launched", "alone"])
def test_suspended_and_continued(project: Path, started: Callable[..., Terminal], code: str) -> None:
    terminal = started(project, code)
    before = modes(terminal)
    terminal.wait_for("kept 22/48")
    for _ in range(2):
        seen = len(terminal.bytes)
        terminal.child.kill(signal.SIGTSTP)
        wait_until(lambda: stopped(terminal), terminal, "stopped")
        terminal.read(0.2)
        assert modes(terminal) == before
        assert all(sequence in terminal.bytes[seen:] for sequence in LEFT)
        seen = len(terminal.bytes)
        terminal.screen.reset()
        terminal.child.kill(signal.SIGCONT)
        terminal.wait_for("kept 22/48")
        assert b"\x1b[?1049h" in terminal.bytes[seen:]
    terminal.child.send("2")
    terminal.wait_for("showing pending")
    terminal.child.send("q")
    assert terminal.end() == 0
    assert modes_after(terminal, before)


def modes_after(terminal: Terminal, before: list[object]) -> bool:
    """The terminal's modes once more; a closed pty can't be asked, and had been asked at every stop."""
    return terminal.child.closed or modes(terminal) == before


def test_a_stop_without_notice_is_mended_when_it_is_continued(project: Path, started: Callable[..., Terminal]) -> None:
    """SIGSTOP leaves no time to give the terminal back; whoever uses it meanwhile changes it."""
    terminal = started(project)
    before = modes(terminal)
    terminal.wait_for("kept 22/48")
    raw = modes(terminal)
    os.killpg(terminal.child.pid, signal.SIGSTOP)
    wait_until(lambda: stopped(terminal), terminal, "stopped")
    termios.tcsetattr(terminal.child.child_fd, termios.TCSANOW, before)  # type: ignore[arg-type]
    terminal.screen.reset()
    os.killpg(terminal.child.pid, signal.SIGCONT)
    terminal.wait_for("kept 22/48")
    assert modes(terminal) == raw
    terminal.child.send("q")
    assert terminal.end() == 0


def test_job_control_of_a_shell(project: Path, started: Callable[..., Terminal]) -> None:
    """Suspended from outside, the shell has its terminal; fg brings the cockpit back; the shell sees the true code."""
    command = f'{sys.executable} -c "{LAUNCHED}" {project}'
    shell = "import os; os.environ['PS1'] = 'ready> '; os.execlp('bash', 'bash', '--norc', '--noprofile', '-i')"
    terminal = started(project, shell)
    terminal.wait_for("ready>")
    terminal.child.send(command + "\r")
    terminal.wait_for("kept 22/48")
    launcher = family(terminal)[1]
    launcher.send_signal(signal.SIGTSTP)
    terminal.wait_for("Stopped")
    terminal.child.send("echo th''ere\r")
    terminal.wait_for("there")
    terminal.child.send("fg\r")
    terminal.wait_for("kept 22/48")
    terminal.child.send("3")
    terminal.wait_for("175")
    launcher.send_signal(signal.SIGTERM)
    terminal.wait_for("ready>")
    terminal.child.send("echo co''de $?\r")
    terminal.wait_for("code 143")
    terminal.child.send("exit\r")
    terminal.end()


# A terminal in trouble ---------------------------------------------------------------------------------------------


def test_resized_to_one_cell_and_back(project: Path, started: Callable[..., Terminal]) -> None:
    terminal = started(project)
    terminal.wait_for("kept 22/48")
    for rows, columns in ((1, 1), (30, 1), (1, 100), (2, 2)):
        terminal.child.setwinsize(rows, columns)
        terminal.read(0.4)
        for key in "2341":
            terminal.child.send(key)
            terminal.read(0.2)
    terminal.child.setwinsize(30, 100)
    terminal.screen.reset()
    terminal.wait_for("kept 22/48")
    terminal.child.send("2")
    terminal.wait_for("showing pending")
    terminal.child.send("q")
    assert terminal.end() == 0


def test_a_terminal_that_does_not_read_stalls_nothing_and_is_brought_up_to_date(
    project: Path, started: Callable[..., Terminal]
) -> None:
    terminal = started(project)
    terminal.wait_for("kept 22/48")
    terminal.child.send("2")
    terminal.wait_for("showing pending")
    db = database.open_project(project)
    try:
        for _ in range(12):  # far more than the kernel and the cockpit keep back
            for key in "1345672":
                terminal.child.send(key)
                time.sleep(0.05)
        terminal.child.send("a")
        end = time.monotonic() + 60
        while not db["decisions"].count_where("sample_id = 9"):
            assert time.monotonic() < end, "the cockpit waits for its terminal"
            time.sleep(0.05)
    finally:
        db.conn.close()
    terminal.wait_for("#9 accepted")
    terminal.read(1.5)  # what was left out comes behind
    before = terminal.screen.display[:-2]  # but for the status: it shows ages
    terminal.child.send("?")
    terminal.wait_for("Keys: Review")
    terminal.child.send("\x1b")
    wait_until(lambda: "Keys: Review" not in terminal.text, terminal, "the help closed")
    assert terminal.screen.display[:-2] == before, "what was left out was never drawn"
    terminal.child.send("q")
    assert terminal.end() == 0


def test_left_while_the_terminal_does_not_read(project: Path, started: Callable[..., Terminal]) -> None:
    """The cockpit ends; its launcher gives the terminal back as soon as that reads again."""
    terminal = started(project)
    before = modes(terminal)
    terminal.wait_for("kept 22/48")
    cockpit = cockpit_of(terminal)
    for _ in range(12):
        for key in "1345672":
            terminal.child.send(key)
            time.sleep(0.05)
    terminal.child.send("q")
    all_end([cockpit])
    wait_until(lambda: b"\x1b[?25h" in terminal.bytes, terminal, "a cursor")
    assert modes(terminal) == before
    assert terminal.end() == 0
    assert all(sequence in terminal.bytes for sequence in LEFT)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_attached_again_in_tmux_at_another_size_and_gone_with_its_session(
    project: Path, started: Callable[..., Terminal], tmp_path: Path
) -> None:
    socket = str(tmp_path / "tmux")

    def tmux(*arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-S", socket, "-f", "/dev/null", *arguments], capture_output=True, text=True, check=True
        ).stdout

    def pane(text: str) -> None:
        end = time.monotonic() + 60
        while text not in (shown := tmux("capture-pane", "-p")):
            assert time.monotonic() < end, f"{text!r} never came:\n{shown}"
            time.sleep(0.1)

    attach = f"import os; os.execlp('tmux', 'tmux', '-S', {socket!r}, 'attach')"
    command = [sys.executable, "-c", LAUNCHED, str(project)]
    tmux("new-session", "-d", "-x", "100", "-y", "30", *command)
    try:
        pane("kept 22/48")
        processes = [psutil.Process(int(tmux("display-message", "-p", "#{pane_pid}")))]
        processes += processes[0].children()
        assert len(processes) == 2
        for columns, rows in ((80, 24), (150, 45)):
            terminal = started(project, attach, columns=columns, rows=rows)
            terminal.wait_for("kept 22/48")
            terminal.child.send("2")
            terminal.wait_for("showing pending")
            terminal.child.send("1")
            terminal.wait_for("Seed")
            tmux("detach-client")
            terminal.end()
        pane("kept 22/48")
        tmux("kill-session")
        all_end(processes)
    finally:
        subprocess.run(["tmux", "-S", socket, "kill-server"], capture_output=True, check=False)
