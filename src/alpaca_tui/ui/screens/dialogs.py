"""Dialogs: a form, a yes or no, a long text, the inline editor, the help."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, Label, TextArea

from alpaca_tui.core.text import clean_text
from alpaca_tui.ui import bindings
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import literal, literal_line
from alpaca_tui.ui.sending import Text
from alpaca_tui.ui.widgets.lines import EMPTY, TextView

Answer = TypeVar("Answer")


class Dialog(ModalScreen[Answer]):
    """A box in the middle; escape closes it without an answer."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "Close", show=False)]

    def action_close(self) -> None:
        """Close without an answer."""
        self.dismiss(None)


class Confirm(Dialog[bool]):
    """A question with yes and no; enter alone does not say yes to what stops something."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "Yes", show=False),
        Binding("n,q", "close", "No", show=False),
    ]

    def __init__(self, question: str, yes: str) -> None:
        super().__init__()
        self._question, self._yes = question, yes

    def compose(self) -> ComposeResult:
        """The question and the two keys."""
        with Vertical(classes="dialog") as box:
            box.border_title = "Sure?"
            yield Label(literal(self._question), classes="question", markup=False)
            yield Label(key_line(("y", self._yes), ("n", "Leave it")), classes="keys", markup=False)

    def action_yes(self) -> None:
        """Answer yes."""
        self.dismiss(True)


def key_line(*keys: tuple[str, str]) -> Content:
    """Keys and what they do, for the last line of a dialog."""
    return Content("   ").join(Content.assemble((key, "$accent bold"), f" {label}") for key, label in keys)


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a form: free text, or one of ``choices``."""

    name: str
    label: str
    value: str
    choices: tuple[str, ...] = ()
    note: str = ""
    """What the value means, shown while the field has the focus."""


class Choice(Widget, can_focus=True):
    """One of several values, changed with left and right or space."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "step(-1)", "Before", show=False),
        Binding("right,l,space", "step(1)", "Next", show=False),
        Binding("enter", "screen.submit", "Start", show=False),
    ]

    def __init__(self, choices: Sequence[str], value: str, *, id: str) -> None:
        super().__init__(id=id, markup=False)
        self._choices = list(choices)
        self.value = value if value in self._choices else self._choices[0]

    def render(self) -> Content:
        """The value between two arrows."""
        place = f"{self._choices.index(self.value) + 1}/{len(self._choices)}"
        return Content.assemble(
            ("< ", "$accent"), literal_line(self.value), (" >", "$accent"), (f"  {place}", "$faint")
        )

    def action_step(self, by: int) -> None:
        """Take the value before or after."""
        self.value = self._choices[(self._choices.index(self.value) + by) % len(self._choices)]
        self.refresh()


class Form(Dialog[None]):
    """Fields with sensible values in them; enter sends, and an error stays beside the values that caused it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", "Next field", show=False),
        Binding("up", "app.focus_previous", "Field before", show=False),
    ]

    def __init__(
        self,
        title: str,
        intro: str,
        fields: Sequence[Field],
        submit: Callable[[Mapping[str, str]], str | None],
        *,
        verb: str = "Start",
    ) -> None:
        """``submit`` gets the values by name; it returns what is wrong with them, or None to close the form."""
        super().__init__()
        self._title, self._intro, self._fields, self._submit, self._verb = title, intro, fields, submit, verb

    def compose(self) -> ComposeResult:
        """A line a field."""
        with Vertical(classes="dialog") as box:
            box.border_title = self._title
            yield Label(literal(self._intro), classes="intro", markup=False)
            for field in self._fields:
                with Horizontal(classes="field"):
                    yield Label(field.label, classes="label", markup=False)
                    if field.choices:
                        yield Choice(field.choices, field.value, id=f"field-{field.name}")
                    else:
                        entry = Input(clean_text(field.value), id=f"field-{field.name}", select_on_focus=True)
                        entry.cursor_blink = False
                        yield entry
            yield Label("", id="note", classes="note", markup=False)
            yield Label("", id="error", classes="error", markup=False)
            yield Label(
                key_line(("enter", self._verb), ("tab", "Next field"), ("esc", "Cancel")), classes="keys", markup=False
            )

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Explain the field."""
        name = (event.widget.id or "").removeprefix("field-")
        note = next((f.note for f in self._fields if f.name == name), "")
        self.query_one("#note", Label).update(literal(note))

    @property
    def values(self) -> dict[str, str]:
        """What stands in the fields."""
        out: dict[str, str] = {}
        for field in self._fields:
            widget = self.query_one(f"#field-{field.name}")
            assert isinstance(widget, Choice | Input)
            out[field.name] = widget.value.strip()
        return out

    @on(Input.Submitted)
    def action_submit(self) -> None:
        """Send the values."""
        wrong = self._submit(self.values)
        if wrong is None:
            self.dismiss(None)
        else:
            self.query_one("#error", Label).update(literal(wrong))


class Reading(Dialog[None]):
    """A long text to read."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,p,m,enter,question_mark", "close", "Close", show=False),
        Binding("Y", "app.send_text", "Send", show=False, id="send"),
    ]

    def __init__(self, title: str, paragraphs: Sequence[Content] | Callable[[int], Sequence[Content]]) -> None:
        """``paragraphs`` may be a function of the width in cells, for what is laid out in columns."""
        super().__init__()
        self._title = title
        self._written = paragraphs if callable(paragraphs) else lambda _: paragraphs
        self._paragraphs: Sequence[Content] = ()

    def compose(self) -> ComposeResult:
        """The text in a large box."""
        with Vertical(classes="dialog -large") as box:
            box.border_title = self._title
            box.border_subtitle = "up/down scroll, Y sends, esc closes"
            yield TextView(id="reading")

    def sendable(self) -> Text:
        """All of it."""
        return Text(self._title.lower(), "\n".join(paragraph.plain for paragraph in self._paragraphs) + "\n")

    def on_mount(self) -> None:
        """Show the text."""
        view = self.query_one(TextView)
        view.focus()
        view.call_after_refresh(self._show)

    def on_resize(self) -> None:
        """The columns are as wide as there is room."""
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        view = self.query_one(TextView)
        width = view.scrollable_content_region.width
        if width > 0:
            self._paragraphs = self._written(width)
            view.show(self._paragraphs, keep_place=True)


