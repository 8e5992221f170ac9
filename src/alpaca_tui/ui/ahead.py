"""Making the screens that were not shown yet, while nobody types: so the first visit is as quick as the next."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from alpaca_tui.ui import bindings
from alpaca_tui.ui.driver import CockpitDriver

if TYPE_CHECKING:
    from alpaca_tui.ui.app import CockpitApp

QUIET_S = 0.4
"""No key for so long: the next screen can be made."""
BETWEEN_S = 0.15
ALSO = ("dialogs", "forms")
"""Modules of what opens over a screen."""


class Ahead:
    """Imports the screens' modules in a thread, then makes one screen at a time on the event loop."""

    def __init__(self, app: CockpitApp) -> None:
        self._app = app
        self._begun = False

    def begin(self) -> None:
        """Once, after the first facts are shown."""
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._import, name="alpaca-ahead", daemon=True).start()

    def _import(self) -> None:
        for name in (*bindings.SCREENS, *ALSO):
            import_module(f"alpaca_tui.ui.screens.{name}")
            time.sleep(0.01)  # the event loop comes first
        with suppress(RuntimeError):  # the app has ended meanwhile
            self._app.call_from_thread(self._later)

    def _later(self) -> None:
        if self._app.is_running and not self._app.leaving:
            self._app.set_timer(BETWEEN_S, self._make_next)

    async def _make_next(self) -> None:
        driver = self._app._driver
        if isinstance(driver, CockpitDriver) and time.monotonic() - driver.last_input < QUIET_S:
            self._later()
            return
        missing = [name for name in bindings.SCREENS if name not in self._app._screen_stacks]
        if missing and not self._app.leaving:
            await self._app._init_mode(missing[0])
            self._later()
        else:
            # What lives now lives on: a full collection need not look at it again, which takes longer than a frame.
            gc.collect()
            gc.freeze()
