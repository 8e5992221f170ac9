"""In a real terminal: the first frame, what leaves for the terminal, signals, exit codes, what is imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pyte
import pytest

from alpaca_tui.store import database, jobs

from .test_hostile import hostile  # noqa: F401  (a fixture)

IMPORTS = "import sys; from pathlib import Path; from alpaca_tui.ui.app import UiOptions, run; "
CALL = "sys.exit(run(Path(sys.argv[1]), options=UiOptions()))"
RUN = IMPORTS + CALL
BREAK = "from alpaca_tui.ui.widgets import panes; panes.SeedsPane.compose_lines = lambda *a: 1 / (secret_value := 0); "


THREAD = "from alpaca_tui.store import replays; import itertools, time; "
ENDLESS = THREAD + (
    "replays.threshold_curve = lambda *a, progress, **k: [progress(n, 10**9) for n in itertools.count()]; "
)
DEAF = THREAD + "replays.threshold_curve = lambda *a, **k: [time.sleep(0.1) for _ in itertools.count()]; "


class Terminal:
    """The cockpit in a pty with a terminal emulator behind it."""

    def __init__(self, project: Path, code: str = RUN, columns: int = 100, rows: int = 30, **variables: str) -> None:
        env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        for name in ("NO_COLOR", "COLUMNS", "LINES"):  # the pty says how large it is
            env.pop(name, None)
        env |= variables
        self.child = pexpect.spawn(sys.executable, ["-c", code, str(project)], env=env, dimensions=(rows, columns))
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.bytes = b""

    def read(self, seconds: float = 0.2) -> int:
        """Take what comes for so long; return the number of bytes."""
        count, end = 0, time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                found = self.child.read_nonblocking(65536, timeout=left)
            except (pexpect.TIMEOUT, pexpect.EOF, OSError):  # OSError: the test has closed the terminal
                continue
            self.bytes += found
            self._stream.feed(found)
            count += len(found)
        return count

    def wait_for(self, text: str, seconds: float = 60.0) -> None:
        """Read until the text is on the screen."""
        end = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < end, f"{text!r} never came:\n{self.text}"
            self.read(0.05)

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def end(self) -> int:
        """Wait for the exit; return the code (negative: died by that signal)."""
        end = time.monotonic() + 60
        while self.child.isalive():
            assert time.monotonic() < end, "it does not end"
            self.read(0.05)
        self.read(0.1)
        self.child.close()
        return self.child.exitstatus if self.child.exitstatus is not None else -(self.child.signalstatus or 0)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    started: list[Terminal] = []
    yield started
    for terminal in started:
        terminal.child.close(force=True)


def test_a_session_by_keyboard(project: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(project)
    terminals.append(terminal)
    terminal.wait_for("kept 22/48")
    terminal.child.send("2")
    terminal.wait_for("showing pending")
    terminal.child.send("a")
    terminal.wait_for("#9 accepted")
    terminal.child.send("u")
    terminal.wait_for("accept #9 taken back")
    terminal.child.send("7")
    terminal.wait_for("Log of job 5")
    terminal.child.send("q")
    assert terminal.end() == 0
    assert b"\x1b[?1049l" in terminal.bytes and b"\x1b[?25h" in terminal.bytes
    assert "job 5 (generate) goes on" in terminal.bytes.decode("utf-8", "replace")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal_and_tells_the_truth(
    project: Path, terminals: list[Terminal], number: signal.Signals
) -> None:
    terminal = Terminal(project)
    terminals.append(terminal)
    terminal.wait_for("kept 22/48")
    terminal.child.kill(number)
    assert terminal.end() == 128 + number
    assert b"\x1b[?1049l" in terminal.bytes and b"\x1b[?25h" in terminal.bytes
    db = database.open_project(project)
    assert jobs.get(db, 5).state == "running"
    db.conn.close()


def test_the_end_waits_for_nothing_that_is_being_worked_out(project: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(project, IMPORTS + ENDLESS + CALL)
    terminals.append(terminal)
    terminal.wait_for("kept 22/48")
    terminal.child.send("4c")
    terminal.wait_for("drawing the curve")
    terminal.child.send("q")
    assert terminal.end() == 0


def test_a_terminal_that_goes_away_at_the_end_leaves_no_process_behind(
    project: Path, terminals: list[Terminal]
) -> None:
    """The thread of this one can't be stopped: the process is in its last moments when SIGHUP and SIGCONT come."""
    terminal = Terminal(project, IMPORTS + DEAF + CALL)
    terminals.append(terminal)
    terminal.wait_for("kept 22/48")
    terminal.child.send("4c")
    terminal.wait_for("drawing the curve")
    terminal.child.send("q")
    while b"\x1b[?1049l" not in terminal.bytes:
        terminal.read(0.05)
    terminal.child.ptyproc.fileobj.close()
    assert terminal.end() in (0, 128 + signal.SIGHUP)


