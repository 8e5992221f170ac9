"""Replays of the filter from the cockpit: worked out in a thread, with progress, and cancelled when asked."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.message import Message

from alpaca_tui.core.errors import AlpacaError, Cancelled

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpaca_tui.store.replays import By, Replay
    from alpaca_tui.ui.screens.base import AppScreen

Progress = Callable[[int, int], None]


class News(Message):
    """How a replay goes, or what came of it."""

    def __init__(
        self,
        *,
        busy: str = "",
        curve: tuple[int, ...] | None = None,
        candidates: int = 0,
        preview: Replay | None = None,
        said: str = "",
        severity: str = "information",
        changed: bool = False,
    ) -> None:
        super().__init__()
        self.busy, self.curve, self.candidates, self.preview = busy, curve, candidates, preview
        self.said, self.severity, self.changed = said, severity, changed


class Replaying:
    """One replay at a time; each call returns at once and sends ``News`` to the screen."""

    def __init__(self, screen: AppScreen) -> None:
        self._screen = screen
        self._stop: threading.Event | None = None

    def cancel(self) -> bool:
        """Stop what is being worked out; False where nothing is."""
        if self._stop is None:
            return False
        self._stop.set()
        return True

    def curve(self) -> None:
        """How many candidates every X from 0.50 to 1.00 would keep."""

        def work(db: Database, progress: Progress) -> News:
            from alpaca_tui.store import replays

            points = replays.threshold_curve(db, **self._rules(), progress=progress)
            return News(curve=tuple(kept for _, kept in points), candidates=db["candidates"].count)

        self._begin("drawing the curve", work)

    def preview(self, threshold: float) -> None:
        """What that X would change."""

        def work(db: Database, progress: Progress) -> News:
            from alpaca_tui.store import replays

            return News(preview=replays.preview(db, threshold, **self._rules(), progress=progress))

        self._begin(f"working out {threshold:.2f}", work)

    def apply(self, threshold: float) -> None:
        """Judge every candidate at that X."""

        def work(db: Database, progress: Progress) -> News:
            from alpaca_tui.store import replays

            done = replays.apply(db, threshold, **self._rules(), progress=progress)
            said = f"{len(done.candidates):,} instructions changed sides at {threshold:.2f}. u takes it back. "
            later = f"Generations go on filtering by config.toml: threshold = {threshold:.2f} makes it last."
            return News(said=said + later, changed=True)

        self._begin(f"applying {threshold:.2f}", work)

    def undo(self) -> None:
        """Take the last applied X back."""

        def work(db: Database, progress: Progress) -> News:
            from alpaca_tui.store import replays

            return News(said=f"The threshold of replay {replays.undo(db)} was taken back.", changed=True)

        self._begin("taking it back", work)

    def _rules(self) -> By:
        """The project's rules as ``config.toml`` has them now, so that a replay shows what changing them would do."""
        from alpaca_tui import config
        from alpaca_tui.core.instruction_rules import instruction_rules

        chosen = config.load(self._screen.cockpit.project).rules
        settings = chosen.settings()
        names = [rule.name for rule in instruction_rules(settings=settings)]
        return {"tokenizer": chosen.tokenizer, "rules": names, "settings": settings}

    def _begin(self, doing: str, work: Callable[[Database, Progress], News]) -> None:
        screen = self._screen
        if self._stop is not None:
            screen.cockpit.say("A replay is being worked out already; esc stops it.")
            return
        stop = self._stop = threading.Event()
        told = [-1]

        def progress(done: int, total: int) -> None:
            if stop.is_set():
                raise Cancelled
            percent = 100 * done // max(1, total)
            if percent != told[0]:
                told[0] = percent
                screen.post_message(News(busy=f"{doing}: {percent} % of {total:,}, esc stops"))

        def run() -> None:
            try:
                news = self._worked(work, progress)
            finally:
                self._stop = None
            # Posted from the thread: Textual hands it to the event loop.
            screen.post_message(news)

        screen.post_message(News(busy=f"{doing}{screen.cockpit.glyphs.ellipsis}"))
        screen.run_worker(run, thread=True, group="replay", exit_on_error=False)

    def _worked(self, work: Callable[[Database, Progress], News], progress: Progress) -> News:
        from alpaca_tui.ui import reader

        cockpit = self._screen.cockpit
        try:
            db = reader.connect(cockpit.project, readonly=cockpit.options.readonly)
            try:
                return work(db, progress)
            finally:
                db.conn.close()
        except Cancelled:
            return News(said="Stopped; nothing was changed.")
        except (AlpacaError, sqlite3.Error, OSError) as error:
            return News(said=f"It could not be worked out: {error}", severity="error")
