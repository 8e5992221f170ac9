"""Blind A/B: two models' answers side by side without their names; one key, one judgement, the next task."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content

from alpaca_tui.core.preference import Verdict
from alpaca_tui.store.comparisons import Sitting
from alpaca_tui.ui import evaluation_view
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.sending import Text, labelled
from alpaca_tui.ui.widgets.lines import EMPTY, LinesView, TextView

SIDE_BY_SIDE_FROM = 60
_SAID: dict[Verdict, str] = {
    "left": "left is better", "right": "right is better", "tie": "a tie", "both_bad": "both bad",
}  # fmt: skip


class BlindHead(LinesView):
    """How far the judging is; never who leads."""

    def __init__(self) -> None:
        super().__init__(id="blind-head")
        self._line = EMPTY

    def show(self, line: Content) -> None:
        """Show another line."""
        self._line = line
        self.update_lines()

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """One line."""
        return [(Content(" ") + self._line).truncate(width, ellipsis=True)]


class BlindScreen(AppScreen):
    """A task above, two answers below. What is judged is stored at once, so leaving at any moment loses nothing."""

    NAME = "blind"
    TAB: ClassVar[str] = "evaluate"
    AUTO_FOCUS = "#blind-task"

    def __init__(self, sitting: Sitting) -> None:
        super().__init__()
        self._sitting = sitting
        self._said = ""
        self._reference = False

    def compose_body(self) -> ComposeResult:
        """Head, task, two answers."""
        yield BlindHead()
        yield TextView(id="blind-task", classes="pane")
        with Container(id="blind-answers"):
            for side in ("left", "right"):
                yield TextView(id=f"blind-{side}", classes="pane")

    def on_mount(self) -> None:
        """Name the boxes and show the first task."""
        self.query_one("#blind-left").border_title = "Left"
        self.query_one("#blind-right").border_title = "Right"
        super().on_mount()
        self._draw()

    def on_resize(self) -> None:
        """Side by side, but for the narrowest terminals."""
        self.query_one("#blind-answers").set_class(self.size.width < SIDE_BY_SIDE_FROM, "-stacked")

    # Drawing ------------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        standing = self.in_store(lambda _: self._sitting.comparison.standing())
        if standing is None:
            return
        judged = standing.tally.judged
        parts = [(f"{judged} judged, {standing.left} left", "bold")]
        if self._said:
            parts.append((f"  {self.cockpit.glyphs.check} {self._said}", "$success"))
        self.query_one(BlindHead).show(Content.assemble(*parts))
        task, left, right = (self.query_one(f"#blind-{name}", TextView) for name in ("task", "left", "right"))
        blind = self._sitting.current
        self.query_one("#blind-answers").set_class(blind is None, "-away")
        if blind is None:
            task.border_title = "Every task is judged" if judged else "Nothing to judge"
            task.show(self._ended())
            left.show([])
            right.show([])
            return
        task.border_title = f"Task {judged + 1} of {judged + standing.left}"
        task.show(evaluation_view.task_paragraphs(blind.task, reference=self._reference))
        left.show([evaluation_view.written(blind.left, blind.right)])
        right.show([evaluation_view.written(blind.right, blind.left)])

    def _ended(self) -> list[Content]:
        """The result, once nothing is left that knowing it could sway."""
        revealed = self.in_store(lambda _: self._sitting.comparison.reveal())
        lines = evaluation_view.standing_paragraphs(revealed) if revealed else []
        return [*lines, EMPTY, Content.assemble(("esc", "$accent bold"), (" goes back to the figures", "$muted"))]

    # Judging ------------------------------------------------------------------------------------------------------

    def _judge(self, verdict: Verdict) -> None:
        if self._sitting.current is None:
            self.cockpit.say("Every task is judged. Press u to take the last one back.")
            return
        judged = self.in_store(lambda _: self._sitting.judge(verdict))
        self._said = _SAID[verdict] if judged is not None else ""
        self._after()

    def _after(self) -> None:
        self._reference = False
        self.cockpit.watcher.poke()
        self._draw()

    def action_left_better(self) -> None:
        """The left answer is better."""
        self._judge("left")

    def action_right_better(self) -> None:
        """The right answer is better."""
        self._judge("right")

    def action_tie(self) -> None:
        """Neither is better."""
        self._judge("tie")

    def action_both_bad(self) -> None:
        """Neither is of use."""
        self._judge("both_bad")

    def action_skip(self) -> None:
        """Decide later."""
        self._sitting.skip()
        self._said = ""
        self._after()

    def action_undo(self) -> None:
        """Take back the latest judgement and show its task, blind as before."""
        self._go(self._sitting.undo, "taken back", "There is nothing to undo.")

    def action_redo(self) -> None:
        """Make the undone judgement again."""
        self._go(self._sitting.redo, "made again", "There is nothing to redo.")

    def _go(self, step: Callable[[], bool], done: str, nothing: str) -> None:
        changed = self.in_store(lambda _: step())
        if changed:
            self._said = done
            self._after()
        elif changed is not None:
            self.cockpit.say(nothing)

    # Reading ------------------------------------------------------------------------------------------------------

    def sendable(self) -> Text | None:
        """The task and the two answers, still without names."""
        blind = self._sitting.current
        if blind is None:
            return None
        task = labelled(instruction=blind.task.instruction, input=blind.task.input)
        return Text("blind task", f"{task}\n{labelled(left=blind.left, right=blind.right)}")

    def action_reference(self) -> None:
        """Show or hide the data set's own answer."""
        self._reference = not self._reference
        self._draw()

    def action_result(self) -> None:
        """Show the result, after asking where tasks are left that knowing it could sway."""
        from alpaca_tui.ui.screens.dialogs import Confirm

        comparison = self._sitting.comparison
        standing = self.in_store(lambda _: comparison.standing())
        if standing is None:
            return
        if not standing.tally.judged:
            self.cockpit.say("Nothing is judged yet; the result is shown after the first judgement.")
        elif not standing.left or comparison.revealed:
            self._reveal(True)
        else:
            text = (
                f"Look at the result with {standing.left} still to be judged? What you judge after is marked as such."
            )
            self.app.push_screen(Confirm(text, "Show it"), self._reveal)

    def _reveal(self, confirmed: bool | None) -> None:
        from alpaca_tui.ui.screens.dialogs import Reading

        standing = self.in_store(lambda _: self._sitting.comparison.reveal()) if confirmed else None
        if standing is not None:
            self.app.push_screen(Reading("Blind A/B so far", evaluation_view.standing_paragraphs(standing)))

    def action_leave(self) -> None:
        """Back to the figures; what is judged stays."""
        self.dismiss(None)
