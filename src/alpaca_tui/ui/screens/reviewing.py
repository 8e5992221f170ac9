"""What the Review screen shows: the head, the card, why it is there, and how the reader moves through the queue."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content

from alpaca_tui.core.query import QueryError, parse
from alpaca_tui.store import finding, samples
from alpaca_tui.store.finding import ORDER_NAMES, ORDERS, Order
from alpaca_tui.ui import review_card
from alpaca_tui.ui.literal import literal_line
from alpaca_tui.ui.review_queue import PENDING, STATES, Card, ReviewQueue
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.session import Place
from alpaca_tui.ui.snapshot import Facts, Snapshot
from alpaca_tui.ui.widgets.ask import AskLine
from alpaca_tui.ui.widgets.lines import EMPTY, LinesView, TextView

WIDE_FROM = 110


class ReviewHead(LinesView):
    """Two lines over the card: the queue, the rules."""

    def __init__(self) -> None:
        super().__init__(id="review-head")
        self.queue_line, self.rule_line = EMPTY, EMPTY

    def show(self, queue_line: Content, rule_line: Content) -> None:
        """Show other lines."""
        self.queue_line, self.rule_line = queue_line, rule_line
        self.update_lines()

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """The two lines."""
        return [Content(" ") + self.queue_line, Content(" ") + self.rule_line]


class Reasons(LinesView):
    """The reasons for a rejection with their numbers, while one is asked for."""

    def __init__(self) -> None:
        super().__init__(id="reasons", classes="pane -away")
        self.border_title = "Reject: why? (esc: not at all)"
        self._reasons: tuple[str, ...] = ()

    def ask(self, reasons: tuple[str, ...]) -> None:
        """Show the reasons."""
        self._reasons = reasons
        self.styles.height = len(reasons) + 2
        self.remove_class("-away")
        self.update_lines()

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """One line a reason."""
        return [
            Content.assemble((f"{n} ", "$accent bold"), literal_line(reason))
            for n, reason in enumerate(self._reasons, 1)
        ]


class Reviewing(AppScreen):
    """The card with its verdicts, its nearest neighbour and its origin, and the way through the queue."""

    AUTO_FOCUS = "#card"

    def __init__(self) -> None:
        super().__init__()
        self._queue: ReviewQueue | None = None
        self._card: Card | None = None
        self._facts: Facts | None = None
        self._said = ""
        self._place = Place()

    def compose_body(self) -> ComposeResult:
        """Head, card, and where there is room the explanations beside it."""
        yield ReviewHead()
        yield AskLine()
        yield Reasons()
        with Horizontal(id="review-body"):
            yield TextView(id="card", classes="pane")
            yield TextView(id="why", classes="pane")

    def on_mount(self) -> None:
        """Name the two boxes and lay them out."""
        self.query_one("#card").border_title = "Sample"
        self.query_one("#why").border_title = "Why it is here"
        super().on_mount()
        self._lay_out()

    def on_resize(self) -> None:
        """One column or two."""
        self._lay_out()

    @property
    def _wide(self) -> bool:
        return self.size.width >= WIDE_FROM

    def _lay_out(self) -> None:
        self.query_one("#why").set_class(not self._wide, "-away")
        self._draw(keep_place=True)

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """New arrivals change the head, never the card; only an empty screen takes the first one."""
        if not snapshot.loaded:
            return
        if self._queue is None:
            self._begin()
            if self._queue is None:
                return
        elif self._facts is not snapshot.facts and self._card is None:
            self._move(self._queue.forward)
        if self._facts is not snapshot.facts:
            self._facts = snapshot.facts
            self._draw_head()

    def remember(self) -> dict[str, Any] | None:
        """The query, the order and the sample on the card."""
        queue = self._queue
        return None if queue is None else {"query": str(queue.query), "order": queue.order, "sample": queue.current}

    def recall(self, place: Place) -> None:
        """Begin there once the project is read."""
        self._place = place

    def _begin(self) -> None:
        """Open the queue where it was left, else at the first that is pending."""
        place, query = self._place, PENDING
        if place:
            with suppress(QueryError):
                query = parse(place.text("query"))
        order = cast("Order", place.one_of("order", ORDERS) or "oldest")
        queue = self._queue = self.in_store(lambda db: ReviewQueue(db, query, order))
        if queue is not None:
            self._move(lambda: queue.resume(place.whole("sample") or 0))

    def show_sample(self, sample_id: int) -> None:
        """Show that sample, whatever its state."""
        queue = self._queue
        if queue is not None:
            self._move(lambda: queue.jump(sample_id))

    # Drawing ------------------------------------------------------------------------------------------------------

    def _move(self, step: Callable[[], object]) -> bool:
        """Take a step through the queue and show the card; False where the step found nothing."""
        moved = self.in_store(lambda _: step())
        self._read()
        return moved is not False

    def _read(self) -> None:
        """Read the card anew and draw it from its beginning."""
        queue = self._queue
        if queue is None:
            return
        self._card = self.in_store(lambda _: queue.card())
        self._draw()

    def _draw(self, *, keep_place: bool = False) -> None:
        card, why = self.query_one("#card", TextView), self.query_one("#why", TextView)
        self._draw_head()
        if self._card is None:
            card.show(self._empty())
            why.show([])
            return
        glyphs = self.cockpit.glyphs
        explained = review_card.explained(self._card, glyphs)
        texts = review_card.texts(self._card, glyphs)
        if self._wide:
            card.show(texts, keep_place=keep_place)
            why.show(explained, keep_place=keep_place)
        else:
            card.show([*texts, EMPTY, *explained], keep_place=keep_place)
            why.show([])

    def _empty(self) -> list[Content]:
        queue, glyphs = self._queue, self.cockpit.glyphs
        if queue is None:
            return [Content.styled(f"Reading the project{glyphs.ellipsis}", "$muted")]
        pending, accepted = self.snapshot.facts.funnel.pending, self.snapshot.facts.funnel.accepted
        if queue.query != PENDING:
            count = self.in_store(lambda db: finding.count_samples(db, queue.query)) or 0
            if count:
                said = f"That was the last one. {count} that this query finds were passed over."
                return [Content(said), self._hint("F", "begins again with the first")]
            none = Content.assemble("No sample is found by ", literal_line(str(queue.query) or "all", "bold"), ".")
            return [none, self._hint("/", "asks something else"), self._hint("esc", "shows what is pending")]
        if pending:
            return [
                Content(f"That was the last one. {pending} skipped are still pending."),
                self._hint("F", "begins again with the first"),
            ]
        if accepted:
            return [
                Content("Everything is judged."),
                self._hint("5", "to freeze the accepted samples and train on them"),
                self._hint("1", "to generate more"),
            ]
        return [Content("Nothing to review yet."), self._hint("1", "then n starts a generation")]

    def _hint(self, key: str, what: str) -> Content:
        return Content.assemble((key, "$accent bold"), (f" {what}", "$muted"))

    def _draw_head(self) -> None:
        queue = self._queue
        if queue is None:
            return
        glyphs, dot = self.cockpit.glyphs, f"  {self.cockpit.glyphs.dot}  "
        shown = queue.state if queue.query == PENDING.replaced("status", queue.state) else str(queue.query) or "all"
        line = Content.assemble(
            ("showing ", "$muted"), literal_line(shown, "bold underline").truncate(40, ellipsis=True)
        )
        parts: list[tuple[str, str]] = []
        new = self.in_store(lambda _: queue.arrived()) or 0
        if new:
            parts += [("  ", ""), (f"+{new}", "$accent bold reverse")]
        if queue.order != "oldest":
            parts += [(dot, "$faint"), (ORDER_NAMES[queue.order], "$muted")]
        if queue.marked:
            parts += [(dot, "$faint"), (f"{len(queue.marked):,} selected", "$warning bold reverse")]
        if self._card is not None:
            row = self._card.row
            parts += [(dot, "$faint"), (f"#{row.id}", "bold")]
            if row.id in queue.marked:
                parts.append((f" {glyphs.check}", "$warning bold"))
            if row.state != queue.state:
                parts.append((f" now {row.state}" if queue.state else f" {row.state}", "$warning bold"))
            parts += [(dot, "$faint"), (f"{queue.left():,} after it", "$muted")]
        if self._said:
            parts += [(dot, "$faint"), (self._said, "$success")]
        pace = self.snapshot.facts.decisions_per_hour
        if pace:
            parts += [(dot, "$faint"), (f"{pace} decisions/h", "$muted")]
        rule_line = review_card.verdict_summary(self._card, glyphs) if self._card else EMPTY
        self.query_one(ReviewHead).show(line + Content.assemble(*parts), rule_line)

    # Moving -------------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """The next card, or the end of the queue."""
        queue = self._queue
        if queue is None:
            return
        if not self.in_store(lambda _: queue.forward()):
            queue.leave()
        self.in_store(lambda _: queue.acknowledge())
        self.cockpit.watcher.poke()
        self._read()

    def action_skip(self) -> None:
        """Go on without a decision."""
        self._said = ""
        self._next()

    def action_back(self) -> None:
        """The card before."""
        queue = self._queue
        if queue is None:
            return
        self._said = ""
        if not self._move(queue.back):
            self.cockpit.say("This is the first one.")

    def action_first(self) -> None:
        """Begin again."""
        if self._queue is not None:
            self._move(self._queue.restart)

    def action_filter(self) -> None:
        """Another state."""
        queue = self._queue
        if queue is not None:
            self._said = ""
            here = STATES.index(queue.state) if queue.state in STATES else -1
            self._move(lambda: queue.switch(STATES[(here + 1) % len(STATES)]))

    def action_sort(self) -> None:
        """Another order, from its first."""
        queue = self._queue
        if queue is not None:
            self._said = ""
            self._move(queue.next_order)

    def action_search(self) -> None:
        """Ask for a query."""
        if self._queue is not None:
            hint = "status:pending rouge>0.6 len<40 -tag:math words; enter alone: every sample"
            self.query_one(AskLine).ask("query", hint, str(self._queue.query))

    def action_jump(self) -> None:
        """Ask for a number."""
        self.query_one(AskLine).ask("jump", "the sample's number, then enter")

    def _take_query(self, text: str) -> None:
        queue = self._queue
        if queue is None:
            return
        try:
            query = parse(text)
        except QueryError as error:
            self.cockpit.say(str(error), "error")
            self.query_one(AskLine).ask("query", "", text)
            return
        self._said = ""
        self._move(lambda: queue.ask(query))

    def _take_number(self, text: str) -> None:
        number = text.lstrip("#")
        row = (
            self.in_store(lambda db: samples.get(db, int(number))) if number.isdecimal() and len(number) < 19 else None
        )
        if row is None:
            self.cockpit.say(f"There is no sample {literal_line(text).plain[:20]}.", "error")
            return
        self._said = ""
        self.show_sample(row.id)
