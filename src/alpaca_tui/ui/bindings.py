"""The one table of keys: it feeds the bindings, the footer, the help, the palette and rebinding in config.toml.

Not used, because something else owns them: ctrl+a, ctrl+b (tmux, screen), ctrl+p then ctrl+q (Docker), ctrl+q and
ctrl+s (flow control), ctrl+z, ctrl+\\ (signals), ctrl+i, ctrl+m and ctrl+h (Tab, Enter, Backspace), alt and F-keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from textual.binding import Binding

SCREENS = ("cockpit", "review", "seeds", "filters", "train", "evaluate", "jobs")
"""The screens in the order of their number keys."""

TITLES = {name: name.capitalize() for name in SCREENS}


@dataclass(frozen=True, slots=True)
class Command:
    """One thing that a key does. ``screens`` is empty for what works everywhere."""

    id: str
    """What ``[ui.keys]`` in config.toml and the palette call it, for example ``review.accept``."""
    keys: str
    """Textual's key names, by comma; the first one is shown."""
    action: str
    label: str
    """One or two words, for the footer."""
    help: str
    """One clause, for the help and the palette."""
    group: str
    screens: tuple[str, ...] = ()
    footer: bool = True
    writes: bool = False
    """Changes the project, so it is refused in read-only mode."""


_NAMED = {
    "cursor(-1)": "cursor_left",
    "cursor(1)": "cursor_right",
    "pan(-1)": "pan_left",
    "pan(1)": "pan_right",
}
"""What config.toml calls an action that takes a parameter."""


def _on(screen: str, rows: Iterable[tuple[str, str, str, str, str]], group: str) -> list[Command]:
    """Rows of (keys, action, label, help, flags); flags: w writes, - not in the footer."""
    return [
        Command(
            f"{screen}.{_NAMED.get(action, action)}",
            keys,
            action,
            label,
            help,
            group,
            (screen,),
            footer="-" not in flags,
            writes="w" in flags,
        )
        for keys, action, label, help, flags in rows
    ]


def _go(number: int, name: str) -> Command:
    title = TITLES[name]
    return Command(f"go.{name}", str(number), f"app.go('{name}')", title, f"Go to {title}", "Screens", footer=False)


_MOVE = "Moving"

