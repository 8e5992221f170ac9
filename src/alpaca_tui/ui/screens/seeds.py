"""Seeds: the tasks that people wrote, what came of each, and the changes a person makes to them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.query import SEEDS, Query, QueryError, parse
from alpaca_tui.core.records import SeedTask
from alpaca_tui.store import browse, seeds
from alpaca_tui.store.browse import SeedLine
from alpaca_tui.store.seeds import SeedRow, SeedUsage
from alpaca_tui.ui import editing, reader, seed_card
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.sending import Text, labelled
from alpaca_tui.ui.session import Place
from alpaca_tui.ui.snapshot import Facts, Snapshot
from alpaca_tui.ui.widgets.lines import LinesView, TextView
from alpaca_tui.ui.widgets.paged import PagedList

if TYPE_CHECKING:
    from sqlite_utils import Database

WIDE_FROM = 100
HINT = "words, or status:on kind:classification len<20; enter keeps it, esc shows all"
USAGE_SHARE = 0.03
"""The most of one core that counting the usage may take: a count that took t seconds rests for t / share."""

Usage = dict[int, SeedUsage]


def _fruit(usage: SeedUsage) -> tuple[float, int]:
    """Accepted of those judged, seeds without a judged sample last; of equal shares the greater number first."""
    judged = usage.accepted + usage.rejected
    return (-usage.accepted / judged if judged else 1.0, -usage.accepted)


ORDERS: tuple[tuple[str, Callable[[SeedUsage], tuple[float, int]]], ...] = (
    ("by id", lambda _: (0.0, 0)),
    ("most drawn", lambda usage: (-usage.drawn, 0)),
    ("most fruitful", _fruit),
)
"""What the list can be sorted by; ties stay in the order of import."""


class UsageRead(Message):
    """The usage of every seed was counted in ``seconds``; None where it could not be."""

    def __init__(self, usage: Usage | None, seconds: float, problem: str = "") -> None:
        super().__init__()
        self.usage, self.seconds, self.problem = usage, seconds, problem


class SeedsHead(LinesView):
    """The names of the list's columns."""

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """One line."""
        return [seed_card.head(width)]


