"""Checks the keys that config.toml gives to commands: unknown commands, no keys, keys of the terminal, clashes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from textual.keys import _character_to_key

from alpaca_tui.core.visible import one_line
from alpaca_tui.ui import bindings

OWNED = {
    "ctrl+a": "screen", "ctrl+b": "tmux", "ctrl+p": "Docker", "ctrl+q": "flow control", "ctrl+s": "flow control",
    "ctrl+z": "job control", "ctrl+backslash": "job control", "ctrl+i": "Tab", "ctrl+m": "Enter", "ctrl+h": "Backspace",
}  # fmt: skip
"""Keys that never arrive, or mean something else, and who has them."""
_NAME = re.compile(r"(?:(?:ctrl|shift)\+)*[a-z0-9_]{1,30}")
_SHARED = {"tab", "shift+tab"}
"""A screen may take these over from the general commands, as the cockpit does."""


def _keys(text: str) -> list[str]:
    """The keys of a comma-separated list by Textual's names: "?" is question_mark."""
    return [_character_to_key(key) if len(key) == 1 else key for key in (part.strip() for part in text.split(","))]


def checked(keymap: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The rebindings that hold, and what is wrong with the others, a clause each."""
    problems = []
    unknown = bindings.unknown_ids(keymap)
    if unknown:
        problems.append(f"no command is called {', '.join(one_line(name) for name in unknown)} (? lists them)")
    good = {}
    for name, text in keymap.items():
        if name in unknown:
            continue
        wrong = next(filter(None, map(_fault, _keys(text))), None)
        if wrong is None:
            good[name] = ",".join(_keys(text))
        else:
            problems.append(f"{name}: {wrong}")
    while clash := _clash(good):
        screen, key, names = clash
        shown = bindings.key_name(key)
        problems.append(f"{' and '.join(names)} would both be {shown} on {bindings.TITLES.get(screen, 'Blind A/B')}")
        for name in names:
            good.pop(name, None)
    return good, problems


def _fault(key: str) -> str | None:
    if key in OWNED:
        return f"{key} belongs to {OWNED[key]}"
    if len(key) == 1 and key.isprintable():
        return None
    return None if _NAME.fullmatch(key) else f"{one_line(key)[:30] or 'nothing'} is no key"


def _clash(keymap: Mapping[str, str]) -> tuple[str, str, tuple[str, str]] | None:
    """A screen and a key of two commands there, one of them at least rebound; None where all differ."""
    for screen in (*bindings.SCREENS, "blind"):
        by_key: dict[str, list[str]] = defaultdict(list)
        commands = [(c.id, c.keys) for c in bindings.commands(screen)]
        if screen != "cockpit":  # its panes are no lists
            commands += [(f"move.{action}", keys) for keys, action, _ in bindings.LIST_KEYS]
        for name, keys in commands:
            for key in _keys(keymap.get(name, keys)):
                by_key[key].append(name)
        for key, names in by_key.items():
            rebound = [name for name in names if name in keymap]
            if len(names) > 1 and rebound and key not in _SHARED:
                other = next(name for name in names if name != rebound[0])
                return screen, key, (rebound[0], other)
    return None