_KEY_CELLS = 18


def _row(keys: str, help: str, width: int) -> list[Content]:
    """Keys and what they do; a long description goes on under itself."""
    indent = " " * (_KEY_CELLS + 2)
    wrapped = Content.styled(help, "$muted").wrap(max(16, width - len(indent)))
    first = Content.assemble((f"  {keys:<{_KEY_CELLS}}", "bold"), wrapped[0])
    return [first, *(Content(indent) + line for line in wrapped[1:])]


def help_text(screen: str, keymap: Mapping[str, str], width: int, *, ascii: bool) -> list[Content]:
    """Every key of the screen, of lists, and of the whole cockpit, from the table, in lines of ``width`` cells."""
    lines: list[Content] = []
    group = ""
    for command in bindings.commands(screen):
        if command.group != group:
            group = command.group
            lines += (
                [EMPTY, Content.styled(group, "$accent bold")] if lines else [Content.styled(group, "$accent bold")]
            )
        keys = bindings.shown_keys(command, keymap, ascii=ascii)
        lines += _row(keys, command.help, width)
    lines += [EMPTY, Content.styled("Lists and texts", "$accent bold")]
    for names, _, help in bindings.LIST_KEYS:
        keys = " ".join(bindings.key_name(k, ascii=ascii) for k in names.split(","))
        lines += _row(keys, help, width)
    note = (
        "Keys can be changed in the project's config.toml, section [ui.keys], by the names that the palette (:) shows."
    )
    return [*lines, EMPTY, Content.styled(note, "$muted")]


class InlineEditor(Dialog["tuple[str, str, str]"]):
    """Instruction, input and output in three editors."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+o", "save", "Save", show=False, priority=True),
    ]

    def __init__(self, title: str, texts: tuple[str, str, str]) -> None:
        super().__init__()
        self._title, self._texts = title, texts

    def compose(self) -> ComposeResult:
        """One editor a field."""
        with Vertical(classes="dialog -large") as box:
            box.border_title = self._title
            for name, text in zip(("instruction", "input", "output"), self._texts, strict=True):
                yield Label(name, classes="part", markup=False)
                area = TextArea(clean_text(text), id=f"edit-{name}", tab_behavior="focus", show_line_numbers=False)
                area.cursor_blink = False
                yield area
            keys = key_line(("ctrl+o", "Save"), ("tab", "Next part"), ("esc", "Cancel"))
            yield Label(keys, classes="keys", markup=False)

    def action_save(self) -> None:
        """Close with the three texts."""
        one, two, three = (self.query_one(f"#edit-{n}", TextArea).text for n in ("instruction", "input", "output"))
        self.dismiss((one, two, three))


def text_of(title: str, text: str, glyphs: Glyphs) -> list[Content]:
    """A headed literal text, for reading."""
    return [Content.styled(f"{title} {glyphs.rule * 8}", "$accent bold"), literal(text), EMPTY]
