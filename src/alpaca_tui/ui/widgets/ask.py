"""A line to type into, which is there only while something is asked."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input


class AskLine(Input):
    """Hidden until ``ask``; enter answers, escape leaves it, and either gives the focus back."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", show=False)]

    class Answered(Message):
        """The person has typed an answer to ``question``."""

        def __init__(self, question: str, value: str) -> None:
            super().__init__()
            self.question, self.value = question, value

    def __init__(self, id: str = "ask") -> None:
        super().__init__(id=id, classes="-away", select_on_focus=False)
        self.cursor_blink = False
        self._question = ""
        self._back: Widget | None = None

    def ask(self, question: str, hint: str, value: str = "") -> None:
        """Ask ``question``; ``hint`` stands there while the line is empty."""
        self._question, self._back = question, self.screen.focused
        self.placeholder = hint
        # What is typed on goes behind a blank: another word, not the end of the last one.
        self.value = f"{value} " if value else ""
        self.remove_class("-away")
        self.focus()
        self.cursor_position = len(self.value)

    def action_leave(self) -> None:
        """Leave without an answer."""
        self._close()

    def _close(self) -> None:
        self.add_class("-away")
        if self._back is not None and self._back.is_attached:
            self._back.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Answer."""
        event.stop()
        question, value = self._question, self.value.strip()
        self._close()
        self.post_message(self.Answered(question, value))