def test_a_crash_says_so_in_two_lines_without_values(project: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(project, IMPORTS + BREAK + CALL)
    terminals.append(terminal)
    assert terminal.end() == 1
    said = terminal.bytes.split(b"\x1b[?1049l")[-1].decode("utf-8", "replace")
    assert "the cockpit broke: ZeroDivisionError" in said and "Jobs go on" in said
    assert "Traceback" not in said and "secret_value" not in said
    log = project / "crash.log"
    assert "ZeroDivisionError" in log.read_text() and log.stat().st_mode & 0o777 == 0o600


def test_no_sequence_of_the_text_reaches_the_terminal(hostile: Path, terminals: list[Terminal]) -> None:  # noqa: F811
    terminal = Terminal(hostile, columns=140, rows=40)
    terminals.append(terminal)
    terminal.wait_for("Live generation")
    # Every screen, then the palette, the blind comparison, the reasons, a form, the messages, a query, a story.
    for key in (*"2345671", ":[/foo]", *"\x1b6bfr\x1b2R\x1bp\x1b1n\x1bm\x1b4", "/[/foo]\r", *"7o"):
        terminal.child.send(key)
        terminal.read(0.6)
    terminal.child.send("q")
    assert terminal.end() == 0
    for sequence in (
        b"\x1b]52",
        b"\x1b]8;",
        b"\x1b]0;title",
        b"\x1b[2J\x1b[H\x1b[31m",
        b"\x9b2J",
        b"\x1bP1$r",
        "\u202e".encode(),
    ):
        assert sequence not in terminal.bytes
    assert "␛]52;c;ZXZpbA==".encode() in terminal.bytes


@pytest.mark.parametrize("mouse", [True, False])
def test_without_the_mouse_the_terminal_keeps_it(project: Path, terminals: list[Terminal], mouse: bool) -> None:
    terminal = Terminal(project, IMPORTS + f"sys.exit(run(Path(sys.argv[1]), options=UiOptions(no_mouse={not mouse})))")
    terminals.append(terminal)
    terminal.wait_for("kept 22/48")
    terminal.child.send("q")
    assert terminal.end() == 0
    modes = (b"\x1b[?1000h", b"\x1b[?1003h", b"\x1b[?1006h")
    assert all((mode in terminal.bytes) == mouse for mode in modes)


def test_an_idle_cockpit_sends_nothing(tmp_path: Path, terminals: list[Terminal]) -> None:
    from alpaca_tui.store import projects

    projects.ensure(tmp_path / "idle")[0].conn.close()
    terminal = Terminal(tmp_path / "idle")
    terminals.append(terminal)
    terminal.wait_for("disk")
    terminal.read(1.0)
    # Free disk space may change by 0.1 GB meanwhile, for which one line is drawn again.
    assert terminal.read(4.0) < 2000


def loaded_modules(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(chr(10).join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_first_frame_needs_no_database_and_no_model_library() -> None:
    loaded = loaded_modules("import alpaca_tui.ui.app")
    heavy = {
        "torch",
        "transformers",
        "peft",
        "accelerate",
        "rouge_score",
        "nltk",
        "numpy",
        "sqlite_utils",
        "pydantic",
        "jinja2",
    }
    assert not heavy & loaded


def test_the_launcher_is_small() -> None:
    """What is imported before the cockpit is forked off stays in memory twice."""
    loaded = loaded_modules("import alpaca_tui.cli.main")
    assert not {"textual", "typer", "rich", "pydantic", "sqlite3", "asyncio"} & loaded


def test_no_screen_loads_a_model_library() -> None:
    names = ("review", "seeds", "filters", "train", "evaluate", "jobs", "forms", "dialogs")
    code = "\n".join(f"import alpaca_tui.ui.screens.{name}" for name in names) + "\nimport alpaca_tui.ui.palette"
    extra = "\nfrom alpaca_tui.jobs import spawn, reconcile, hardware, models; from alpaca_tui import config"
    loaded = loaded_modules(code + extra)
    assert not {"torch", "transformers", "peft", "accelerate", "rouge_score", "nltk"} & loaded
