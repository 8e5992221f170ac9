"""The cockpit's app: modes, themes, signals, the one snapshot. What a screen shows is the screen's matter."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from rich.text import Text
from textual import on
from textual.binding import BindingType
from textual.command import Provider
from textual.css.query import NoMatches
from textual.filter import Monochrome
from textual.screen import Screen

from alpaca_tui import resources
from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.visible import printable
from alpaca_tui.ui import bindings, ending, glyphs, theming
from alpaca_tui.ui.ahead import Ahead
from alpaca_tui.ui.alerts import Alerts
from alpaca_tui.ui.endingapp import EndingApp
from alpaca_tui.ui.launcher import Tether
from alpaca_tui.ui.linefilters import AsciiFilter, FewColours, InertFilter
from alpaca_tui.ui.messages import Messages
from alpaca_tui.ui.options import UiOptions
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.screens.cockpit import CockpitScreen
from alpaca_tui.ui.session import SAVE_EVERY_S, Session
from alpaca_tui.ui.snapshot import Snapshot
from alpaca_tui.ui.watcher import SnapshotArrived, Watcher
from alpaca_tui.ui.widgets.frame import NavBar
from alpaca_tui.ui.work import Work

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpaca_tui.config import Config
    from alpaca_tui.ui.screens.forms import Forms

__all__ = ["CockpitApp", "UiOptions", "run"]

Severity = Literal["information", "warning", "error"]
CAUGHT_UP_S = 0.005
"""The screen's turn comes before that: it draws what came while it was not shown."""
CRASH_FILE = "crash.log"


def _screen(name: str) -> Callable[[], Screen[Any]]:
    """A screen by its name, imported when it is first shown."""

    def make() -> Screen[Any]:
        if name == "cockpit":
            return CockpitScreen()
        module = import_module(f"alpaca_tui.ui.screens.{name}")
        return cast("Screen[Any]", getattr(module, f"{name.capitalize()}Screen")())

    return make


def _palette() -> type[Provider]:
    from alpaca_tui.ui.palette import Commands

    return Commands


