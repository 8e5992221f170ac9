"""The last gate before the terminal: every drawn line passes here."""

from __future__ import annotations

import re

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from alpaca_tui.core.visible import BIDI, CONTROL, SURROGATES

_INERT = re.compile(f"[{CONTROL}\n\t{BIDI}{SURROGATES}]")

# Signs of one cell that Textual or a text of ours draws, and what stands for them in plain ASCII.
_BY_SIGN = {
    "…": "~",
    "–—─▔": "-",
    "·": ".",
    "→▸⇥": ">",
    "←": "<",
    "↑␛": "^",
    "↓": "v",
    "↵": "/",
    "✓╭╮╰╯┌┐└┘├┤": "+",
    "✗": "x",
    "●": "*",
    "○◌": "o",
    "◆": "@",
    "│▌▐▎▕▏┃": "|",
    "━╸╍": "=",
    "█▄▅▆▇": "#",
    "▀": '"',
    "▁▂▃": "_",
    "⇄": "?",
}
_PLAIN = {ord(sign): plain for signs, plain in _BY_SIGN.items() for sign in signs}


def _changed(segments: list[Segment], pattern: re.Pattern[str]) -> bool:
    return any(not s.control and pattern.search(s.text) for s in segments)


class InertFilter(LineFilter):
    """The second wall: whatever a widget drew, no control character leaves for the terminal.

    Controls are removed, not replaced: they have no width, so the line keeps the width it was laid out with.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments without control characters; the very list where there are none."""
        if not _changed(segments, _INERT):
            return segments
        return [s if s.control else Segment(_INERT.sub("", s.text), s.style) for s in segments]


class AsciiFilter(LineFilter):
    """For terminals and fonts without box drawing: signs of ours become plain ones of the same width."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments in plain signs; the very list where they are plain already."""
        if all(s.control or s.text.isascii() for s in segments):
            return segments
        return [s if s.control else Segment(s.text.translate(_PLAIN), s.style) for s in segments]
