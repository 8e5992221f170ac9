"""What was found out about a machine: plain values, so that ``core/doctor.py`` can judge any machine's record."""

from __future__ import annotations

from dataclasses import dataclass, field

OK = "ok"
"""A trial's answer where it worked; anything else is the error's one line, None means not tried."""


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """One GPU as the driver shows it; memory in bytes."""

    index: int
    name: str
    capability: tuple[int, int]
    memory_total: int
    memory_used: int = 0


@dataclass(frozen=True, slots=True)
class GpuTrial:
    """What torch could do on one GPU: an fp16 matrix product, and fused attention forward and backward."""

    name: str
    capability: tuple[int, int]
    matmul: str | None = None
    attention: str | None = None


@dataclass(frozen=True, slots=True)
class TorchFacts:
    """The installed torch, asked in a process of its own.

    ``error`` is why it cannot be imported. ``died_in`` names the trial in which the process ended or hung.
    """

    version: str | None = None
    cuda: str | None = None
    architectures: tuple[str, ...] = ()
    nccl: str | None = None
    gpus: tuple[GpuTrial, ...] = ()
    collective: str | None = None
    bitsandbytes: str | None = None
    nf4: str | None = None
    error: str | None = None
    died_in: str | None = None


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """Where the project lies: file system type, free bytes, and how a trial with SQLite's write-ahead log went."""

    directory: str
    filesystem: str
    free: int
    sqlite: str | None


@dataclass(frozen=True, slots=True)
class TerminalFacts:
    """The terminal, from the environment. ``set_clipboard`` is tmux's option where tmux runs."""

    interactive: bool
    term: str = ""
    colorterm: str = ""
    charset: str = ""
    tmux: bool = False
    set_clipboard: str | None = None


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What happens at logout. None where it could not be asked."""

    logind: bool
    kill_user_processes: bool | None = None
    linger: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """Everything the doctor judges. Sizes in bytes; ``driver`` is the NVIDIA driver's version.

    ``cards`` counts NVIDIA display devices on the PCI bus, with or without a driver; ``hidden_gpus`` those that
    ``CUDA_VISIBLE_DEVICES`` leaves out. ``clock_behind`` is by how many seconds the newest file lies in the future.
    ``model`` is ``ok`` or why the embedded model cannot be used.
    """

    driver: str | None
    cards: int
    gpus: tuple[GpuFacts, ...]
    hidden_gpus: int = 0
    torch: TorchFacts = field(default_factory=TorchFacts)
    ram_total: int
    ram_available: int
    shm_free: int | None
    storage: StorageFacts
    terminal: TerminalFacts
    session: SessionFacts
    clock_synchronised: bool | None = None
    clock_behind: float = 0.0
    model: str = OK
