"""What the doctor says of the host: memory, disk, file system, terminal, logout, clock, the embedded model."""

from __future__ import annotations

from alpaca_tui.core.doctor_check import Check
from alpaca_tui.core.machine_facts import OK, MachineFacts

GIB = 2**30
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.s3fs", "ncpfs")
CLUSTER = ("lustre", "gpfs", "beegfs", "fhgfs", "panfs", "wekafs", "orangefs")
_RAM_NEEDED = 4 * GIB  # tuning the embedded model on the CPU peaks at 3.7 to 4.8 GB
_RAM_PER_GPU = 16 * GIB  # each rank of a 7B run reads 13.5 GB of fp16 weights before they move to its GPU
_DISK_LEAST, _DISK_CPU, _DISK_GPU = 1 * GIB, 5 * GIB, 60 * GIB
_SHM_MULTI = 1 * GIB
_CLOCK_TOLERANCE = 120.0


def ram(facts: MachineFacts) -> Check:
    """Enough memory to load a model in every rank."""
    ranks = len(facts.gpus)
    what = f"{facts.ram_total / GIB:.0f} GiB, {facts.ram_available / GIB:.0f} free"
    if facts.ram_total < _RAM_NEEDED:
        return Check(
            "memory",
            "fail" if facts.ram_total < _RAM_NEEDED / 2 else "warn",
            what,
            "tuning the embedded model on the CPU takes 4 GiB",
            "alpaca-tui train --micro-batch 1, or use a machine or container with more memory",
        )
    if ranks and facts.ram_total < ranks * _RAM_PER_GPU:
        return Check(
            "memory",
            "warn",
            what,
            f"each of {ranks} ranks reads a 7B model's 13.5 GB before it moves to its GPU",
            "alpaca-tui plan --model llama-7b",
        )
    return Check("memory", "ok", what)


def disk(facts: MachineFacts) -> Check:
    """Room for models and checkpoints."""
    free = facts.storage.free
    what = f"{free / 1e9:.0f} GB free in {facts.storage.directory}"
    wanted = _DISK_GPU if facts.gpus else _DISK_CPU
    if free >= wanted:
        return Check("disk", "ok", what)
    return Check(
        "disk",
        "fail" if free < _DISK_LEAST else "warn",
        what,
        "a 7B model is 13.5 GB, its full checkpoint 81 GB; the embedded model's runs take 1 to 2 GB",
        "free some space, or put the project on another disk: alpaca-tui --project /other/disk/project",
    )


def shared_memory(facts: MachineFacts) -> Check:
    """/dev/shm carries NCCL's and the data loader's traffic between processes of one machine."""
    if facts.shm_free is None:
        return Check("/dev/shm", "warn" if len(facts.gpus) > 1 else "ok", "not there", "NCCL falls back to sockets")
    what = f"{facts.shm_free / GIB:.1f} GiB free"
    if len(facts.gpus) > 1 and facts.shm_free < _SHM_MULTI:
        return Check(
            "/dev/shm",
            "fail",
            what,
            "ranks on several GPUs exchange data through it and die with a bus error when it is full",
            "in Docker: docker run --shm-size=8g …; else: sudo mount -o remount,size=8G /dev/shm",
        )
    return Check("/dev/shm", "ok", what)


def sqlite(facts: MachineFacts) -> Check:
    """SQLite's write-ahead log needs shared memory and locks, which network file systems do not keep across hosts."""
    storage = facts.storage
    what = f"{storage.directory} on {storage.filesystem or 'an unknown file system'}"
    move = "put the project on a local disk: alpaca-tui --project /local/disk/project"
    if storage.sqlite not in (OK, None):
        return Check("project", "fail", f"{what}: {storage.sqlite}", "the project is an SQLite file", move)
    if storage.filesystem in NETWORK or storage.filesystem in CLUSTER:
        return Check(
            "project",
            "warn",
            what,
            "SQLite's write-ahead log works from one host only; two hosts at once would damage the project",
            f"{move}, or never open it from a second host",
        )
    return Check("project", "ok", what)


