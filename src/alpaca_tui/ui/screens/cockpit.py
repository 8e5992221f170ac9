"""The cockpit: four panes at once where there is room, one with the others in a line each where there is not."""

from __future__ import annotations

from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content

from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.session import Place
from alpaca_tui.ui.snapshot import JobView, Snapshot
from alpaca_tui.ui.widgets.lines import LinesView
from alpaca_tui.ui.widgets.panes import FunnelPane, LivePane, LossPane, Pane, SeedsPane

TWO_FROM = 100
FOUR_FROM = 140


class Summaries(LinesView):
    """The panes that have no room, in a line each."""

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="summaries")
        self._glyphs = glyphs
        self._panes: list[Pane] = []

    def show(self, panes: list[Pane]) -> None:
        """Which panes to sum up."""
        self._panes = panes
        self.styles.height = len(panes)
        self.update_lines()

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """A name and a summary a line."""
        names = max((len(p.TITLE) for p in self._panes), default=0)
        return [
            Content.assemble((f" {pane.TITLE:<{names}}  ", "$accent"), pane.summary()).truncate(width, ellipsis=True)
            for pane in self._panes
        ]

    def on_click(self, event: events.Click) -> None:
        """Show the pane whose line was clicked."""
        if 0 <= event.y < len(self._panes):
            self._panes[event.y].focus()


class CockpitScreen(AppScreen):
    """Seeds and pool, live generation, funnel, loss."""

    NAME = "cockpit"
    AUTO_FOCUS = "#live"

    def __init__(self) -> None:
        super().__init__()
        self._zoomed = False
        self._current = "live"

    def compose_body(self) -> ComposeResult:
        """Two rows of two panes, and the line summaries."""
        glyphs = self.cockpit.glyphs
        with Vertical(id="rows"):
            with Horizontal(id="upper", classes="row"):
                yield SeedsPane(glyphs, id="seeds")
                yield LivePane(glyphs, id="live")
            with Horizontal(id="lower", classes="row"):
                yield FunnelPane(glyphs, id="funnel")
                yield LossPane(glyphs, id="loss")
        yield Summaries(glyphs)

    @property
    def panes(self) -> list[Pane]:
        """The four panes in their order."""
        return list(self.query(Pane))

    @property
    def pane(self) -> Pane:
        """The pane with the focus, or the last one that had it."""
        return self.query_one(f"#{self._current}", Pane)

    def remember(self) -> dict[str, Any]:
        """The pane, and whether it is alone."""
        return {"pane": self._current, "zoomed": self._zoomed}

    def recall(self, place: Place) -> None:
        """The same pane, alone or not."""
        self._current = place.one_of("pane", tuple(pane.id or "" for pane in self.panes)) or self._current
        self._zoomed = place.flag("zoomed")

    def on_mount(self) -> None:
        """Lay out for the first size."""
        super().on_mount()
        self._arrange()

    def on_resize(self) -> None:
        """Another size, maybe another layout."""
        self._arrange()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The focused pane is the one that must be seen."""
        if isinstance(event.widget, Pane) and event.widget.id:
            self._current = event.widget.id
            self._arrange()

    def _arrange(self) -> None:
        """Show as many panes as the width allows; a pane that is out of sight still takes the focus by Tab."""
        width = self.size.width
        together = 1 if self._zoomed or width < TWO_FROM else 2 if width < FOUR_FROM else 4
        current = self.pane
        row = current.parent
        for pane in self.panes:
            pane.set_class(
                (together == 1 and pane is not current) or (together == 2 and pane.parent is not row), "-away"
            )
        for name in ("upper", "lower"):
            box = self.query_one(f"#{name}")
            box.set_class(together < 4 and box is not row, "-away")
        hidden = [] if self._zoomed else [p for p in self.panes if p.has_class("-away")]
        self.query_one(Summaries).show(hidden)

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Hand the snapshot to every pane."""
        for pane in self.panes:
            pane.show(snapshot)
        self.query_one(Summaries).update_lines()

    def action_next_pane(self) -> None:
        """Focus the next pane, seen or not."""
        self._step(1)

    def action_previous_pane(self) -> None:
        """Focus the pane before."""
        self._step(-1)

    def _step(self, by: int) -> None:
        panes = self.panes
        self._current = panes[(panes.index(self.pane) + by) % len(panes)].id or "live"
        self._arrange()
        self.pane.focus()

    def action_open_pane(self) -> None:
        """Open the screen of the focused pane."""
        self.cockpit.go(self.pane.OPENS)

    @on(Pane.Opened)
    def _pane_opened(self, event: Pane.Opened) -> None:
        self.cockpit.go(event.screen_name)

    def action_zoom(self) -> None:
        """One pane over the whole body, or all again."""
        self._zoomed = not self._zoomed
        self._arrange()

    def action_generate(self) -> None:
        """Ask for what a generation needs, all of it filled in."""
        self.cockpit.forms.generate()

    def action_stop(self) -> None:
        """Stop the newest job at work."""
        active = self.snapshot.active
        self.stop_job(active[0] if active else None)

    def action_resume(self) -> None:
        """Go on with the newest job that did not reach its end."""
        self.resume_job(self._unfinished())

    def _unfinished(self) -> JobView | None:
        states = ("failed", "stopped", "interrupted")
        return next((j for j in self.snapshot.jobs if j.row.state in states), None)
