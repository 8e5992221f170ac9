"""An app that ends when it is told to, or when its terminal or its launcher is gone: soon, and whatever holds it up."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from typing import TYPE_CHECKING, Any

from textual.app import App
from textual.css.query import NoMatches
from textual.screen import Screen

from alpaca_tui.ui import editing, ending
from alpaca_tui.ui.driver import CockpitDriver
from alpaca_tui.ui.launcher import Tether

if TYPE_CHECKING:
    from rich.console import RenderableType
    from textual.driver import Driver


class EndingApp(App[None], inherit_bindings=False):
    """What ends the cockpit, and how; on a terminal that may vanish or stop to read."""

    def __init__(self, tether: Tether | None = None) -> None:
        super().__init__()
        self.tether = tether or Tether()
        self.leaving = False
        """Somebody has decided that the cockpit ends."""
        self._begun = self._over = False
        self._wanted_end: int | None = None

    def get_driver_class(self) -> type[Driver]:
        """Ours, unless the environment names another."""
        return CockpitDriver if "TEXTUAL_DRIVER" not in os.environ else super().get_driver_class()

    def exit(self, *given: Any, **named: Any) -> None:
        """As Textual's; and from now on the process has little time left."""
        if not (self.leaving or self.is_headless):
            ending.within(ending.LEAVING_S, lambda: self.return_code or 0)
        self.leaving = True
        super().exit(*given, **named)

    def leave_with(self, code: int) -> None:
        """Leave because somebody else wants it; where the cockpit is leaving already, it ends as it would have."""
        if not self._begun:
            self._wanted_end = code  # Textual can't leave before it has begun
        elif not self._exit:
            with self._context():
                self.exit(return_code=code)

    async def _ready(self) -> None:
        await super()._ready()
        self._begun = True
        if self._wanted_end is not None:
            self.exit(return_code=self._wanted_end)

    def heed_launcher(self) -> None:
        """Leave when the process that launched us is gone."""
        if self.tether.lifeline is not None:
            asyncio.get_running_loop().add_reader(self.tether.lifeline, self._orphaned)

    def _orphaned(self) -> None:
        asyncio.get_running_loop().remove_reader(self.tether.lifeline or 0)
        self.leave_with(ending.exit_code(signal.SIGHUP))

    def signalled(self, number: int) -> None:
        """A signal to end has come, at any moment of the main thread's work."""
        code, loop = ending.exit_code(number), self._loop
        if self._over or loop is None:
            os._exit(code)
        if number == signal.SIGINT and editing.running():
            return  # typed at the editor: it is the editor's
        editing.pass_on(number)
        if not self.leaving:
            self.leaving = True
            ending.within(ending.LEAVING_S, lambda: self.return_code or code)
        loop.call_soon_threadsafe(self.leave_with, code)

    async def run_async(self, *given: Any, **named: Any) -> None:
        """As Textual's; once it is over and the terminal is restored, the process ends soon, and at once on a signal.

        A thread may hold the process up a little longer; what that has not committed, SQLite undoes.
        """
        try:
            await super().run_async(*given, **named)
        except OSError as error:
            if error.errno != errno.EIO:  # else there is no terminal any more to say goodbye to
                raise
        finally:
            self._over = True
            if not self.is_headless:
                ending.within(ending.GRACE_S, lambda: self.return_code or 0)
                if (self.return_code or 0) > 128:
                    os._exit(self.return_code or 0)

    def _handle_exception(self, error: Exception) -> None:
        """As Textual's, but for a screen that was on its way while the cockpit leaves: it gets no widgets any more."""
        if not (self.leaving and isinstance(error, NoMatches)):
            super()._handle_exception(error)

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        """As Textual's, but for a terminal that lags behind: a frame that would come late is left out."""
        if isinstance(self._driver, CockpitDriver) and self._driver.full():
            return
        super()._display(screen, renderable)

    def repaint(self) -> None:
        """Draw the whole screen: the terminal has missed frames."""
        self.screen.refresh(layout=True)
