"""Finds out what the doctor judges, without loading torch here: whatever cannot be asked stays unknown, never an error.

torch is asked by ``alpaca_tui.backends.gpu_probe`` in a process of its own, which may die or hang on a wrong build.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pynvml

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.machine_facts import (
    OK,
    GpuFacts,
    GpuTrial,
    MachineFacts,
    SessionFacts,
    StorageFacts,
    TerminalFacts,
    TorchFacts,
)
from alpaca_tui.core.text import one_line
from alpaca_tui.jobs import hardware, models

PROBE = "alpaca_tui.backends.gpu_probe"
PROBE_SECONDS = 180.0
_COMMAND_SECONDS = 5.0
_PCI = Path("/sys/bus/pci/devices")
_NVIDIA, _DISPLAY = "0x10de", "0x03"
_LOGIND = ("/etc/systemd/logind.conf", "/usr/lib/systemd/logind.conf", "/run/systemd/logind.conf")

T = TypeVar("T")


def collect(
    project: Path, *, python: str = sys.executable, environment: Mapping[str, str] = os.environ
) -> MachineFacts:
    """All facts of this machine, with the project in ``project``; the torch of the interpreter ``python`` is asked."""
    found = hardware.gpus()
    visible = hardware.visible_gpus(found, environment)
    near = nearest(project)
    memory = _or(lambda: hardware.host(near), hardware.Host(1, 0, 0, 0))
    return MachineFacts(
        driver=driver_version(),
        cards=_or(lambda: cards(_PCI), 0),
        gpus=tuple(GpuFacts(g.index, g.name, g.capability, g.memory_total, g.memory_used) for g in visible),
        hidden_gpus=len(found) - len(visible),
        torch=torch_facts(python, environment),
        ram_total=memory.ram_total,
        ram_available=memory.ram_available,
        shm_free=_or(lambda: psutil.disk_usage("/dev/shm").free, None),
        storage=StorageFacts(
            str(near), _or(lambda: filesystem(near, Path("/proc/self/mountinfo").read_text()), ""), memory.disk_free,
            sqlite_trial(near),
        ),
        terminal=terminal(environment),
        session=session(environment),
        clock_synchronised=clock_synchronised(),
        clock_behind=_or(lambda: clock_behind(near), 0.0),
        model=embedded_model(),
    )  # fmt: skip


def _or(question: Callable[[], T], unknown: T) -> T:
    try:
        return question()
    except (OSError, ValueError, psutil.Error):
        return unknown


def nearest(project: Path) -> Path:
    """The project's directory, or of those above it the first that exists."""
    return next((path for path in (project, *project.parents) if path.is_dir()), Path("/"))


def driver_version() -> str | None:
    """The NVIDIA driver's version; None where it does not answer."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def cards(bus: Path) -> int:
    """NVIDIA display devices on the PCI bus, whether a driver serves them or not."""
    count = 0
    for device in bus.iterdir():
        vendor = _or((device / "vendor").read_text, "").strip()
        kind = _or((device / "class").read_text, "").strip()
        count += vendor == _NVIDIA and kind.startswith(_DISPLAY)
    return count


def torch_facts(
    python: str = sys.executable, environment: Mapping[str, str] = os.environ, seconds: float = PROBE_SECONDS
) -> TorchFacts:
    """What torch says and can do, asked in a process of its own for at most ``seconds``."""
    told: list[dict[str, Any]] = []
    command = [python, "-P", "-m", PROBE]  # -P: a torch.py in the working directory is not the installed one
    wanted = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **environment}
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=wanted, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return TorchFacts(error=f"{python} cannot be started: {error.strerror}")
    hung = False
    try:
        out, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        hung = True
        os.killpg(process.pid, signal.SIGKILL)
        out, errors = process.communicate()
    for line in out.splitlines():
        value = _or(lambda line=line: json.loads(line), None)  # type: ignore[misc]
        if isinstance(value, dict):
            told.append(value)
    return _torch_facts(told, process.returncode, hung, errors)


def _torch_facts(told: list[dict[str, Any]], code: int, hung: bool, errors: str) -> TorchFacts:
    said: dict[str, Any] = {}
    trials = []
    for line in told:
        if "gpu" in line:
            gpu = line["gpu"]
            major, minor = gpu["capability"]
            trials.append(GpuTrial(gpu["name"], (major, minor), gpu.get("matmul"), gpu.get("attention")))
        else:
            said.update(line)
    stage, error = said.get("stage"), said.get("error")
    died_in = None
    if error is None and stage != "done":
        last = one_line(errors.strip().splitlines()[-1])[:200] if errors.strip() else ""
        how = "it hung" if hung else signal.Signals(-code).name if code < 0 else f"exit code {code}"
        died_in = f"{stage or 'starting the probe'} ({how}{': ' + last if last else ''})"
    return TorchFacts(
        version=said.get("version"),
        cuda=said.get("cuda"),
        architectures=tuple(said.get("architectures", ())),
        nccl=said.get("nccl"),
        gpus=tuple(trials),
        collective=said.get("collective"),
        bitsandbytes=said.get("bitsandbytes"),
        nf4=said.get("nf4"),
        error=error,
        died_in=died_in,
    )


def filesystem(path: Path, mountinfo: str) -> str:
    """The type of the file system that holds ``path``, from ``/proc/self/mountinfo``'s text (proc(5))."""
    best, kind = -1, ""
    resolved = path.resolve()
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        columns = before.split(" ")
        if not separator or len(columns) < 5 or not after:
            continue
        # Blanks, tabs, newlines and backslashes in a mount point are written as octal escapes.
        point = Path(columns[4].encode("latin-1", "backslashreplace").decode("unicode_escape"))
        # Of mounts at the same place the later one lies on top.
        if resolved.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind


