"""Seeds: the tasks that people wrote, searched and read in full."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widgets import Input

from alpaca_tui.core.records import SeedTask
from alpaca_tui.ui import queries
from alpaca_tui.ui.literal import literal, literal_line
from alpaca_tui.ui.queries import SeedLine
from alpaca_tui.ui.review_card import heading
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.snapshot import Snapshot
from alpaca_tui.ui.widgets.lines import EMPTY, TextView
from alpaca_tui.ui.widgets.paged import PagedList

WIDE_FROM = 100


class SeedsScreen(AppScreen):
    """A list of any length on one side, the task on the other."""

    NAME = "seeds"
    AUTO_FOCUS = "#seed-list"

    def __init__(self) -> None:
        super().__init__()
        self._words = ""
        self._count = -1

    def compose_body(self) -> ComposeResult:
        """Search line, list, task."""
        glyphs = self.cockpit.glyphs
        search = Input(placeholder="words to look for; enter keeps them, esc shows all", id="search", classes="-away")
        search.cursor_blink = False
        yield search
        with Container(id="seeds-body", classes="split"):
            box: PagedList[SeedLine] = PagedList(
                self._page, self._line, empty="No seed holds these words. Press esc to show all.",
                pointer=glyphs.pointer, id="seed-list",
            )  # fmt: skip
            box.add_class("pane")
            yield box
            yield TextView(id="seed-task", classes="pane")

    @property
    def _list(self) -> PagedList[SeedLine]:
        return self.query_one("#seed-list", PagedList)

    def on_mount(self) -> None:
        """Name the boxes."""
        self.query_one("#seed-task").border_title = "Task"
        super().on_mount()

    def on_resize(self) -> None:
        """Side by side or one over the other."""
        self.query_one("#seeds-body").set_class(self.size.width < WIDE_FROM, "-stacked")

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Read the list again where its length has changed."""
        if snapshot.loaded and snapshot.facts.seeds != self._count:
            self._count = snapshot.facts.seeds
            self._reload(to_top=False)

    def _reload(self, *, to_top: bool) -> None:
        count = self.in_store(lambda db: queries.count_seeds(db, self._words))
        self._list.reload(count or 0, to_top=to_top)
        found = f"{count or 0} of {self._count}" if self._words else f"{self._count}"
        self._list.border_title = f"Seed tasks ({found})"

    def _page(self, offset: int, limit: int) -> list[SeedLine]:
        return self.in_store(lambda db: queries.page_seeds(db, self._words, offset, limit)) or []

    def _line(self, seed: SeedLine, width: int) -> Content:
        kind = "C" if seed.is_classification else " "
        off = "" if seed.enabled else "off "
        text = literal_line(seed.instruction, newline=self.cockpit.glyphs.newline)
        line = Content.assemble((f"{seed.id:>4} ", "$faint"), (f"{kind} ", "$secondary bold"), (off, "$warning"), text)
        return line.truncate(width, ellipsis=True)

    @on(PagedList.Moved, "#seed-list")
    def _show_task(self) -> None:
        line = self._list.current
        view = self.query_one("#seed-task", TextView)
        task = self.in_store(lambda db: queries.seed_task(db, line.id)) if line else None
        if line is None or task is None:
            view.show([])
            return
        shown = self.in_store(lambda db: queries.times_shown(db, line.id)) or 0
        view.show(task_paragraphs(task, shown))

    def action_search(self) -> None:
        """Open the search line."""
        search = self.query_one("#search", Input)
        search.remove_class("-away")
        search.focus()

    @on(Input.Changed, "#search")
    def _search_as_typed(self, event: Input.Changed) -> None:
        self._words = event.value.strip()
        self._reload(to_top=True)

    @on(Input.Submitted, "#search")
    def _keep_search(self) -> None:
        self._list.focus()

    def action_clear(self) -> None:
        """Show all seeds."""
        search = self.query_one("#search", Input)
        search.value = ""
        search.add_class("-away")
        self._list.focus()


def task_paragraphs(task: SeedTask, shown: int) -> list[Content]:
    """A seed task in full."""
    kind = "classification" if task.is_classification else "generation"
    times = "never shown in a prompt yet" if not shown else f"shown in {shown} prompt{'s' if shown > 1 else ''}"
    lines = [
        Content.assemble(literal_line(task.name, "bold"), ("  ", ""), literal_line(task.task_id, "$faint")),
        Content.styled(f"{kind}, {times}", "$muted"),
        EMPTY,
        heading("Instruction"),
        literal(task.instruction),
    ]
    for number, instance in enumerate(task.instances, 1):
        which = f" {number}" if len(task.instances) > 1 else ""
        if instance.input:
            lines += [EMPTY, heading(f"Input{which}"), literal(instance.input)]
        lines += [EMPTY, heading(f"Output{which}"), literal(instance.output)]
    return lines
