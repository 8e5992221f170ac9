"""The palette: the table of keys, searched by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from alpaca_tui.ui import bindings, theming

if TYPE_CHECKING:
    from alpaca_tui.ui.app import CockpitApp


class Commands(Provider):
    """What can be done on the screen below the palette."""

    def _entries(self) -> list[tuple[str, str, Callable[[], object]]]:
        app = cast("CockpitApp", self.app)
        entries: list[tuple[str, str, Callable[[], object]]] = []
        for command in bindings.commands(getattr(self.screen, "NAME", app.current_mode)):
            if command.id == "palette":
                continue
            keys = bindings.shown_keys(command, app.keymap, ascii=app.options.ascii)
            run = partial(self.screen.run_action, command.action)
            entries.append((command.help, f"{keys}   {command.id}", run))
        for theme in theming.themes():
            entries.append((f"Theme: {theme.name}", "theme", partial(setattr, app, "theme", theme.name)))
        return entries

    async def discover(self) -> Hits:
        """Everything, before anything is typed."""
        for title, note, act in self._entries():
            yield DiscoveryHit(title, act, help=note)

    async def search(self, query: str) -> Hits:
        """The commands whose description or name fits."""
        matcher = self.matcher(query)
        for title, note, act in self._entries():
            score = max(matcher.match(title), matcher.match(note))
            if score > 0:
                yield Hit(score, matcher.highlight(title), act, text=title, help=note)
