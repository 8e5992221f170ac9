"""What every screen of the cockpit shares: the frame, the snapshot, refusing to write in read-only mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.ui import bindings
from alpaca_tui.ui.sending import Text
from alpaca_tui.ui.session import Place
from alpaca_tui.ui.snapshot import JobView, Snapshot
from alpaca_tui.ui.widgets.frame import KeyFooter, NavBar, StatusLine

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpaca_tui.ui.app import CockpitApp

Result = TypeVar("Result")
BESIDE = "-beside"
"""The class of what a zoomed pane hides."""


class KeptScreen(Screen[None]):
    """A screen that stays as it is while another one is shown, and so is shown again at once.

    Textual applies the style sheet to every widget of a screen that it shows again, and draws all of them anew: half of
    what switching takes. A class of its own, for Textual calls one such method a class, the derived first.
    """

    _styled = -1

    def _on_screen_resume(self, event: events.ScreenResume) -> None:
        """Have the styles applied only where style sheet or theme have changed."""
        if self._styled == self.app._css_update_count:
            event.refresh_styles = False
        self._styled = self.app._css_update_count


class AppScreen(KeptScreen):
    """A screen with tabs, status line and footer; subclasses fill the body and draw snapshots."""

    NAME: ClassVar[str]
    TAB: ClassVar[str] = ""
    """The tab that stands out while this screen is shown, where it is not its own."""
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "NAME" in cls.__dict__:
            cls.BINDINGS = list(bindings.bindings(cls.NAME))
        super().__init_subclass__(**kwargs)

    @property
    def cockpit(self) -> CockpitApp:
        """The app, with its type."""
        return cast("CockpitApp", self.app)

    @property
    def snapshot(self) -> Snapshot:
        """What is known now."""
        return self.cockpit.snapshot

    def compose(self) -> ComposeResult:
        """Tabs, body, status, keys."""
        app = self.cockpit
        yield NavBar(self.TAB or self.NAME, app.glyphs)
        with Container(id="body"):
            yield from self.compose_body()
        yield StatusLine(app.glyphs, readonly=app.options.readonly)
        yield KeyFooter(self.NAME, lambda: app.keymap, ascii=app.options.ascii)

    def compose_body(self) -> ComposeResult:
        """The screen's own widgets."""
        yield from ()

    def on_mount(self) -> None:
        """Go back to where the person was, and draw what is known already."""
        place = self.cockpit.session.place(self.NAME)
        if place:
            self.recall(place)
            focus = place.one_of("focus", tuple(w.id for w in self.query("*") if w.can_focus and w.id))
            if focus is not None:
                widget = self.query_one(f"#{focus}").focus()
                if place.flag("alone"):
                    self.call_after_refresh(self._zoom_pane, widget)
        self.take(self.snapshot)

    def on_screen_resume(self) -> None:
        """Catch up with what came while another screen was shown."""
        if self.is_mounted:
            self.take(self.snapshot)

    def on_screen_suspend(self) -> None:
        """Another screen is shown."""
        self.keep_place()

    def keep_place(self) -> None:
        """Hand to the session where the person is on this screen."""
        place = self.remember() if self.NAME in bindings.SCREENS else None
        if place is not None:
            focus = self.focused.id if self.focused is not None and not isinstance(self.focused, Input) else None
            self.cockpit.session.keep(self.NAME, place | {"focus": focus, "alone": bool(self.query(f".{BESIDE}"))})

    def remember(self) -> dict[str, Any] | None:
        """Where the person is, for ``recall`` at the next start; None: what is remembered already still holds."""
        return None

    def recall(self, place: Place) -> None:
        """Go back to that place; what of it is not there any more is passed over."""

    def take(self, snapshot: Snapshot) -> None:
        """Draw a snapshot: the frame here, the body in ``show_snapshot``."""
        self.query_one(StatusLine).show(snapshot)
        self.query_one(NavBar).badge(self.cockpit.badges())
        self.show_snapshot(snapshot)

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Draw the body."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Say why nothing happens where the project may only be read."""
        if self.cockpit.options.readonly and any(c.writes and c.action == action for c in bindings.commands(self.NAME)):
            self.cockpit.say("Read only: this cockpit only watches. Start it without --readonly to change something.")
            return False
        return True

    def action_zoom(self) -> None:
        """Show the pane in focus alone, or all again."""
        hidden = self.query(f".{BESIDE}")
        if hidden:
            hidden.remove_class(BESIDE)
        elif self.focused is not None:
            self._zoom_pane(self.focused)

    def _zoom_pane(self, inside: Widget) -> None:
        path = [inside, *inside.ancestors]
        pane = next((widget for widget in path if isinstance(widget, Widget) and widget.has_class("pane")), None)
        body = self.query_one("#body")
        while pane is not None and pane is not body:
            for sibling in pane.parent.children if pane.parent is not None else ():
                sibling.set_class(sibling is not pane, BESIDE)
            pane = pane.parent if isinstance(pane.parent, Widget) else None

    def sendable(self) -> Text | None:
        """The text that Y sends: of the card, row or log in focus; None where there is none."""
        return None

    def takes_number(self, number: int) -> bool:
        """Whether the screen is waiting for a number and takes this one; else the key goes to another screen."""
        return False

    def in_store(self, act: Callable[[Database], Result]) -> Result | None:
        """Run a short act on the store; say what went wrong, and how to mend it, where it did. None on failure."""
        import sqlite3

        try:
            return act(self.cockpit.db)
        except AlpacaError as error:
            self.cockpit.say(str(error), severity="error")
        except sqlite3.OperationalError as error:
            self.cockpit.say(f"The project is busy ({error}); nothing was changed. Press the key again.", "error")
        return None

    def stop_job(self, job: JobView | None) -> None:
        """Ask, then ask the job to stop."""
        from alpaca_tui.ui.screens.dialogs import Confirm

        if job is None or not job.active:
            self.cockpit.say("There is nothing to stop: no job of this kind is at work.")
            return
        what = {"train": "It saves a checkpoint first and can be resumed.", "generate": "What was made is kept."}
        text = f"Stop job {job.row.id} ({job.row.kind})? {what.get(job.row.kind, 'It can be resumed.')}"

        def stop(confirmed: bool | None) -> None:
            if confirmed:
                self.cockpit.work.stop(job.row.id)

        self.app.push_screen(Confirm(text, "Stop it"), stop)

    def resume_job(self, job: JobView | None) -> None:
        """Queue the job again and start it."""
        if job is None or job.row.state not in ("failed", "stopped", "interrupted"):
            self.cockpit.say("There is nothing to resume: only stopped, failed or interrupted jobs can go on.")
            return
        self.cockpit.work.resume(job.row.id)
