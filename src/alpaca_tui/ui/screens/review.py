"""Review: one card, one key, one transaction, the next card."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content

from alpaca_tui.store import decisions
from alpaca_tui.ui import editing, review_card
from alpaca_tui.ui.review_queue import STATES, Card, ReviewQueue
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.snapshot import Facts, Snapshot
from alpaca_tui.ui.widgets.lines import EMPTY, LinesView, TextView

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpaca_tui.store.decisions import Decision

WIDE_FROM = 110
_DONE = {"accept": "accepted", "reject": "rejected", "rescue": "put into the queue", "edit": "edited"}


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


class ReviewScreen(AppScreen):
    """The card with its verdicts, its nearest neighbour and its origin."""

    NAME = "review"
    AUTO_FOCUS = "#card"

    def __init__(self) -> None:
        super().__init__()
        self._queue: ReviewQueue | None = None
        self._card: Card | None = None
        self._facts: Facts | None = None
        self._said = ""

    def compose_body(self) -> ComposeResult:
        """Head, card, and where there is room the explanations beside it."""
        yield ReviewHead()
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
            self._queue = self.in_store(ReviewQueue)
            if self._queue is None:
                return
            self._queue.first()
            self._read()
        elif self._facts is not snapshot.facts and self._card is None:
            self.in_store(lambda _: self._queue.forward() if self._queue else False)
            self._read()
        if self._facts is not snapshot.facts:
            self._facts = snapshot.facts
            self._draw_head()

    def show_sample(self, sample_id: int) -> None:
        """Show that sample, whatever its state."""
        queue = self._queue
        if queue is not None:
            self.in_store(lambda _: queue.jump(sample_id))
            self._read()

    # Drawing ------------------------------------------------------------------------------------------------------

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
        counts = self._counts()
        if queue.state != "pending":
            return [Content(f"No sample is {queue.state}."), self._hint("f", "shows another state")]
        if counts["pending"]:
            return [
                Content(f"That was the last one. {counts['pending']} skipped are still pending."),
                self._hint("t", "begins again with the first"),
            ]
        if counts["accepted"]:
            return [
                Content("Everything is judged."),
                self._hint("5", "to freeze the accepted samples and train on them"),
                self._hint("1", "to generate more"),
            ]
        return [Content("Nothing to review yet."), self._hint("1", "then n starts a generation")]

    def _hint(self, key: str, what: str) -> Content:
        return Content.assemble((key, "$accent bold"), (f" {what}", "$muted"))

    def _counts(self) -> dict[str, int]:
        f = self.snapshot.facts.funnel
        return {
            "pending": f.pending,
            "accepted": f.accepted,
            "rejected": f.declined,
            "filtered": sum(f.filtered.values()),
        }

    def _draw_head(self) -> None:
        queue = self._queue
        if queue is None:
            return
        glyphs, dot = self.cockpit.glyphs, f"  {self.cockpit.glyphs.dot}  "
        parts: list[tuple[str, str]] = [("showing ", "$muted"), (queue.state, "bold underline")]
        new = self.in_store(lambda _: queue.arrived()) or 0
        if new:
            parts += [("  ", ""), (f"+{new}", "$accent bold reverse")]
        if self._card is not None:
            row = self._card.row
            parts += [(dot, "$faint"), (f"#{row.id}", "bold")]
            if row.state != queue.state:
                parts.append((f" now {row.state}", "$warning bold"))
            left = self.in_store(lambda _: queue.left()) or 0
            parts += [(dot, "$faint"), (f"{left} after it", "$muted")]
        if self._said:
            parts += [(dot, "$faint"), (self._said, "$success")]
        pace = self.snapshot.facts.decisions_per_hour
        if pace:
            parts += [(dot, "$faint"), (f"{pace} decisions/h", "$muted")]
        rule_line = review_card.verdict_summary(self._card, glyphs) if self._card else EMPTY
        self.query_one(ReviewHead).show(Content.assemble(*parts), rule_line)

    # Deciding -----------------------------------------------------------------------------------------------------

    def _decide(self, action: str) -> None:
        card, queue = self._card, self._queue
        if card is None or queue is None:
            self.cockpit.say("There is no sample here to judge.")
            return
        if card.row.state == "filtered" and action != "rescue":
            self.cockpit.say(f"The rule {card.row.rejected_by} filtered this sample out. Press x to rescue it first.")
            return

        def act(db: Database) -> list[Decision]:
            return decisions.decide(db, action, [card.row.id])

        made = self.in_store(act)
        if made is None:
            return
        self._said = f"{self.cockpit.glyphs.check} #{card.row.id} {_DONE[action]}"
        self._next()

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

    def action_accept(self) -> None:
        """Accept and go on."""
        self._decide("accept")

    def action_reject(self) -> None:
        """Reject and go on."""
        self._decide("reject")

    def action_rescue(self) -> None:
        """Put a filtered sample into the queue."""
        self._decide("rescue")

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
        if self.in_store(lambda _: queue.back()):
            self._read()
        else:
            self.cockpit.say("This is the first one.")

    def action_first(self) -> None:
        """Begin again."""
        queue = self._queue
        if queue is not None:
            self.in_store(lambda _: queue.restart())
            self._read()

    def action_filter(self) -> None:
        """Another state."""
        queue = self._queue
        if queue is not None:
            self._said = ""
            following = STATES[(STATES.index(queue.state) + 1) % len(STATES)]
            self.in_store(lambda _: queue.switch(following))
            self._read()

    def action_undo(self) -> None:
        """Take back the latest decision and show its sample."""
        self._go_through_journal(decisions.undo, "taken back", "There is nothing to undo.")

    def action_redo(self) -> None:
        """Make the undone decision again and show its sample."""
        self._go_through_journal(decisions.redo, "made again", "There is nothing to redo.")

    def _go_through_journal(self, step: object, done: str, nothing: str) -> None:
        assert callable(step)
        queue = self._queue
        changed: list[Decision] | None = self.in_store(step)
        if changed is None or queue is None:
            return
        if not changed:
            self.cockpit.say(nothing)
            return
        last = changed[-1]
        self._said = f"{last.action} #{last.sample_id} {done}"
        queue.jump(last.sample_id)
        self.cockpit.watcher.poke()
        self._read()

    # Editing and reading ------------------------------------------------------------------------------------------

    def action_edit(self) -> None:
        """Edit in the user's editor."""
        card = self._card
        if card is None:
            return

        def act(_: Database) -> tuple[str, str, str]:
            # The editor blocks on purpose: awaiting inside suspend() would lock up.
            driver = self.app._driver
            with self.app.suspend() if driver is not None and driver.can_suspend else nullcontext():
                return editing.edit(card.row.id, card.texts)

        self._store_edit(card, self.in_store(act))

    def action_edit_inline(self) -> None:
        """Edit in the cockpit."""
        from alpaca_tui.ui.screens.dialogs import InlineEditor

        card = self._card
        if card is None:
            return
        editor = InlineEditor(f"Sample {card.row.id}", card.texts)
        self.app.push_screen(editor, lambda texts: self._store_edit(card, texts))

    def _store_edit(self, card: Card, texts: tuple[str, str, str] | None) -> None:
        if texts is None:
            return
        cleaned = editing.cleaned(texts)
        if cleaned == card.texts:
            self.cockpit.say("Nothing was changed.")
            return
        if self.in_store(lambda db: decisions.edit(db, card.row.id, *cleaned)) is not None:
            self._said = f"{self.cockpit.glyphs.check} #{card.row.id} edited"
            self.cockpit.watcher.poke()
            self._read()

    def action_prompt(self) -> None:
        """The whole prompt and the raw answer."""
        from alpaca_tui.ui.screens.dialogs import Reading

        card, glyphs = self._card, self.cockpit.glyphs
        if card is None:
            return
        paragraphs = self.in_store(lambda db: review_card.prompt_paragraphs(card, db, glyphs))
        if paragraphs is not None:
            self.app.push_screen(Reading(f"How sample {card.row.id} was made", paragraphs))