def terminal(facts: MachineFacts) -> Check:
    """Whether the cockpit can be drawn, and in which colours."""
    t = facts.terminal
    if not t.interactive:
        return Check("terminal", "ok", "none here; the cockpit needs one, the commands do not")
    if t.term in ("", "dumb", "unknown"):
        return Check(
            "terminal", "warn", f"TERM={t.term or '(unset)'}", "the cockpit cannot move the cursor with it",
            "export TERM=xterm-256color",
        )  # fmt: skip
    if t.colorterm.lower() in ("truecolor", "24bit") or t.term.endswith("-direct"):
        return Check("terminal", "ok", f"TERM={t.term}, 16 million colours")
    if "256color" in t.term:
        return Check("terminal", "ok", f"TERM={t.term}, 256 colours")
    return Check(
        "terminal", "warn", f"TERM={t.term}, 16 colours at most", "charts and states are told apart by colour",
        "export TERM=tmux-256color" if t.tmux else "export TERM=xterm-256color",
    )  # fmt: skip


def charset(facts: MachineFacts) -> Check:
    """Box drawing and braille charts need UTF-8."""
    t = facts.terminal
    if not t.interactive or t.charset.lower().replace("-", "") == "utf8":
        return Check("characters", "ok", t.charset or "no terminal")
    return Check(
        "characters",
        "warn",
        f"locale charset {t.charset or '(unset)'}",
        "boxes and charts come out as question marks",
        "export LANG=C.UTF-8, or start with: alpaca-tui --ascii",
    )


def clipboard(facts: MachineFacts) -> Check:
    """tmux passes a copy on to the terminal only where it is told to."""
    t = facts.terminal
    if not t.tmux:
        return Check("clipboard", "ok", "sent to the terminal (OSC 52); whether it takes it, it does not say")
    if t.set_clipboard == "on":
        return Check("clipboard", "ok", "tmux passes it on")
    return Check(
        "clipboard",
        "warn",
        f"tmux has set-clipboard {t.set_clipboard or '(unknown)'}",
        "what is copied in the cockpit stays in tmux or is lost",
        "tmux set-option -g set-clipboard on",
    )


def logout(facts: MachineFacts) -> Check:
    """Whether systemd ends a user's processes at logout: jobs are meant to outlive the terminal."""
    s = facts.session
    if not s.logind:
        return Check("logout", "ok", "no systemd-logind; nothing ends jobs at logout")
    if s.linger:
        return Check("logout", "ok", "lingering is on; jobs go on after logout")
    if s.kill_user_processes is False:
        return Check("logout", "ok", "logind leaves processes alone at logout")
    known = s.kill_user_processes is True
    return Check(
        "logout",
        "warn",
        "logind ends all processes at logout" if known else "logind could not be asked what it does at logout",
        "a training run would end with the SSH connection" if known else "it may end jobs with the SSH connection",
        "loginctl enable-linger",
    )


def clock(facts: MachineFacts) -> Check:
    """Heartbeats, ages and downloads' certificates rest on the clock."""
    if facts.clock_behind > _CLOCK_TOLERANCE:
        return Check(
            "clock",
            "warn",
            f"{facts.clock_behind:,.0f} s behind a file written on this machine",
            "heartbeats look old, and running jobs dead",
            "sudo timedatectl set-ntp true",
        )
    if facts.clock_synchronised is False:
        return Check(
            "clock",
            "warn",
            "not synchronised",
            "ages and certificates can be misjudged",
            "sudo timedatectl set-ntp true",
        )
    return Check("clock", "ok", "synchronised" if facts.clock_synchronised else "plausible")


def model(facts: MachineFacts) -> Check:
    """The embedded model, which the demo and the tests need."""
    if facts.model == OK:
        return Check("model", "ok", "the embedded model is here and whole")
    return Check(
        "model",
        "warn",
        facts.model,
        "generate and demo would fetch it first (93 MB)",
        "alpaca-tui models add smollm2-135m",
    )