COMMANDS: tuple[Command, ...] = (
    *_on(
        "cockpit",
        [
            ("enter", "open_pane", "Open", "Open the screen of the focused pane", ""),
            ("z", "zoom", "Zoom", "Show the focused pane alone, or all again", ""),
            ("n,g", "generate", "Generate", "Start a generation", "w"),
            ("S", "stop", "Stop", "Ask the newest active job to stop; R goes on where it was", "w"),
            ("R", "resume", "Resume", "Go on with the newest job that did not reach its end", "w-"),
            ("tab,right,l,down,j", "next_pane", "", "Go to the next pane", "-"),
            ("shift+tab,left,h,up,k", "previous_pane", "", "Go to the pane before", "-"),
        ],
        "Cockpit",
    ),
    *_on(
        "review",
        [
            ("a", "accept", "Accept", "Accept the sample and show the next", "w"),
            ("r", "reject", "Reject", "Reject the sample and show the next", "w"),
            ("s,right", "skip", "Skip", "Show the next sample, decide later", ""),
            ("b,left", "back", "Back", "Show the sample before", ""),
            ("u", "undo", "Undo", "Take back the latest decision, without limit", "w"),
            ("U", "redo", "Redo", "Make the undone decision again", "w-"),
            ("e", "edit", "Edit", "Edit in $EDITOR; the original is kept", "w"),
            ("i", "edit_inline", "Inline", "Edit here; the original is kept", "w-"),
            ("x", "rescue", "Rescue", "Put a filtered sample into the queue", "w-"),
            ("c", "flip", "Flip", "Say that it is classification after all, or is none; new instances are made", "w-"),
            ("p", "prompt", "Prompt", "Show the whole prompt of the model call", ""),
            ("f", "filter", "Filter", "Show pending, accepted, rejected or filtered samples", ""),
            ("R", "reject_because", "Why", "Reject for a reason: then its number", "w"),
            ("full_stop", "repeat", "Again", "Make the latest decision on this one too", "w"),
            ("slash", "search", "Search", "Show the samples that a query finds", ""),
            ("v", "mark", "Select", "Select this sample, or not; decisions are then on the selection", ""),
            ("V", "mark_all", "Select all", "Select everything that the query finds", "-"),
            ("t", "tag", "Tag", "Give the sample or the selection a tag", "w"),
            ("S", "sort", "Sort", "Oldest, newest, nearest to a threshold, longest, or a random audit", ""),
            ("number_sign", "jump", "Number", "Show the sample of a number", "-"),
            ("F", "first", "First", "Begin again with the first sample of the queue", "-"),
            ("escape", "clear", "", "No reason, no selection, then what is pending", "-"),
            ("z", "zoom", "Zoom", "Show the pane in focus alone, or all again", "-"),
        ],
        "Review",
    ),
    *_on(
        "seeds",
        [
            ("slash", "search", "Search", "Show the seeds that a query finds", ""),
            ("o", "order", "Order", "Sort by id, by how often drawn, or by the accepted share", ""),
            ("e", "edit", "Edit", "Edit in $EDITOR as a new revision; earlier ones are kept", "w"),
            ("n,A", "add", "New", "Write a new seed in $EDITOR", "w"),
            ("x", "switch", "On/off", "Let the seed be drawn as a demonstration, or not", "w"),
            ("escape", "clear", "", "Show all seeds again", "-"),
            ("z", "zoom", "Zoom", "Show the pane in focus alone, or all again", "-"),
        ],
        "Seeds",
    ),
    *_on(
        "filters",
        [
            ("enter", "open", "List", "List what the rule under the cursor threw out", ""),
            ("x", "rescue", "Rescue", "Bring the chosen sample or instruction back", "w"),
            ("u", "undo", "Undo", "Take back the latest rescue, decision or applied threshold", "w"),
            ("U", "redo", "Redo", "Make the undone decision again", "w-"),
            ("left,h", "lower", "X-", "Lower the threshold by 0.01", ""),
            ("right,l", "higher", "X+", "Raise the threshold by 0.01", ""),
            ("X", "type_threshold", "", "Type the threshold", "-"),
            ("c", "curve", "Curve", "Draw how many every threshold would keep", ""),
            ("p", "preview", "Preview", "Work out what the threshold shown would change", ""),
            ("A", "apply", "Apply", "Judge everything at the threshold shown, after a question", "w"),
            ("slash", "search", "Search", "List the rejects that a query finds", ""),
            ("f", "filter", "Rule", "Show the next rule's rejects, then all", "-"),
            ("escape", "leave", "", "Stop what is being worked out, or back to the funnel", "-"),
            ("z", "zoom", "Zoom", "Show the pane in focus alone, or all again", "-"),
        ],
        "Filters",
    ),
    *_on(
        "train",
        [
            ("f", "freeze", "Freeze", "Fix the accepted samples as a data set", "w"),
            ("n", "train", "Train", "Start a fine-tune", "w"),
            ("S", "stop", "Stop", "Ask the training to save and stop", "w"),
            ("R", "resume", "Resume", "Go on with the training shown", "w"),
            ("o", "other", "Other run", "Show the next training run", ""),
            ("v", "overlay", "Overlay", "Draw the other runs over this one, or not", ""),
            ("plus,equals_sign", "zoom_in", "Closer", "Show fewer steps, around the cursor", ""),
            ("minus,underscore", "zoom_out", "Wider", "Show more steps", ""),
            ("0", "whole", "All", "Show all steps, without a cursor", ""),
            ("left,h", "cursor(-1)", "Cursor", "Read out the values further to the left", ""),
            ("right,l", "cursor(1)", "", "Read out the values further to the right", "-"),
            ("H,shift+left,less_than_sign", "pan(-1)", "", "Move the steps that are shown to the left", "-"),
            ("L,shift+right,greater_than_sign", "pan(1)", "", "Move the steps that are shown to the right", "-"),
            ("y", "log", "Log", "Logarithmic axis for loss and gradient norm, or linear", ""),
            ("s", "smooth", "Smooth", "Smooth the loss more, less or not", ""),
            ("z", "zoom", "Zoom", "Show the curves alone, or the facts beside them", "-"),
        ],
        "Train",
    ),
    *_on(
        "evaluate",
        [
            ("n", "evaluate", "Evaluate", "Score models on held-out tasks", "w"),
            ("b", "blind", "Blind A/B", "Judge the two models' answers without their names", "w"),
            ("S", "stop", "Stop", "Stop the evaluation", "w-"),
            ("right,l", "next_item", "Next task", "Show the next held-out task", ""),
            ("left,h", "previous_item", "Task before", "Show the held-out task before", "-"),
            ("d", "order", "Order", "Tasks in order, or the greatest gain or loss first", ""),
            ("slash", "search", "Search", "Show the tasks that a query finds", ""),
            ("escape", "clear", "", "Show all tasks again", "-"),
            ("o", "other", "Other two", "Show another two models that were scored on one suite", ""),
            ("z", "zoom", "Zoom", "Show the pane in focus alone, or all again", "-"),
        ],
        "Evaluate",
    ),
    *_on(
        "blind",
        [
            ("left,h", "left_better", "Left", "The left answer is better", "w"),
            ("right,l", "right_better", "Right", "The right answer is better", "w"),
            ("t", "tie", "Tie", "Neither is better", "w"),
            ("b", "both_bad", "Both bad", "Neither is of use", "w"),
            ("s", "skip", "Skip", "Decide later", ""),
            ("u", "undo", "Undo", "Take back the latest judgement, without limit", "w"),
            ("U", "redo", "Redo", "Make the undone judgement again", "w-"),
            ("f", "reference", "Reference", "Show or hide the data set's own answer", "-"),
            ("z", "zoom", "Zoom", "Show the pane in focus alone, or all again", "-"),
            ("r", "result", "Result", "Show who leads, and by how much", ""),
            ("escape", "leave", "Back", "Back to the figures; what is judged stays", ""),
        ],
        "Blind A/B",
    ),
    *_on(
        "jobs",
        [
            ("S", "stop", "Stop", "Ask the chosen job to stop", "w"),
            ("R", "resume", "Resume", "Go on with the chosen job where it was", "w"),
            ("slash", "search", "Search", "Show the jobs that a query finds", ""),
            ("o", "story", "Log/story", "Show the log or the events of the job", ""),
            ("z", "zoom", "Zoom", "Show the pane in focus alone, or all again", "-"),
        ],
        "Jobs",
    ),
    Command("help", "question_mark", "app.help", "Help", "Show every key", "Everywhere"),
    Command("palette", "colon", "app.command_palette", "Palette", "Find any command by its name", "Everywhere"),
    Command("messages", "m", "app.messages", "Messages", "Read again what was said", "Everywhere", footer=False),
    Command(
        "send",
        "Y",
        "app.send_text",
        "Send",
        "Send the text shown to the terminal's clipboard, and into a file",
        "Everywhere",
        footer=False,
    ),
    Command("quit", "q", "app.leave", "Quit", "Leave the cockpit; jobs go on", "Everywhere"),
    Command("interrupt", "ctrl+c", "app.interrupt", "", "Close the dialog, else leave", "Everywhere", footer=False),
    Command("theme", "T", "app.next_theme", "Theme", "Next colour theme", "Everywhere", footer=False),
    *(_go(number, name) for number, name in enumerate(SCREENS, 1)),
    Command("focus.next", "tab", "app.focus_next", "", "Next part of the screen", _MOVE, footer=False),
    Command("focus.previous", "shift+tab", "app.focus_previous", "", "Part before", _MOVE, footer=False),
)

