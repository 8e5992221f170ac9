"""The frame of every screen: tabs above, status and keys below."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from textual import events
from textual.content import Content
from textual.message import Message

from alpaca_tui.ui import bindings
from alpaca_tui.ui.figures import duration, size
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import literal_line
from alpaca_tui.ui.snapshot import DISK_LOW, Gpu, JobView, Snapshot
from alpaca_tui.ui.widgets.lines import LinesView


class NavBar(LinesView):
    """The screens with their number keys; the present one stands out."""

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, screen: str) -> None:
            super().__init__()
            self.screen_name = screen

    def __init__(self, current: str, glyphs: Glyphs) -> None:
        super().__init__(id="nav")
        self._current, self._glyphs = current, glyphs
        self._badges: dict[str, str] = {}
        self._places: list[tuple[int, int, str]] = []

    def badge(self, badges: Mapping[str, str]) -> None:
        """Show a short note behind the names of some screens."""
        if dict(badges) != self._badges:
            self._badges = dict(badges)
            self.update_lines()

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """One line of tabs."""
        parts: list[tuple[str, str]] = []
        self._places = []
        x = 0
        gap = " " if width >= 78 else ""
        for number, name in enumerate(bindings.SCREENS, 1):
            title, note = bindings.TITLES[name], self._badges.get(name, "")
            here = name == self._current
            tab = [
                (f"{gap}{number} ", "$accent bold on $panel" if here else "$faint"),
                (
                    f"{title}{' ' if gap or not here else ''}",
                    "$foreground bold underline on $panel" if here else "$muted",
                ),
            ]
            if here:
                tab[1] = (title, "$foreground bold underline on $panel")
                tab.append((" ", "on $panel"))
            if note:
                tab.append((f"{note} ", "$accent bold"))
            length = sum(Content(text).cell_length for text, _ in tab)
            self._places.append((x, x + length, name))
            x += length
            parts += tab
        line = Content.assemble(*parts)
        brand = "alpaca-tui "
        if width - line.cell_length > len(brand) + 2:
            line = Content.assemble(line, " " * (width - line.cell_length - len(brand)), (brand, "$faint italic"))
        return [line]

    def on_click(self, event: events.Click) -> None:
        """Go to the tab under the mouse."""
        for start, end, name in self._places:
            if start <= event.x < end:
                self.post_message(self.Chosen(name))


class StatusLine(LinesView):
    """Project, workers, target, speed, machine: in one line, most important first."""

    def __init__(self, glyphs: Glyphs, *, readonly: bool) -> None:
        super().__init__(id="status")
        self._glyphs, self._readonly = glyphs, readonly
        self._snapshot: Snapshot | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Show another snapshot."""
        self._snapshot = snapshot
        self.update_lines()

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """One line; parts that don't fit are left out from the end."""
        if self._snapshot is None:
            return [Content("")]
        if self._snapshot.problem:
            return [Content.assemble((f" {self._glyphs.cross} ", "$error bold"), literal_line(self._snapshot.problem))]
        parts = status_parts(self._snapshot, self._glyphs, readonly=self._readonly)
        separator = Content.styled(f" {self._glyphs.separator} ", "$line")
        line = Content(" ") + parts[0].truncate(max(8, width // 3), ellipsis=True)
        for part in parts[1:]:
            if line.cell_length + part.cell_length + 3 <= width:
                line = line + separator + part
        return [line]


def status_parts(snapshot: Snapshot, glyphs: Glyphs, *, readonly: bool) -> list[Content]:
    """The parts of the status line in the order of their weight."""
    parts = [literal_line(snapshot.project, "bold")]
    if readonly:
        parts.append(Content.styled("read only", "$warning"))
    if not snapshot.loaded:
        return [*parts, Content.styled(f"reading{glyphs.ellipsis}", "$muted")]
    active = snapshot.active
    if active:
        parts.append(Content("  ").join([worker_sign(job, glyphs) for job in active[:4]]))
    else:
        parts.append(Content.styled(f"{glyphs.idle} no worker", "$muted"))
    target = f"/{snapshot.target}" if snapshot.target else ""
    parts.append(Content.assemble(("kept ", "$muted"), (f"{snapshot.usable}{target}", "bold")))
    if active and snapshot.tokens_per_s:
        parts.append(Content.assemble(f"{snapshot.tokens_per_s:.0f}", (" tok/s", "$muted")))
    parts.append(_gpus(snapshot.machine.gpus))
    if snapshot.machine.disk_free is not None:
        low = snapshot.machine.disk_free < DISK_LOW
        parts.append(
            Content.assemble(
                (f"{size(snapshot.machine.disk_free)} free", "$error bold" if low else ""), (" disk", "$muted")
            )
        )
    return parts


def worker_sign(job: JobView, glyphs: Glyphs) -> Content:
    """A job at work: its letter and number, a sign of life, and the age of its heartbeat."""
    if job.row.state == "queued":
        return Content.assemble((f"{job.letter}{job.row.id}", "bold"), (" queued", "$muted"))
    age = "silent" if job.heartbeat_age is None else duration(job.heartbeat_age).replace(" ", "")
    if job.silent:
        return Content.assemble((f"{job.letter}{job.row.id}", "bold"), (f" ! {age}", "$error bold"))
    word = " stopping" if job.row.state == "stopping" else ""
    return Content.assemble(
        (f"{job.letter}{job.row.id} ", "bold"), (glyphs.alive, "$success"), (f" {age}{word}", "$muted")
    )


def _gpus(gpus: tuple[Gpu, ...]) -> Content:
    if not gpus:
        return Content.styled("CPU", "$muted")
    used, total = sum(g.memory_used for g in gpus), sum(g.memory_total for g in gpus)
    uses = [g.use for g in gpus if g.use is not None]
    heat = [g.temperature for g in gpus if g.temperature is not None]
    name = "GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs"
    use = f" {sum(uses) // len(uses)}%" if uses else ""
    hottest = f" {max(heat)}°C" if heat else ""
    memory = f" {used / 1e9:.1f}/{total / 1e9:.0f} GB"
    hot = bool(heat) and max(heat) >= 85
    return Content.assemble((name, "$muted"), memory, use, (hottest, "$error bold" if hot else ""))


class KeyFooter(LinesView):
    """The keys of the screen, from the table."""

    def __init__(self, screen: str, keymap: Callable[[], Mapping[str, str]], *, ascii: bool) -> None:
        super().__init__(id="keys")
        self._screen_name, self._keymap, self._ascii = screen, keymap, ascii

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """The screen's own keys from the left as far as they fit, the general ones at the right."""
        shown = [c for c in bindings.commands(self._screen_name) if c.footer and c.label]
        own = [self._key(c) for c in shown if c.screens]
        general = [self._key(c) for c in shown if not c.screens]
        right = Content("  ").join(general)
        line = Content(" ")
        for part in own:
            if line.cell_length + part.cell_length + 2 + right.cell_length + 1 > width:
                break
            line = line + part + Content("  ")
        gap = width - line.cell_length - right.cell_length - 1
        return [Content.assemble(line, " " * max(0, gap), right)]

    def _key(self, command: bindings.Command) -> Content:
        key = bindings.first_key(command, self._keymap(), ascii=self._ascii)
        return Content.assemble((key, "$accent bold"), (f" {command.label}", "$muted"))
