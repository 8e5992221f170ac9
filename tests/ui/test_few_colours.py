"""A bad link and NO_COLOR: few colours or none, few frames, everything still to be told apart; in a real terminal."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from alpaca_tui.ui.linefilters import FewColours
from alpaca_tui.ui.options import UiOptions

from .conftest import Opened, screen_text
from .test_terminal import Terminal, terminals  # noqa: F401  (a fixture)

COMMAND = (
    "import atexit, sys; from alpaca_tui.cli.main import main; sys.argv[1:] = ['--project', sys.argv[1], *{!r}]; "
    "atexit.register(lambda: print('period', sys.modules['textual.screen'].UPDATE_PERIOD)); main()"
)
SGR = re.compile(rb"\x1b\[([\d;]*)m")
PLAIN = {b"", b"0", b"1", b"2", b"3", b"4", b"7", b"9"}
SIXTEEN = PLAIN | {str(n).encode() for n in (*range(30, 38), *range(90, 98), *range(40, 48), *range(100, 108), 39, 49)}


def walk(project: Path, started: list[Terminal], *flags: str, **variables: str) -> Terminal:
    """Every screen, the help and the palette, in a terminal that could show 16 million colours."""
    terminal = Terminal(project, COMMAND.format(flags), 120, 40, **variables)
    started.append(terminal)
    terminal.wait_for("kept 22/48")
    for key, seen in (("2", "showing"), ("3", "Seed tasks"), ("4", "Funnel"), ("5", "Loss"), ("6", "Models"),
                      ("7", "Log of"), ("?", "Keys: Jobs"), ("\x1b", "Log of"), (":", "Go to")):  # fmt: skip
        terminal.child.send(key)
        terminal.wait_for(seen)
    terminal.child.send("\x1b")
    terminal.read(0.5)
    terminal.child.send("q")
    assert terminal.end() == 0
    return terminal


def codes(terminal: Terminal) -> set[bytes]:
    return {code for found in SGR.findall(terminal.bytes) for code in found.split(b";")}


def test_slow_sends_sixteen_colours_at_most_and_four_frames_a_second(project: Path, terminals: list[Terminal]) -> None:  # noqa: F811
    terminal = walk(project, terminals, "--slow")
    assert codes(terminal) <= SIXTEEN
    assert codes(terminal) - PLAIN > {b"31", b"32", b"33"}
    assert "╭".encode() in terminal.bytes
    assert b"period 0.25" in terminal.bytes


@pytest.mark.parametrize("flags", [(), ("--slow",), ("--slow", "--ascii")])
def test_no_color_sends_none(project: Path, terminals: list[Terminal], flags: tuple[str, ...]) -> None:  # noqa: F811
    terminal = walk(project, terminals, *flags, NO_COLOR="1")
    assert codes(terminal) <= PLAIN and b"7" in codes(terminal) and b"1" in codes(terminal)
    if "--ascii" in flags:
        drawn = terminal.bytes.split(b"\x1b[?1049l")[0].decode()
        foreign = {c for c in drawn if ord(c) > 126} - set("¿óá’–")  # the texts' own letters
        assert not {c for c in foreign if not c.isalpha()}, foreign


THEMES = ("alpaca-night", "alpaca-clear", "alpaca-contrast", "alpaca-day", "textual-light", "dracula")


@pytest.mark.parametrize("theme", THEMES)
async def test_the_chosen_row_the_thumb_and_the_cursor_stay_visible(opened: Opened, project: Path, theme: str) -> None:
    async with opened(project, (100, 30), UiOptions(slow=True, theme=theme)) as (app, pilot):
        await pilot.press("3")
        await pilot.pause()
        assert "▸    1" in screen_text(app)  # a sign, not only a colour
        segments = [s for strip in app.screen._compositor.render_strips() for s in strip if s.style]
        styles = {s.style for s in segments}
        assert all(c is None or c.number is not None for s in styles for c in (s.color, s.bgcolor))
        marked = [s for s in styles if s.reverse or s.bgcolor is not None]
        assert marked, "the scroll bar's thumb is not to be seen"
        assert not any(s.color == s.bgcolor and s.color is not None for s in styles)


@pytest.mark.parametrize(
    ("ink", "name"),
    [
        ("#e07a72", "red"), ("#e3b778", "yellow"), ("#93c48b", "green"), ("#7fb4d6", "cyan"), ("#a99bd3", "magenta"),
        ("#d9dde5", None), ("#949dac", None),
    ],
)  # fmt: skip
def test_colours_keep_their_hue(ink: str, name: str | None) -> None:
    for colours in (True, False):
        segment = Segment("x", Style.parse(f"bold {ink} on #14171d"))
        (drawn,) = FewColours(colours=colours).apply([segment], Color.parse("#14171d"))
        assert drawn.style is not None and drawn.style.bold and drawn.style.bgcolor is None
        assert (drawn.style.color.name if drawn.style.color else None) == (name if colours else None)


def test_what_stands_out_by_its_background_is_reversed() -> None:
    shades = ["#14171d", "#343c4a", "#e3b778"]
    filtered = FewColours(colours=True)
    drawn = [
        filtered.apply([Segment("x", Style.parse(f"#14171d on {shade}"))], Color.parse("#14171d"))[0].style
        for shade in shades
    ]
    assert [(s.reverse, s.bgcolor and s.bgcolor.name) for s in drawn if s] == [
        (None, None), (None, "bright_black"), (True, None),
    ]  # fmt: skip
    assert all(one != other for one, other in pairwise(drawn))