LIST_KEYS: tuple[tuple[str, str, str], ...] = (
    ("up,k", "line_up", "One line up"),
    ("down,j", "line_down", "One line down"),
    ("pageup", "screen_up", "One page up"),
    ("pagedown,space", "screen_down", "One page down"),
    ("home,g", "to_top", "To the beginning"),
    ("end,G", "to_end", "To the end"),
)
"""Movement in lists and texts, the same everywhere: (keys, action, help)."""


def list_bindings() -> list[Binding]:
    """Bindings of the widgets that scroll."""
    return [Binding(keys, action, help, show=False, id=f"move.{action}") for keys, action, help in LIST_KEYS]


def bindings(screen: str | None) -> list[Binding]:
    """The bindings of one screen, or of the app (None)."""
    return [
        Binding(c.keys, c.action, c.help, show=False, id=c.id, priority=c.id == "interrupt")
        for c in COMMANDS
        if (screen in c.screens if screen else not c.screens)
    ]


def commands(screen: str) -> list[Command]:
    """What can be done on a screen: its own commands, then those that work everywhere."""
    return [c for c in COMMANDS if screen in c.screens] + [c for c in COMMANDS if not c.screens]


_NAMES = {
    "plus": "+",
    "minus": "-",
    "equals_sign": "=",
    "underscore": "_",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "full_stop": ".",
    "number_sign": "#",
    "escape": "esc",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "shift+tab": "shift+tab",
}
_ASCII_NAMES = {"up": "up", "down": "down", "left": "left", "right": "right"}


def key_name(key: str, *, ascii: bool = False) -> str:
    """A key as people write it."""
    return (_ASCII_NAMES.get(key) if ascii else None) or _NAMES.get(key, key)


def shown_keys(command: Command, keymap: Mapping[str, str], *, ascii: bool = False) -> str:
    """All keys of a command, rebound ones included, as the help shows them."""
    keys = keymap.get(command.id, command.keys)
    return " ".join(key_name(key.strip(), ascii=ascii) for key in keys.split(","))


def first_key(command: Command, keymap: Mapping[str, str], *, ascii: bool = False) -> str:
    """The key that the footer shows."""
    return shown_keys(command, keymap, ascii=ascii).split(" ")[0]


def unknown_ids(keymap: Mapping[str, str]) -> list[str]:
    """Names in ``[ui.keys]`` that no command has."""
    known = {c.id for c in COMMANDS} | {f"move.{action}" for _, action, _ in LIST_KEYS}
    return sorted(set(keymap) - known)
