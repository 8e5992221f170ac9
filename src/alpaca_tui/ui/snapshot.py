"""What the cockpit knows at one moment: frozen, compared as a whole, and made outside the event loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alpaca_tui.core.records import Funnel
from alpaca_tui.jobs.live import LiveSnapshot, Slot

if TYPE_CHECKING:  # the store is imported by the watcher, after the first paint
    from alpaca_tui.store.jobs import JobRow

ACTIVE_STATES = frozenset({"queued", "running", "stopping"})
LETTERS = {"generate": "G", "train": "T", "evaluate": "E"}
STALE_S = 15
"""Seconds without a heartbeat after which a worker is shown as silent."""
DISK_LOW = 2_000_000_000
"""Free bytes under which the disk is shown as low."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with what its files say now; ages in whole seconds."""

    row: JobRow
    heartbeat_age: int | None = None
    running_for: int | None = None
    live: tuple[LiveSnapshot, ...] = ()

    @property
    def active(self) -> bool:
        """Whether a process is at work on it, or about to be."""
        return self.row.state in ACTIVE_STATES

    @property
    def letter(self) -> str:
        """The kind in one letter."""
        return LETTERS.get(self.row.kind, "?")

    @property
    def silent(self) -> bool:
        """Active without a recent heartbeat."""
        return self.active and (self.heartbeat_age is None or self.heartbeat_age >= STALE_S)

    @property
    def progress(self) -> float | None:
        """The share done, as the first worker tells it."""
        return self.live[0].progress if self.live else None

    @property
    def tokens_per_s(self) -> float:
        """Over all workers."""
        return sum(s.tokens_per_s or 0.0 for s in self.live)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The samples in flight, over all workers."""
        return tuple(slot for s in self.live for slot in s.slots)


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one run in slices of ``stride`` steps: of each its newest step, mean, lowest and highest value.

    Steps ascend; NaN where a value was not a number. Without ``lows`` and ``highs`` each slice is one value.
    """

    steps: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    lows: tuple[float, ...] = ()
    highs: tuple[float, ...] = ()
    stride: int = 1
    newest: float | None = None

    @property
    def last(self) -> float | None:
        """The newest value."""
        return self.newest if self.newest is not None else self.values[-1] if self.values else None


@dataclass(frozen=True, slots=True)
class TrainingView:
    """A training run and its metrics by name."""

    job: JobView
    curves: dict[str, Curve] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    """Newest values that no curve shows, in bytes: the probe's peak, what was planned for it, the peak since."""

    def curve(self, name: str) -> Curve:
        """The metric of that name, empty where it was not recorded."""
        return self.curves.get(name, Curve())


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; memory in bytes, use in percent, temperature in degrees Celsius."""

    index: int
    memory_used: int
    memory_total: int
    use: int | None
    temperature: int | None


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine's state, rounded so that it does not flicker."""

    gpus: tuple[Gpu, ...] = ()
    disk_free: int | None = None
    cpu: int | None = None
    """Per cent of all cores in use since the look before."""
    ram_used: int = 0
    ram_total: int = 0


@dataclass(frozen=True, slots=True)
class PoolLine:
    """An instruction of the pool, for the cockpit's list."""

    label: str
    instruction: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database says."""

    seeds: int = 0
    seeds_enabled: int = 0
    classification: int = 0
    """Seeds that are classification tasks."""
    funnel: Funnel = field(default_factory=Funnel)
    newest: tuple[PoolLine, ...] = ()
    """The newest machine-made instructions of the pool, newest first."""
    wanted: int = 0
    """Flipped or rescued instructions that wait for what they lack: a generation sees to them whatever its target."""
    jobs: tuple[JobRow, ...] = ()
    """Every job, newest first."""
    datasets: tuple[str, ...] = ()
    evaluations: int = 0
    decisions_per_hour: int = 0
    training: tuple[int, dict[str, Curve]] | None = None
    """The newest training job and its metrics."""
    measured: tuple[tuple[str, float], ...] = ()
    """What else it measured, newest values."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it."""

    project: str
    facts: Facts = field(default_factory=Facts)
    jobs: tuple[JobView, ...] = ()
    machine: Machine = field(default_factory=Machine)
    problem: str | None = None
    """Why the facts may be old, in one sentence."""
    loaded: bool = False
    """Whether the database has been read yet."""

    @property
    def active(self) -> tuple[JobView, ...]:
        """The jobs at work, newest first."""
        return tuple(j for j in self.jobs if j.active)

    def job(self, job_id: int) -> JobView | None:
        """The job of that number."""
        return next((j for j in self.jobs if j.row.id == job_id), None)

    def newest(self, kind: str) -> JobView | None:
        """The job of that kind to look at: the newest active one, else the newest."""
        of_kind = [j for j in self.jobs if j.row.kind == kind]
        return next((j for j in of_kind if j.active), of_kind[0] if of_kind else None)

    @property
    def training(self) -> TrainingView | None:
        """The newest training run with its metrics."""
        if self.facts.training is None:
            return None
        job = self.job(self.facts.training[0])
        return None if job is None else TrainingView(job, self.facts.training[1], dict(self.facts.measured))

    @property
    def usable(self) -> int:
        """Samples that are pending or accepted: what a target counts."""
        return self.facts.funnel.pending + self.facts.funnel.accepted

    @property
    def target(self) -> int | None:
        """What the newest generation aims at."""
        job = self.newest("generate")
        return None if job is None else job.row.spec.get("target")

    @property
    def tokens_per_s(self) -> float:
        """Over all jobs at work."""
        return sum(j.tokens_per_s for j in self.active)
