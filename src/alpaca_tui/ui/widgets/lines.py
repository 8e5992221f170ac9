"""Widgets that draw whole lines of content: only the rows that changed are painted again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style
from textual.widget import Widget

from alpaca_tui.ui.bindings import list_bindings

EMPTY = Content("")


def to_strip(line: Content, width: int, base: Style) -> Strip:
    """One line cut or filled up to ``width`` cells over the base style."""
    segments: list[Segment] = line.render_segments(base)
    return Strip(segments, line.cell_length).adjust_cell_length(width, base.rich_style).simplify()


def wrap(paragraphs: Iterable[Content], width: int) -> list[Content]:
    """The paragraphs broken into lines of at most ``width`` cells."""
    lines: list[Content] = []
    for paragraph in paragraphs:
        lines.extend(paragraph.wrap(max(2, width)) or [EMPTY])
    return lines


def changed_rows(old: Sequence[Content], new: Sequence[Content], height: int) -> list[tuple[int, int]]:
    """(first row, number of rows) of each run of rows that differ, within ``height``."""

    def row(lines: Sequence[Content], y: int) -> Content:
        return lines[y] if y < len(lines) else EMPTY

    count = min(height, max(len(old), len(new)))
    differing = [y for y in range(count) if not row(old, y).is_same(row(new, y))]
    runs = []
    for _, group in groupby(enumerate(differing), key=lambda pair: pair[1] - pair[0]):
        rows = [y for _, y in group]
        runs.append((rows[0], len(rows)))
    return runs


class LinesView(Widget):
    """Draws the lines that ``compose_lines`` gives for its size; ``update_lines`` paints what has changed."""

    can_focus = False

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes, markup=False)
        self._lines: list[Content] = []

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """The lines to show in that space; more than ``height`` are cut off."""
        return []

    def update_lines(self) -> None:
        """Compose again and repaint the rows that differ."""
        width, height = self.content_size
        new = self.compose_lines(width, height) if width > 0 and height > 0 else []
        old, self._lines = self._lines, new
        regions = [Region(0, y, width, rows) for y, rows in changed_rows(old, new, height)]
        if regions:
            self.refresh(*regions)

    @property
    def shown(self) -> list[str]:
        """The visible text, for tests."""
        return [line.plain for line in self._lines[: self.content_size.height]]

    def on_mount(self) -> None:
        """Draw the first lines."""
        self.update_lines()

    def on_resize(self) -> None:
        """The space has changed, and with it every line."""
        self.update_lines()

    def render_line(self, y: int) -> Strip:
        """One row (Textual's line API)."""
        line = self._lines[y] if y < len(self._lines) else EMPTY
        return to_strip(line, self.content_size.width, self.visual_style)


class TextView(ScrollView):
    """A text of paragraphs, wrapped and scrolled; it holds no more than it was given."""

    BINDINGS: ClassVar[list[BindingType]] = [*list_bindings()]
    can_focus = True

    def __init__(self, *, id: str | None = None, classes: str | None = None, follow: bool = False) -> None:
        super().__init__(id=id, classes=classes)
        self._paragraphs: list[Content] = []
        self._lines: list[Content] = []
        self._width = 0
        self._follow = follow

    def show(self, paragraphs: Sequence[Content], *, keep_place: bool = False) -> None:
        """Replace the text; from its beginning unless ``keep_place``. A following view stays at its end."""
        same = len(paragraphs) == len(self._paragraphs) and all(
            a.is_same(b) for a, b in zip(paragraphs, self._paragraphs, strict=True)
        )
        if same and (keep_place or self._follow):
            return
        at_end = self.at_end
        self._paragraphs = list(paragraphs)
        self._layout_lines()
        # Forced: whether there is a scroll bar is only decided at the next layout.
        if self._follow and at_end:
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True)
        elif not keep_place and not self._follow:
            self.scroll_to(y=0, animate=False, force=True)
        self.refresh()

    @property
    def at_end(self) -> bool:
        """Whether the last line is in sight."""
        return self.scroll_offset.y >= self.max_scroll_y

    @property
    def shown(self) -> list[str]:
        """The text in sight, for tests."""
        top = self.scroll_offset.y
        return [line.plain for line in self._lines[top : top + self.scrollable_content_region.height]]

    @property
    def unwrapped(self) -> str:
        """The whole text, a line a paragraph."""
        return "\n".join(paragraph.plain for paragraph in self._paragraphs)

    @property
    def text(self) -> str:
        """The whole text, for tests."""
        return "\n".join(line.plain for line in self._lines)

    def _layout_lines(self) -> None:
        self._width = self.scrollable_content_region.width
        if self._width <= 0:
            return
        self._lines = wrap(self._paragraphs, self._width)
        self.virtual_size = Size(self._width, len(self._lines))
        # The scroll bar that now appears or goes takes width: once more for what is left.
        width = self.scrollable_content_region.width
        if 0 < width != self._width:
            self._width = width
            self._lines = wrap(self._paragraphs, width)
            self.virtual_size = Size(width, len(self._lines))

    def on_resize(self, event: events.Resize) -> None:
        """Wrap again for the new width."""
        if self.scrollable_content_region.width != self._width:
            at_end = self.at_end
            self._layout_lines()
            if self._follow and at_end:
                self.scroll_to(y=self.max_scroll_y, animate=False, force=True)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """One row (Textual's line API)."""
        at = y + self.scroll_offset.y
        line = self._lines[at] if at < len(self._lines) else EMPTY
        return to_strip(line, self.scrollable_content_region.width, self.visual_style)

    def action_line_up(self) -> None:
        """Scroll one line up."""
        self.scroll_to(y=self.scroll_offset.y - 1, animate=False)

    def action_line_down(self) -> None:
        """Scroll one line down."""
        self.scroll_to(y=self.scroll_offset.y + 1, animate=False)

    def action_screen_up(self) -> None:
        """Scroll one page up."""
        self.scroll_to(y=self.scroll_offset.y - max(1, self.size.height - 2), animate=False)

    def action_screen_down(self) -> None:
        """Scroll one page down."""
        self.scroll_to(y=self.scroll_offset.y + max(1, self.size.height - 2), animate=False)

    def action_to_top(self) -> None:
        """Scroll to the beginning."""
        self.scroll_to(y=0, animate=False)

    def action_to_end(self) -> None:
        """Scroll to the end."""
        self.scroll_to(y=self.max_scroll_y, animate=False)