def sqlite_trial(directory: Path) -> str:
    """``ok`` where a write-ahead log and its locks work in ``directory``, else why not."""
    try:
        with tempfile.TemporaryDirectory(prefix=".alpaca-doctor-", dir=directory) as folder:
            file = Path(folder) / "trial.db"
            first, second = (sqlite3.connect(file, timeout=0, isolation_level=None) for _ in range(2))
            with closing(first), closing(second):
                mode = first.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                if mode != "wal":
                    return f"the write-ahead log was refused (journal mode {mode})"
                first.execute("CREATE TABLE trial (value INTEGER)")
                first.execute("BEGIN IMMEDIATE")
                try:
                    second.execute("BEGIN IMMEDIATE")
                    return "two writers at once were let in: locks do not work"
                except sqlite3.OperationalError:
                    return OK
    except OSError as error:
        return f"cannot write there: {error.strerror}"
    except sqlite3.Error as error:
        return f"SQLite: {error}"


def terminal(environment: Mapping[str, str]) -> TerminalFacts:
    """The terminal as the environment describes it, and tmux's clipboard option where tmux runs."""
    locale = next((v for n in ("LC_ALL", "LC_CTYPE", "LANG") if (v := environment.get(n))), "")
    tmux = bool(environment.get("TMUX"))
    return TerminalFacts(
        interactive=any(_or(lambda fd=fd: os.isatty(fd), False) for fd in (0, 1, 2)),  # type: ignore[misc]
        term=environment.get("TERM", ""),
        colorterm=environment.get("COLORTERM", ""),
        charset=locale.partition(".")[2].partition("@")[0],
        tmux=tmux,
        set_clipboard=_ask("tmux", "show-options", "-gv", "set-clipboard") if tmux else None,
    )


def session(environment: Mapping[str, str]) -> SessionFacts:
    """What systemd-logind does with a user's processes at logout."""
    if not Path("/run/systemd/system").is_dir():
        return SessionFacts(logind=False)
    answer = _ask(
        "busctl", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager",
        "KillUserProcesses",
    )  # fmt: skip
    kills = {"b true": True, "b false": False}.get(answer or "")
    if kills is None:
        kills = next((k for p in _LOGIND if (k := _or(lambda p=p: kills_users(Path(p)), None)) is not None), None)  # type: ignore[misc]
    user = _or(psutil.Process().username, environment.get("USER", ""))
    linger = _or((Path("/var/lib/systemd/linger") / user).exists, None) if user else None
    return SessionFacts(True, kills, linger)


def kills_users(path: Path) -> bool | None:
    """``KillUserProcesses`` of a logind.conf and the drop-ins beside it; None where it is not set."""
    found: bool | None = None
    for file in (path, *sorted(Path(f"{path}.d").glob("*.conf"))):
        parser = ConfigParser(strict=False, interpolation=None)
        try:
            parser.read_string(file.read_text("utf-8", "replace"))
            found = parser.getboolean("Login", "KillUserProcesses", fallback=found)
        except (OSError, ConfigError, ValueError):
            continue
    return found


def clock_synchronised() -> bool | None:
    """Whether the clock follows a time server; None where systemd cannot be asked."""
    return {"yes": True, "no": False}.get(_ask("timedatectl", "show", "-p", "NTPSynchronized", "--value") or "")


def clock_behind(project: Path) -> float:
    """By how many seconds the newest of a few files lies in the future: 0 where the clock is plausible."""
    files = (project / "alpaca.db", Path(__file__), Path(sys.executable))
    newest = max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)
    return max(0.0, newest - time.time())


def embedded_model() -> str:
    """``ok``, or why the embedded model cannot be used yet."""
    directory = models.embedded_dir()
    if not directory.is_dir():
        return f"the embedded model {models.EMBEDDED} is not here yet"
    try:
        models.check(directory)
    except AlpacaError as error:
        return str(error)
    return OK


def _ask(*command: str) -> str | None:
    """A command's answer without its newline; None where it is missing, fails or hangs."""
    found = shutil.which(command[0])
    if found is None:
        return None
    try:
        done = subprocess.run(
            [found, *command[1:]], capture_output=True, text=True, errors="replace", timeout=_COMMAND_SECONDS,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
