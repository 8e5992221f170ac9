"""The thread that looks for news and posts it, as one message, only where there is some."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.jobs import live
from alpaca_tui.ui import reader
from alpaca_tui.ui.options import UiOptions
from alpaca_tui.ui.snapshot import Snapshot

if TYPE_CHECKING:
    from sqlite_utils import Database

RECONCILE_EVERY_S = 10.0
MACHINE_EVERY_S = 3.0
PACE_EVERY_S = 5.0
READ_SHARE = 0.06
"""The most of one core that reading the facts may take: a read that took t seconds is not repeated for t / share."""


class SnapshotArrived(Message):
    """The watcher saw something new. Takes the place of an older one that still waits."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        """Only the newest counts."""
        return isinstance(message, SnapshotArrived)


class Watcher(threading.Thread):
    """Polls the project with a connection of its own and hands over frozen snapshots."""

    def __init__(self, project: Path, options: UiOptions, post: Callable[[SnapshotArrived], object]) -> None:
        super().__init__(name="alpaca-watcher", daemon=True)
        self._project, self._options, self._post = project, options, post
        self._wake, self._ended = threading.Event(), threading.Event()
        self._snapshot = Snapshot(project.name)
        self._version: int | None = None
        self._stamps: tuple[tuple[str, int], ...] = ()
        self._reader: reader.StoreReader | None = None
        self._next_facts = self._next_machine = self._next_reconcile = self._next_pace = 0.0
        self._beat = -1

    def poke(self) -> None:
        """Look at once: the cockpit itself has changed something."""
        self._next_facts = 0.0
        self._wake.set()

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._ended.set()
        self._wake.set()

    def run(self) -> None:
        """Look, post what is new, wait; until stopped."""
        db: Database | None = None
        while not self._ended.is_set():
            try:
                if db is None:
                    db = reader.connect(self._project, readonly=self._options.readonly)
                    self._reader = reader.StoreReader(db)
                    self._version = None
                self.look(db)
            except (AlpacaError, sqlite3.Error, OSError) as error:
                self._publish(replace(self._snapshot, problem=str(error), loaded=True))
                if isinstance(error, AlpacaError):
                    db = None
                self._wake.wait(2.0)
            self._wake.wait(1.0 / self._options.polls_per_second)
            self._wake.clear()
        if db is not None:
            with suppress(sqlite3.Error):
                db.conn.close()

    def look(self, db: Database) -> None:
        """One round: read what may have changed, publish it where it did."""
        now = time.monotonic()
        snapshot = self._snapshot
        if now >= self._next_reconcile:
            self._next_reconcile = now + RECONCILE_EVERY_S
            self._reconcile(db)
        if self._facts_due(db, now):
            snapshot = self._read_facts(snapshot)
        elif self._live_changed(snapshot):
            snapshot = replace(snapshot, jobs=reader.job_views(self._project, snapshot.facts.jobs, time.time()))
        if now >= self._next_machine:
            self._next_machine = now + MACHINE_EVERY_S
            snapshot = replace(snapshot, machine=reader.machine(self._project, busy=bool(snapshot.active)))
        if snapshot.facts.decisions_per_hour and now >= self._next_pace and self._reader:
            self._next_pace = now + PACE_EVERY_S
            snapshot = replace(snapshot, facts=replace(snapshot.facts, decisions_per_hour=self._reader.pace()))
        self._publish(snapshot)

    def _facts_due(self, db: Database, now: float) -> bool:
        from alpaca_tui.store import database

        if now < self._next_facts:
            return False
        version = database.data_version(db)
        if version == self._version:
            return False
        self._version = version
        return True

    def _read_facts(self, snapshot: Snapshot) -> Snapshot:
        assert self._reader is not None
        began = time.monotonic()
        facts = self._reader.facts()
        snapshot = reader.with_facts(snapshot, facts, self._project)
        ended = time.monotonic()
        self._next_facts = ended + (ended - began) / READ_SHARE
        self._stamps = self._live_stamps(snapshot)
        return snapshot

    def _live_changed(self, snapshot: Snapshot) -> bool:
        if not snapshot.active:
            return False
        stamps, beat = self._live_stamps(snapshot), int(time.time())
        changed = stamps != self._stamps or beat != self._beat  # ages are shown in whole seconds
        self._stamps, self._beat = stamps, beat
        return changed

    def _live_stamps(self, snapshot: Snapshot) -> tuple[tuple[str, int], ...]:
        stamps: list[tuple[str, int]] = []
        for job in snapshot.active:
            with suppress(OSError):
                for path in live.live_dir(self._project, job.row.id).glob("*.json"):
                    stamps.append((str(path), path.stat().st_mtime_ns))
        return tuple(sorted(stamps))

    def _reconcile(self, db: Database) -> None:
        if self._options.readonly:
            return
        from alpaca_tui.jobs import reconcile

        reconcile.reconcile(db, self._project)

    def _publish(self, snapshot: Snapshot) -> None:
        if snapshot != self._snapshot:
            self._snapshot = snapshot
            self._post(SnapshotArrived(snapshot))
