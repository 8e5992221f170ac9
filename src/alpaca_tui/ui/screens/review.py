"""Review: one card, one key, one transaction, the next card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from textual import on

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.visible import printable
from alpaca_tui.store import browse, decisions, samples
from alpaca_tui.ui import editing, review_card
from alpaca_tui.ui.screens.reviewing import Reasons, Reviewing
from alpaca_tui.ui.sending import Text, labelled
from alpaca_tui.ui.widgets.ask import AskLine

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpaca_tui.store.decisions import Decision
    from alpaca_tui.ui.review_queue import Card

_DONE = {"accept": "accepted", "reject": "rejected", "rescue": "put into the queue", "edit": "edited"}


class ReviewScreen(Reviewing):
    """The keys that decide, on the card or on the selection."""

    NAME = "review"

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[str, str | None] | None = None
        """The latest decision and its reason, for another time."""
        self._wants_reason = False

    # Deciding -----------------------------------------------------------------------------------------------------

    def _decide(self, action: str, reason: str | None = None) -> None:
        self._ask_no_reason()
        card, queue = self._card, self._queue
        if queue is None or (card is None and not queue.marked):
            self.cockpit.say("There is no sample here to judge.")
            return
        if card is not None and not queue.marked and card.row.state == "filtered" and action != "rescue":
            self.cockpit.say(f"The rule {card.row.rejected_by} filtered this sample out. Press x to rescue it first.")
            return
        chosen = queue.chosen()

        def act(db: Database) -> list[Decision]:
            return decisions.rescue(db, chosen) if action == "rescue" else decisions.decide(db, action, chosen, reason)

        made = self.in_store(act)
        if made is None:
            return
        self._last = (action, reason)
        because = f": {printable(reason)}" if reason else ""
        self._said = f"{self.cockpit.glyphs.check} {_subject(chosen, made)} {_DONE[action]}{because}"
        if queue.marked:
            queue.marked = {}
            self._move(queue.reload)
            self.cockpit.watcher.poke()
        else:
            self._next()

    def action_accept(self) -> None:
        """Accept and go on."""
        self._decide("accept")

    def action_reject(self) -> None:
        """Reject and go on."""
        self._decide("reject")

    def action_rescue(self) -> None:
        """Put a filtered sample into the queue."""
        self._decide("rescue")

    def action_flip(self) -> None:
        """The other kind of task: its instances are made anew, by the running or the next generation."""
        self._ask_no_reason()
        card, queue = self._card, self._queue
        if card is None or queue is None:
            self.cockpit.say("There is no sample here to flip.")
            return
        if queue.marked:
            self.cockpit.say("One instruction is flipped at a time: esc clears the selection.")
            return
        row = card.row
        if self.in_store(lambda db: decisions.flip_classification(db, row.candidate_id)) is None:
            return
        kind = "no classification" if row.is_classification else "classification"
        stays = f"; it stays {row.state}" if row.state in ("accepted", "rejected") else ""
        self._said = f"{self.cockpit.glyphs.check} #{row.id} is {kind} now{stays}"
        self.cockpit.say(f"#{row.id} is {kind} now: new instances come from the running or the next generation.")
        self._next()

    def action_reject_because(self) -> None:
        """Ask for the reason; a number gives it."""
        reasons = self._reasons()
        if reasons:
            self._wants_reason = True
            self.query_one(Reasons).ask(reasons)

    def _reasons(self) -> tuple[str, ...]:
        try:
            return self.cockpit.config.review.reasons
        except AlpacaError as error:
            self.cockpit.say(str(error), "error")
            return ()

    def _ask_no_reason(self) -> None:
        self._wants_reason = False
        self.query_one(Reasons).add_class("-away")

    def takes_number(self, number: int) -> bool:
        """Reject for the reason of that number, where one is asked for."""
        if not self._wants_reason:
            return False
        reasons = self._reasons()
        if number <= len(reasons):
            self._decide("reject", reasons[number - 1])
        return True

    def action_repeat(self) -> None:
        """The latest decision once more, on this card."""
        if self._last is None:
            self.cockpit.say("Nothing has been decided yet that could be repeated.")
        elif self._last[0] in ("tag", "untag"):
            self._tag(self._last[1] or "", take=self._last[0] == "untag")
        else:
            self._decide(*self._last)

    # The selection and tags ---------------------------------------------------------------------------------------

    def action_mark(self) -> None:
        """Select the card, or not, and go on."""
        queue = self._queue
        if queue is not None and queue.current is not None:
            queue.mark()
            self._said = ""
            if queue.current in queue.marked:
                self._move(queue.forward)  # the last one stays in sight
            else:
                self._draw_head()

    def action_mark_all(self) -> None:
        """Select everything that the query finds."""
        queue = self._queue
        if queue is not None:
            count = self.in_store(lambda _: queue.mark_all()) or 0
            self.cockpit.say(f"{count:,} are selected: the next decision is on all of them; esc selects none.")
            self._draw_head()

    def action_clear(self) -> None:
        """No reason, then no selection, then what is pending."""
        queue = self._queue
        if self._wants_reason or queue is None:
            self._ask_no_reason()
        elif queue.marked:
            queue.marked = {}
            self._draw_head()
        else:
            self._take_query("status:pending")

    def action_tag(self) -> None:
        """Ask for a tag."""
        known = self.in_store(browse.tag_counts) or []
        hint = "a tag; -TAG takes it away" + (
            "; there are " + ", ".join(name for name, _ in known[:8]) if known else ""
        )
        self.query_one(AskLine).ask("tag", hint)

    def _tag(self, name: str, *, take: bool) -> None:
        queue = self._queue
        if queue is None or not queue.chosen():
            return
        chosen = queue.chosen()
        made = self.in_store(lambda db: decisions.tag(db, chosen, name, take=take))
        if made is None:
            return
        self._last = ("untag" if take else "tag", name)
        self._said = f"{self.cockpit.glyphs.check} {_subject(chosen, made)} {'no longer ' if take else ''}tagged {name}"
        queue.marked = {}
        self.cockpit.watcher.poke()
        self._read()

    @on(AskLine.Answered)
    def _take_answer(self, event: AskLine.Answered) -> None:
        if event.question == "query":
            self._take_query(event.value)
        elif event.value and event.question == "jump":
            self._take_number(event.value)
        elif event.value:
            self._tag(event.value.removeprefix("-"), take=event.value.startswith("-"))

    # The journal --------------------------------------------------------------------------------------------------

    def action_undo(self) -> None:
        """Take back the latest decision and show its sample."""
        self._go_through_journal(decisions.undo, "taken back", "There is nothing to undo.")

    def action_redo(self) -> None:
        """Make the undone decision again and show its sample."""
        self._go_through_journal(decisions.redo, "made again", "There is nothing to redo.")

    def _go_through_journal(self, step: Callable[[Database], list[Decision]], done: str, nothing: str) -> None:
        queue = self._queue
        changed = self.in_store(step)
        if changed is None or queue is None:
            return
        if not changed:
            self.cockpit.say(nothing)
            return
        last = changed[-1]
        what = last.subject if len(changed) == 1 else f"of {len(changed):,}"
        self._said = f"{last.action} {what} {done}"
        if last.sample_id is not None:
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

    def sendable(self) -> Text | None:
        """The card's texts, or those of the selection."""
        queue, card = self._queue, self._card
        if queue is not None and queue.marked:
            rows = self.in_store(lambda db: [samples.get(db, sample_id) for sample_id in queue.marked]) or []
            texts = [
                f"Sample {row.id}\n\n{labelled(instruction=row.instruction, input=row.input, output=row.output)}"
                for row in rows
                if row is not None
            ]
            return Text(f"selection of {len(texts):,} samples", "\n".join(texts))
        if card is None:
            return None
        instruction, given, output = card.texts
        return Text(f"sample {card.row.id}", labelled(instruction=instruction, input=given, output=output))

    def action_prompt(self) -> None:
        """The whole prompt and the raw answer."""
        from alpaca_tui.ui.screens.dialogs import Reading

        card, glyphs = self._card, self.cockpit.glyphs
        if card is None:
            return
        paragraphs = self.in_store(lambda db: review_card.prompt_paragraphs(card, db, glyphs))
        if paragraphs is not None:
            self.app.push_screen(Reading(f"How sample {card.row.id} was made", paragraphs))


def _subject(chosen: Sequence[int], made: Sequence[Decision]) -> str:
    """What was decided on, for the head."""
    return f"#{chosen[0]}" if len(chosen) == 1 else f"{len(made):,} of {len(chosen):,}"
