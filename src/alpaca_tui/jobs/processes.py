"""Processes by (pid, create time), never by pid alone: finding them, ending them, tying a child to its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

_TOLERANCE_S = 0.05
"""Create times are multiples of the kernel's tick (0.01 s), stored as a float."""
_POLL_S = 0.05
_KILL_WAIT_S = 5.0
"""How long a SIGKILLed process may take to go; only one stuck in the kernel takes longer."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"
# Loaded here, not in the child between fork and exec, where nothing may be loaded.
_LIBC = ctypes.CDLL(None, use_errno=True) if _LINUX else None


class Identity(NamedTuple):
    """A process. ``create_time`` is in seconds since boot on Linux, since the epoch elsewhere.

    The kernel counts a start from boot. psutil adds the boot time, which moves whenever the clock is set: after an
    NTP step every process would seem to be another one.
    """

    pid: int
    create_time: float


def identity(pid: int | None = None) -> Identity:
    """The identity of a running process, by default this one. Raises ProcessLookupError where there is none."""
    wanted = os.getpid() if pid is None else pid
    created = _create_time(wanted)
    if created is None:
        raise ProcessLookupError(f"there is no process {wanted}")
    return Identity(wanted, created)


def alive(pid: int, create_time: float) -> bool:
    """Whether this very process still runs; a zombie doesn't, and neither does another one that got its pid."""
    created = _create_time(pid)
    return created is not None and abs(created - create_time) <= _TOLERANCE_S


def _create_time(pid: int) -> float | None:
    if not _LINUX:
        return _psutil_create_time(pid)
    try:
        # proc(5): the name in parentheses may hold anything; behind it, state is field 3 and starttime field 22.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    if len(fields) < 20 or fields[0] in (b"Z", b"X", b"x"):
        return None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _psutil_create_time(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def descendants(of: Identity | None = None) -> list[Identity]:
    """All living descendants of a process, by default of this one, whatever their session."""
    if of is not None and not alive(*of):
        return []
    with suppress(psutil.Error):
        children = psutil.Process(of.pid if of else None).children(recursive=True)
        return [Identity(c.pid, t) for c in children if (t := _create_time(c.pid)) is not None]
    return []


def descends_from(ancestor: Identity) -> bool:
    """Whether ``ancestor`` is alive and a parent, grandparent, … of this process."""
    with suppress(psutil.Error):
        return alive(*ancestor) and any(p.pid == ancestor.pid for p in psutil.Process().parents())
    return False


def send(process: tuple[int, float], number: signal.Signals) -> bool:
    """Send a signal if this very process still runs; return whether it was sent."""
    if not alive(*process):
        return False
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process[0], number)
        return True
    return False


def kill_all(
    processes: Iterable[tuple[int, float]],
    grace_s: float,
    on_wait: Callable[[], None] | None = None,
) -> list[Identity]:
    """End the processes: SIGTERM, ``grace_s`` seconds to go by themselves, then SIGKILL to them and what they started.

    ``on_wait`` is called while waiting, about 20 times a second. Returns those that even so are still there (stuck in
    the kernel); the list is empty as a rule. The calling process is never among those ended.
    """
    targets = [Identity(*p) for p in processes if p[0] != os.getpid() and alive(*p)]
    for target in targets:
        send(target, signal.SIGTERM)
    known = dict.fromkeys(targets)
    for target in targets:
        known |= dict.fromkeys(descendants(target))
    _wait(targets, grace_s, on_wait)
    for target in targets:
        known |= dict.fromkeys(descendants(target))
    for process in known:
        send(process, signal.SIGKILL)
    return _wait(known, _KILL_WAIT_S, on_wait)


def _wait(processes: Iterable[Identity], limit_s: float, on_wait: Callable[[], None] | None) -> list[Identity]:
    deadline = time.monotonic() + limit_s
    left = [p for p in processes if alive(*p)]
    while left and time.monotonic() < deadline:
        if on_wait:
            on_wait()
        time.sleep(_POLL_S)
        left = [p for p in left if alive(*p)]
    return left


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send this process a signal when its parent ends (Linux; elsewhere nothing happens).

    It survives exec, but not fork. The caller checks afterwards that the parent it means was still there: of a parent
    that had ended before, nothing is told.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parents end, so that none gets out of sight (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