class CockpitApp(EndingApp, inherit_bindings=False):
    """The cockpit on one project."""

    TITLE = "alpaca-tui"
    CSS_PATH: ClassVar[Any] = [
        resources.styles_dir() / "app.tcss",
        *sorted((resources.styles_dir() / "screens").glob("*.tcss")),
    ]
    MODES: ClassVar[dict[str, Any]] = {name: _screen(name) for name in bindings.SCREENS}
    DEFAULT_MODE = "cockpit"
    BINDINGS: ClassVar[list[BindingType]] = list(bindings.bindings(None))
    COMMAND_PALETTE_BINDING = "colon"
    COMMANDS: ClassVar[Any] = {_palette}
    ALLOW_SELECT = False
    NOTIFICATION_TIMEOUT = 6
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        project: Path,
        options: UiOptions | None = None,
        *,
        watch: bool = True,
        tether: Tether | None = None,
    ) -> None:
        self.project = project
        self.options = options or UiOptions()
        self.session = Session(
            project, enabled=self.options.restore and not self.options.readonly, fresh=self.options.fresh
        )
        if self.session.screen is not None:
            self.DEFAULT_MODE = self.session.screen  # type: ignore[misc]  # read once, by the line below
        super().__init__(tether)
        self.glyphs = glyphs.ASCII if self.options.ascii else glyphs.UNICODE
        self.snapshot = Snapshot(project.name)
        self.watcher = Watcher(project, self.options, self.post_message)
        self.work = Work(self)
        self._ahead = Ahead(self)
        self._made = False
        self.alerts = Alerts()
        self.messages = Messages()
        self._bell = self.options.bell
        self.keymap: Mapping[str, str] = {}
        self._watch = watch
        # Before every other filter: nothing that a widget draws reaches the terminal as a control sequence.
        self._filters.insert(0, InertFilter())
        if self.options.ascii:
            self._filters.append(AsciiFilter())
        if self.no_color or self.options.slow:
            # Textual's answer to NO_COLOR is shades of grey, in more bytes than colours take.
            self._filters[:] = [line_filter for line_filter in self._filters if not isinstance(line_filter, Monochrome)]
            self._filters.append(FewColours(colours=not self.no_color))
        for theme in theming.themes():
            self.register_theme(theme)
        self._configured_theme = theming.DEFAULT
        self._use_theme(self.options.theme)
        if self.options.slow:
            self.animation_level = "none"

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our colours, for themes that don't know them."""
        return theming.FALLBACK_VARIABLES if self.current_theme.dark else theming.FALLBACK_LIGHT

    # Life ---------------------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Begin to look once the first frame is painted."""
        self.set_class(self.options.ascii, "-ascii")
        self.heed_launcher()
        self._read_config()
        if self.session.problem:
            self.say(self.session.problem)
        if self._watch:
            self.call_after_refresh(self.watcher.start)
        if self.options.restore:
            self.set_interval(SAVE_EVERY_S, self.save_session)

    def on_unmount(self) -> None:
        """The watcher ends with the app; jobs don't."""
        self.watcher.stop()

    def _read_config(self) -> None:
        if not (self.project / "config.toml").exists():
            return
        try:
            ui = self.config.ui
        except AlpacaError as error:
            self.say(str(error), "error")
            return
        self._bell = self._bell or ui.bell
        if ui.keys:
            from alpaca_tui.ui import keymap

            self.keymap, problems = keymap.checked(ui.keys)
            self.set_keymap(self.keymap)
            if problems:
                self.say(f"config.toml, [ui.keys]: {'; '.join(problems)}. Those stay as they were.", "error")
        if ui.theme and self.options.theme == theming.DEFAULT:
            self._use_theme(ui.theme)

    def _use_theme(self, configured: str) -> None:
        """The configured theme where there is one of that name, or the one that was chosen over it by key."""
        if configured in self.available_themes:
            self._configured_theme = configured
        chosen = self.session.theme(self._configured_theme)
        self.theme = chosen if chosen in self.available_themes else self._configured_theme

    def save_session(self) -> None:
        """Keep where the person is for the next start."""
        for screen in self.screen_stack:
            if isinstance(screen, AppScreen) and screen.is_mounted:
                with suppress(NoMatches):  # it is being built or taken down, which must not keep anyone from leaving
                    screen.keep_place()
        self.session.save(self.current_mode, self.theme, self._configured_theme)

    def exit(self, *given: Any, **named: Any) -> None:
        """As Textual's; where the person was is kept first."""
        self.save_session()
        super().exit(*given, **named)

    @cached_property
    def config(self) -> Config:
        """The project's configuration. Raises UsageError where it can't be read."""
        from alpaca_tui import config

        return config.load(self.project)

    @cached_property
    def forms(self) -> Forms:
        """The dialogs that start work."""
        from alpaca_tui.ui.screens.forms import Forms

        return Forms(self)

    @cached_property
    def db(self) -> Database:
        """The event loop's own connection, opened at the first need; for short reads and single decisions.

        Raises AlpacaError where the project can't be opened.
        """
        from alpaca_tui.ui import reader

        db = reader.connect(self.project, readonly=self.options.readonly)
        # A person waits at the keyboard: better to say "busy" after two seconds than to hang for ten.
        db.conn.execute("PRAGMA busy_timeout = 2000")
        return db

    def _fatal_error(self) -> None:
        """Say in two lines that the cockpit broke; the traceback goes to a file, without values (they hold secrets)."""
        ending.within(ending.LEAVING_S, lambda: self.return_code or 1)
        path = self.project / CRASH_FILE
        with suppress(OSError), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            traceback.print_exc(file=file)
        what = printable(f"{type(self._exception).__name__}: {self._exception}")[:200]
        advice = f"Jobs go on. The traceback lies in {path}; start the cockpit again any time."
        self._exit_renderables.append(Text(f"alpaca-tui: the cockpit broke: {what}\n{advice}"))
        self._close_messages_no_wait()

    # Snapshots ----------------------------------------------------------------------------------------------------

    @on(SnapshotArrived)
    def _take(self, event: SnapshotArrived) -> None:
        self.show_snapshot(event.snapshot)
        if event.snapshot.loaded and not self.is_headless:
            self.call_after_refresh(self._ahead.begin)

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Make the snapshot the present one and let the screen in sight draw it."""
        self.snapshot = snapshot
        news = self.alerts.news(snapshot)
        for alert in news:
            self.say(alert.text, alert.severity)
        if news and self._bell:
            self.bell()
        for screen in self.screen_stack:
            if isinstance(screen, AppScreen) and screen.is_mounted:
                screen.take(snapshot)

    def badges(self) -> dict[str, str]:
        """Short notes for the tabs."""
        pending = self.snapshot.facts.funnel.pending
        active = len(self.snapshot.active)
        return {name: str(n) for name, n in (("review", pending), ("jobs", active)) if n}

    # Actions ------------------------------------------------------------------------------------------------------

    def say(self, message: str, severity: Severity | str = "information") -> None:
        """A toast, kept among the messages; the text is shown to the letter. An error stays up longer."""
        self.messages.keep(message, severity, time.time())
        timeout = self.NOTIFICATION_TIMEOUT * (2 if severity == "error" else 1)
        self.notify(printable(message), severity=cast("Severity", severity), timeout=timeout, markup=False)

    def go(self, name: str) -> None:
        """Show a screen."""
        self._made = name in self._screen_stacks
        self.switch_mode(name)

    def delay_update(self, delay: float = 0.05) -> None:
        """As Textual's, which so hides how a screen is made; one that is made is shown once it has caught up."""
        super().delay_update(CAUGHT_UP_S if self._made else delay)

    def action_go(self, name: str) -> None:
        """Show a screen, unless the one in sight is waiting for a number."""
        number = bindings.SCREENS.index(name) + 1
        if not (isinstance(self.screen, AppScreen) and self.screen.takes_number(number)):
            self.go(name)

    @on(NavBar.Chosen)
    def _tab_chosen(self, event: NavBar.Chosen) -> None:
        self.go(event.screen_name)

    def action_help(self) -> None:
        """Every key."""
        from alpaca_tui.ui.screens.dialogs import Reading, help_text

        name = self.screen.NAME if isinstance(self.screen, AppScreen) else self.current_mode
        title = f"Keys: {bindings.TITLES.get(name, 'Blind A/B')}"
        text = partial(help_text, name, self.keymap, ascii=self.options.ascii)
        self.push_screen(Reading(title, text))

    def action_messages(self) -> None:
        """What was said in toasts."""
        from alpaca_tui.ui.screens.dialogs import Reading

        self.clear_notifications()  # they would lie over the list that has them all
        self.push_screen(Reading("Messages", self.messages.paragraphs(self.glyphs)))

    def action_send_text(self) -> None:
        """Send the text in sight to the terminal's clipboard, and write it into a file."""
        from alpaca_tui.ui import sending

        sending.send(self)

    def action_next_theme(self) -> None:
        """The next of our themes."""
        names = [theme.name for theme in theming.themes()]
        here = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(here + 1) % len(names)]

    def action_interrupt(self) -> None:
        """Close what lies on top of the screen, else leave."""
        if len(self.screen_stack) > 1:
            self.screen.dismiss(None)
        else:
            self.action_leave()

    def action_leave(self) -> None:
        """Leave; the jobs go on and are there again next time."""
        active = self.snapshot.active
        if not active:
            self.exit()
            return
        names = ", ".join(f"job {j.row.id} ({j.row.kind})" for j in active)
        verb = "goes" if len(active) == 1 else "go"
        advice = "Watch with: alpaca-tui status; come back with: alpaca-tui"
        self.exit(message=Text(f"Detached: {names} {verb} on. {advice}"))


def run(project: Path, *, options: UiOptions, tether: Tether | None = None) -> int:
    """Open the cockpit on an existing project; return the exit code (128 + n after signal n)."""
    app = CockpitApp(project, options, tether=tether)
    ending.obey(app.signalled)
    app.run(mouse=not options.no_mouse)
    return app.return_code or 0
