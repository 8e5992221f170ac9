"""The last gate before the terminal: every drawn line passes here."""

from __future__ import annotations

import colorsys
import re
from functools import lru_cache

from rich.color import Color as AnsiColor
from rich.segment import Segment
from rich.style import Style
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


_HUES = ((25, "red"), (70, "yellow"), (165, "green"), (225, "cyan"), (255, "bright_blue"), (345, "magenta"))
"""Degrees up to which a hue counts as that colour; ANSI's plain blue is hardly legible on black."""
_GREY = 0.16
"""Chroma under which a colour has no hue worth keeping."""
_FAINT = 0.62
"""The share of black-to-white contrast under which grey text is dimmed."""
_RAISED, _STRONG = 0.09, 0.4
"""How far a background must be from the widget's own to be marked: with bright black, or by reversing."""


class FewColours(LineFilter):
    """The terminal's own sixteen colours at most, or none: a fraction of the bytes, and any terminal can show them.

    What lies on the widget's background gets the terminal's default colours; greys become default or dim text.
    """

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments with few colours."""
        ground, colours = background.rgb, self._colours
        return [
            s if s.control or s.style is None else Segment(s.text, _with_few(s.style, ground, colours))
            for s in segments
        ]


@lru_cache(4096)
def _with_few(style: Style, ground: tuple[int, int, int], colours: bool) -> Style:
    base = _lightness(ground)
    ink, paper = style.color, style.bgcolor
    hue, dim, reverse, raised = None, bool(style.dim), bool(style.reverse), None
    if paper is not None and not paper.is_default:
        away = abs(_lightness(paper.get_truecolor()) - base)
        reverse = reverse != (away >= _STRONG)
        if colours and _RAISED <= away < _STRONG:
            raised = "bright_black"
    if ink is not None and not ink.is_default and not raised:
        rgb = ink.get_truecolor()
        hue = _hue(rgb)
        dim = dim or (hue is None and not reverse and abs(_lightness(rgb) - base) < _FAINT * max(base, 1 - base))
    return Style(
        color=AnsiColor.parse(hue) if hue and colours else None,
        bgcolor=AnsiColor.parse(raised) if raised else None,
        bold=style.bold, dim=dim or None, italic=style.italic, underline=style.underline, strike=style.strike,
        reverse=reverse or None, meta=style.meta or None,
    )  # fmt: skip


def _lightness(rgb: tuple[int, int, int]) -> float:
    """From 0 to 1, as the eye takes it: the cube root of CIE's luminance, near enough for a choice of few."""
    red, green, blue = ((part / 255) ** 2.2 for part in rgb)
    return float((0.2126 * red + 0.7152 * green + 0.0722 * blue) ** (1 / 3))


def _hue(rgb: tuple[int, int, int]) -> str | None:
    if (max(rgb) - min(rgb)) / 255 < _GREY:
        return None
    degrees = 360 * colorsys.rgb_to_hsv(*(part / 255 for part in rgb))[0]
    return next((name for end, name in _HUES if degrees < end), "red")
