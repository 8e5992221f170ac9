"""A list of any length that holds a few pages: rows are fetched as they come into sight."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from alpaca_tui.ui.bindings import list_bindings
from alpaca_tui.ui.widgets.lines import EMPTY, to_strip

PAGE = 64
_PAGES_KEPT = 8

Row = TypeVar("Row")


class PagedList(ScrollView, Generic[Row]):
    """Rows from ``fetch(offset, limit)``, one line each from ``render_row(row, width)``, with a cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [*list_bindings()]
    can_focus = True

    class Moved(Message):
        """The cursor is on another row, or the row under it was read again."""

        def __init__(self, paged: PagedList) -> None:
            super().__init__()
            self.paged = paged

        @property
        def control(self) -> PagedList:
            """The list, so that handlers can be bound to its id."""
            return self.paged

    def __init__(
        self,
        fetch: Callable[[int, int], list[Row]],
        render_row: Callable[[Row, int], Content],
        *,
        empty: str,
        pointer: str = "▸",
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._fetch, self._render_row, self._empty, self._pointer = fetch, render_row, empty, pointer
        self._pages: OrderedDict[int, list[Row]] = OrderedDict()
        self._count = 0
        self.cursor = 0

    def reload(self, count: int, *, to_top: bool = False) -> None:
        """There are ``count`` rows now; forget the pages and read again what is in sight."""
        self._pages.clear()
        self._count = count
        self.cursor = 0 if to_top else min(self.cursor, max(0, count - 1))
        self._fit()
        if to_top:
            self.scroll_to(y=0, animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved(self))

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self._count

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        return self.row(self.cursor)

    def row(self, index: int) -> Row | None:
        """The row of that index; None where there is none (any more)."""
        if not 0 <= index < self._count:
            return None
        page, place = divmod(index, PAGE)
        if page not in self._pages:
            self._pages[page] = self._fetch(page * PAGE, PAGE)
            while len(self._pages) > _PAGES_KEPT:
                self._pages.popitem(last=False)
        else:
            self._pages.move_to_end(page)
        rows = self._pages[page]
        return rows[place] if place < len(rows) else None

    @property
    def shown(self) -> list[str]:
        """The text in sight, for tests."""
        return [self._line(y + self.scroll_offset.y).plain for y in range(self.scrollable_content_region.height)]

    def _fit(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, max(1, self._count))

    def on_resize(self, event: events.Resize) -> None:
        """The width is another one."""
        self._fit()
        self._show_cursor()

    def _line(self, index: int) -> Content:
        width = self.scrollable_content_region.width
        if self._count == 0:
            return Content.styled(self._empty, "$muted") if index == 0 else EMPTY
        row = self.row(index)
        if row is None:
            return EMPTY
        chosen = index == self.cursor
        line = Content.assemble(
            (f"{self._pointer if chosen else ' '} ", "$accent bold"), self._render_row(row, width - 2)
        )
        if not chosen:
            return line
        line = line.truncate(width).extend_right(max(0, width - line.cell_length))
        return line.stylize_before("on $panel" if not self.has_focus else "bold on $panel")

    def render_line(self, y: int) -> Strip:
        """One row (Textual's line API)."""
        line = self._line(y + self.scroll_offset.y)
        return to_strip(line, self.scrollable_content_region.width, self.visual_style)

    def move(self, to: int) -> None:
        """Put the cursor on the row of that index, within the list."""
        to = max(0, min(self._count - 1, to))
        if to == self.cursor or self._count == 0:
            return
        before, self.cursor = self.cursor, to
        self.refresh_lines(before)
        self.refresh_lines(to)
        self._show_cursor()
        self.post_message(self.Moved(self))

    def _show_cursor(self) -> None:
        top, height = self.scroll_offset.y, max(1, self.scrollable_content_region.height)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True)

    def on_focus(self) -> None:
        """The cursor's row looks different with the focus."""
        self.refresh()

    def on_blur(self) -> None:
        """The cursor's row looks different without the focus."""
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Choose the row under the mouse."""
        self.move(event.y + self.scroll_offset.y)

    def action_line_up(self) -> None:
        """To the row above."""
        self.move(self.cursor - 1)

    def action_line_down(self) -> None:
        """To the row below."""
        self.move(self.cursor + 1)

    def action_screen_up(self) -> None:
        """A page up."""
        self.move(self.cursor - max(1, self.size.height - 1))

    def action_screen_down(self) -> None:
        """A page down."""
        self.move(self.cursor + max(1, self.size.height - 1))

    def action_to_top(self) -> None:
        """To the first row."""
        self.move(0)

    def action_to_end(self) -> None:
        """To the last row."""
        self.move(self._count - 1)