class SeedsScreen(AppScreen):
    """A list of any length on one side, the task on the other."""

    NAME = "seeds"
    AUTO_FOCUS = "#seed-list"

    def __init__(self) -> None:
        super().__init__()
        self._query, self._order = Query(), 0
        self._ids: list[int] = []
        self._facts: Facts | None = None
        self._shown: int | None = None
        self._usage: Usage | None = None
        self._counting = self._stale = False
        self._drafts: dict[int | None, str] = {}
        """Edited texts that could not be stored, by the seed's id (None: a new one), for another try."""

    def compose_body(self) -> ComposeResult:
        """Search line, list, task."""
        glyphs = self.cockpit.glyphs
        search = Input(
            placeholder=HINT,
            id="search",
            classes="-away",
        )
        search.cursor_blink = False
        yield search
        with Container(id="seeds-body", classes="split"):
            with Vertical(id="seeds-box", classes="pane"):
                yield SeedsHead(id="seeds-head")
                yield PagedList[SeedLine](
                    self._page, self._line, empty="No seed is found by this. Press esc to show all.",
                    pointer=glyphs.pointer, id="seed-list",
                )  # fmt: skip
            yield TextView(id="seed-task", classes="pane")

    @property
    def _list(self) -> PagedList[SeedLine]:
        return self.query_one("#seed-list", PagedList)

    def on_mount(self) -> None:
        """Name the boxes."""
        self.query_one("#seed-task").border_title = "Task"
        super().on_mount()

    def remember(self) -> dict[str, Any]:
        """The query, the order and the seed."""
        return {"query": self.query_one("#search", Input).value, "order": self._order, "seed": self._shown}

    def recall(self, place: Place) -> None:
        """The same list, on the same seed."""
        self._order = place.whole("order", high=len(ORDERS) - 1) or 0
        self._shown = place.whole("seed")
        with suppress(QueryError):
            self._query = parse(place.text("query"), SEEDS)
        if self._query.terms:
            search = self.query_one("#search", Input)
            search.value = place.text("query")
            search.remove_class("-away")

    def on_resize(self) -> None:
        """Side by side or one over the other."""
        self.query_one("#seeds-body").set_class(self.size.width < WIDE_FROM, "-stacked")

    # Reading ------------------------------------------------------------------------------------------------------

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Read the list again where the project has changed; the counts follow."""
        if snapshot.loaded and snapshot.facts is not self._facts:
            self._facts = snapshot.facts
            self._stale = True
            self._reload()
        self._count_if_stale()

    def _count_if_stale(self) -> None:
        if self._stale and not self._counting and self.is_current:
            self._stale, self._counting = False, True
            self._count()

    @work(thread=True, group="seed-usage", exit_on_error=False)
    def _count(self) -> None:
        # Grows with the number of samples: never on the event loop, and on a connection of its own.
        app, began = self.cockpit, time.monotonic()
        try:
            db = reader.connect(app.project, readonly=app.options.readonly)
            try:
                usage = seeds.usage(db)
            finally:
                db.conn.close()
        except (AlpacaError, sqlite3.Error, OSError) as error:
            self.post_message(UsageRead(None, 1.0, str(error)))
        else:
            self.post_message(UsageRead(usage, time.monotonic() - began))

    @on(UsageRead)
    def _take_usage(self, event: UsageRead) -> None:
        self.set_timer(event.seconds / USAGE_SHARE, self._counted)
        if event.usage is None:
            self.cockpit.say(f"What the seeds led to could not be counted: {event.problem}", "error")
        elif event.usage != self._usage:
            self._usage = event.usage
            self._reload()

    def _counted(self) -> None:
        self._counting = False
        self._count_if_stale()

    def _reload(self, *, to_top: bool = False, at: int | None = None) -> None:
        """Read the list anew; the cursor goes to the seed ``at``, else stays on its own unless ``to_top``."""
        found = self.in_store(lambda db: (browse.seed_ids(db, self._query), seeds.count(db)))
        self._ids, total = found or ([], 0)
        name, key = ORDERS[self._order]
        if self._usage is not None:
            usage = self._usage
            self._ids.sort(key=lambda id: key(usage.get(id, SeedUsage())))
        rows = self._list
        rows.reload(len(self._ids), to_top=to_top)
        stay = at if at is not None else None if to_top else self._shown
        if stay is not None:
            with suppress(ValueError):
                rows.move(self._ids.index(stay))
        count = f"{len(self._ids)} of {total}" if self._query.terms else f"{total}"
        self.query_one("#seeds-box").border_title = f"Seed tasks ({count}), {name}"

    def _page(self, offset: int, limit: int) -> list[SeedLine]:
        return self.in_store(lambda db: browse.seed_lines(db, self._ids[offset : offset + limit])) or []

    def _used(self, seed_id: int) -> SeedUsage | None:
        return None if self._usage is None else self._usage.get(seed_id, SeedUsage())

    def _line(self, seed: SeedLine, width: int) -> Content:
        return seed_card.line(seed, self._used(seed.id), width, self.cockpit.glyphs)

    @on(PagedList.Moved, "#seed-list")
    def _show_task(self) -> None:
        line, view = self._list.current, self.query_one("#seed-task", TextView)
        row = self.in_store(lambda db: seeds.get(db, line.id)) if line else None
        if row is None:
            view.show([])
            return
        same, self._shown = self._shown == row.id, row.id
        earlier = (self.in_store(lambda db: seeds.revisions(db, row.id)) or []) if row.revision > 1 else []
        paragraphs = seed_card.paragraphs(row, self._used(row.id), earlier, self.cockpit.glyphs)
        view.show(paragraphs, keep_place=same)

    # Searching and sorting ----------------------------------------------------------------------------------------

    def action_search(self) -> None:
        """Open the search line."""
        search = self.query_one("#search", Input)
        search.remove_class("-away")
        search.focus()

    @on(Input.Changed, "#search")
    def _search_as_typed(self, event: Input.Changed) -> None:
        try:
            query = parse(event.value, SEEDS)
        except QueryError:
            return  # half typed; enter says what is wrong with it
        if query != self._query:
            self._query = query
            self._reload(to_top=True)

    @on(Input.Submitted, "#search")
    def _keep_search(self, event: Input.Submitted) -> None:
        try:
            parse(event.value, SEEDS)
        except QueryError as error:
            self.cockpit.say(str(error), "error")
            return
        self._list.focus()

    def action_clear(self) -> None:
        """Show all seeds."""
        search = self.query_one("#search", Input)
        search.value = ""
        search.add_class("-away")
        self._list.focus()

    def action_order(self) -> None:
        """Sort by the next key, from the first row."""
        self._order = (self._order + 1) % len(ORDERS)
        self._reload(to_top=True)

    def sendable(self) -> Text | None:
        """The seed's task, with every instance."""
        line = self._list.current
        row = self.in_store(lambda db: seeds.get(db, line.id)) if line else None
        if row is None:
            return None
        instances = [labelled(input=one.input, output=one.output) for one in row.task.instances]
        return Text(f"seed {row.id}", "\n".join([labelled(instruction=row.task.instruction), *instances]))

    # Changing -----------------------------------------------------------------------------------------------------

    def action_switch(self) -> None:
        """Let the seed be drawn, or not."""
        line = self._list.current
        if line is None:
            return

        def act(db: Database) -> SeedRow:
            seeds.set_enabled(db, [line.id], not seeds.get(db, line.id).enabled)
            return seeds.get(db, line.id)

        row = self.in_store(act)
        if row is not None:
            self.cockpit.say(
                f"Seed {row.id} is {'on: it is drawn as a demonstration' if row.enabled else 'off: it is not drawn'}. "
                "Generations read the seeds when they start."
            )
            self._changed(row.id)

    def action_edit(self) -> None:
        """Edit in the user's editor; the text becomes a new revision."""
        line = self._list.current
        row = self.in_store(lambda db: seeds.get(db, line.id)) if line else None
        if row is None:
            return

        def store(db: Database, task: SeedTask) -> SeedRow:
            return seeds.revise(db, row.id, task)

        stored = self._edit(row.id, row.task, store)
        if stored is not None and stored.revision == row.revision:
            self.cockpit.say("Nothing was changed.")
        elif stored is not None:
            self.cockpit.say(f"Seed {row.id} has revision {stored.revision} now; earlier ones are kept.")
            self._changed(row.id)

    def action_add(self) -> None:
        """Write a new seed in the user's editor."""
        task_id = self.in_store(seeds.new_task_id)
        if task_id is None:
            return

        def store(db: Database, task: SeedTask) -> SeedRow:
            if not seeds.add(db, [task]):
                raise AlpacaError(f"the id {task_id!r} was given to another seed meanwhile")
            return next(row for row in reversed(seeds.all_seeds(db)) if row.task.task_id == task_id)

        stored = self._edit(None, replace(editing.BLANK, task_id=task_id), store)
        if stored is not None:
            self.cockpit.say(f"Seed {stored.id} ({stored.task.task_id}) was added and is on.")
            self.action_clear()
            self._changed(stored.id)

    def _edit(
        self, draft: int | None, before: SeedTask, store: Callable[[Database, SeedTask], SeedRow]
    ) -> SeedRow | None:
        """Let the person edit the task, then ``store`` it. What can't be stored is there again at the next try."""
        opened = self._drafts.get(draft) or editing.dump_seed(before)

        def in_editor(_: Database) -> str:
            # The editor blocks on purpose: awaiting inside suspend() would lock up.
            driver = self.app._driver
            with self.app.suspend() if driver is not None and driver.can_suspend else nullcontext():
                return editing.in_editor(f"seed-{draft or 'new'}", opened, instead="")

        edited = self.in_store(in_editor)
        if edited is None:
            return None
        if not edited.strip() or (draft not in self._drafts and edited == opened):
            self.cockpit.say("The text was forgotten." if self._drafts.pop(draft, None) else "Nothing was changed.")
            return None
        try:
            stored = store(self.cockpit.db, editing.parse_seed(edited, before))
        except (AlpacaError, sqlite3.OperationalError) as error:
            self._drafts[draft] = editing.with_problem(edited, str(error))
            key = "n" if draft is None else "e"
            self.cockpit.say(f"Not stored: {error}. Your text is kept; {key} opens it again.", "error")
            return None
        self._drafts.pop(draft, None)
        return stored

    def _changed(self, seed_id: int) -> None:
        self._reload(at=seed_id)
        self.cockpit.watcher.poke()
