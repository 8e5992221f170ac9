"""The threshold control: how many candidates every X would keep, and what one X would change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textual.content import Content

from alpaca_tui.ui.figures import share
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import literal_line
from alpaca_tui.ui.widgets.lines import LinesView

if TYPE_CHECKING:
    from alpaca_tui.store.replays import Replay, Tally

LOWEST, HIGHEST = 50, 100
"""Hundredths: the range of the exact curve."""
_LEVELS = " ▁▂▃▄▅▆▇█"
_ASCII_LEVELS = " .:#"


@dataclass(frozen=True, slots=True)
class Control:
    """What the threshold pane shows. ``x`` and ``current`` are in hundredths."""

    x: int = 70
    current: int = 70
    """The X that new candidates are judged by."""
    kept_now: int = 0
    curve: tuple[int, ...] = ()
    """How many are kept at 0.50, 0.51 … 1.00; empty: not worked out."""
    curve_of: int = 0
    """Of how many candidates the curve was worked out."""
    candidates: int = 0
    busy: str = ""
    """What is being worked out, and how far."""
    preview: Replay | None = None

    def at(self, x: int) -> Control:
        """The control moved to that X, within the range; a preview of another X goes."""
        x = max(LOWEST, min(HIGHEST, x))
        return replace(self, x=x, preview=self.preview if x == self.x else None)

    @property
    def would_keep(self) -> int | None:
        """How many the X shown would keep."""
        return self.curve[self.x - LOWEST] if self.curve else None


class ThresholdPane(LinesView):
    """The X, the curve under it, and what the X would change."""

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:
        super().__init__(id=id, classes="pane")
        self._glyphs = glyphs
        self.control = Control()

    def show(self, control: Control) -> None:
        """Show another state of the control."""
        self.control = control
        self.border_title = f"Threshold X = {control.x / 100:.2f}"
        self.update_lines()

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """Head, curve, changes."""
        c, glyphs = self.control, self._glyphs
        changes = changes_of(c, glyphs, width)
        head = _head(c, glyphs)
        rows = height - 1 - len(changes) - 1
        if not c.curve:
            hint = c.busy or f"{glyphs.mark} left and right move X; c draws how many each X would keep"
            return [head, Content.styled(hint, "$accent" if c.busy else "$muted").truncate(width), *changes][:height]
        if min(c.curve) == max(c.curve):
            same = "Every X from 0.50 to 1.00 keeps the same: no score lies between them."
            return [head, *Content.styled(same, "$muted").wrap(width), *changes][:height]
        chart = bars(c, width, rows, glyphs) if rows >= 2 else []
        return [head, *chart, *changes][:height]


def _head(c: Control, glyphs: Glyphs) -> Content:
    parts: list[tuple[str, str]] = [("X ", "$muted"), (f"{c.x / 100:.2f}", "$accent bold")]
    keep = c.would_keep
    if keep is not None:
        difference = keep - c.kept_now
        parts += [(" would keep ", "$muted"), (f"{keep:,}", "bold"), (f" ({share(keep, c.curve_of)}, ", "$muted")]
        parts += [(f"{difference:+,}", "$success" if difference > 0 else "$warning" if difference else "$muted")]
        parts += [(" against now)", "$muted")]
    else:
        parts += [(f"  now {c.kept_now:,} of {c.candidates:,} are kept", "$muted")]
    if c.busy and c.curve:
        parts.append((f"  {c.busy}", "$accent"))
    elif c.curve and c.curve_of != c.candidates:
        parts.append((f"  {glyphs.dot} {c.candidates - c.curve_of:+,} candidates since; c", "$warning"))
    return Content.assemble(*parts)


def bars(c: Control, width: int, height: int, glyphs: Glyphs) -> list[Content]:
    """The curve as columns over a labelled axis, ``height`` + 1 lines; the X shown and the present one stand out.

    The scale begins at the lowest count, so that a difference is seen; the figures at its left say so.
    """
    label = len(f"{max(c.curve):,}") + 1
    stride = 1 if width - label >= len(c.curve) else 2  # too narrow: every second X has a column
    each = max(1, (width - label) // (len(c.curve) // stride + 1))
    low, high = min(c.curve), max(c.curve)
    floor = max(0, low - max(1, (high - low) // 8))
    levels = _LEVELS if glyphs.braille else _ASCII_LEVELS
    steps = len(levels) - 1
    heights = [round((n - floor) / max(1, high - floor) * height * steps) for n in c.curve[::stride]]
    lines = []
    for row in range(height):
        above = (height - 1 - row) * steps
        figure = f"{high:,}" if row == 0 else f"{floor:,}" if row == height - 1 else ""
        line = [(f"{figure:>{label - 1}} ", "$faint")]
        for i, filled in enumerate(heights):
            sign = levels[max(0, min(steps, filled - above))]
            column = range(LOWEST + i * stride, LOWEST + (i + 1) * stride)
            style = "$accent bold" if c.x in column else "$success" if c.current in column else "$primary"
            line.append((sign * each, style))
        lines.append(Content.assemble(*line).truncate(width))
    return [*lines, _axis(c, label, each, stride, glyphs).truncate(width)]


def _axis(c: Control, label: int, each: int, stride: int, glyphs: Glyphs) -> Content:
    cells = [" "] * (label + each * (HIGHEST - LOWEST + 1) + 4)
    for x in (50, 60, 70, 80, 90, 100):
        at = label + (x - LOWEST) // stride * each
        text = f"{x / 100:.1f}"
        cells[at : at + len(text)] = text
    mark = label + (c.x - LOWEST) // stride * each
    line = Content.styled("".join(cells).rstrip(), "$muted")
    pointer = "^" if not glyphs.braille else "▲"
    plain = line.plain.ljust(mark + 1)
    return Content.assemble((plain[:mark], "$muted"), (pointer, "$accent bold"), (plain[mark + 1 :], "$muted"))


def _funnel_rows(kept: str, before: Tally, after: Tally) -> list[tuple[str, int, int, str]]:
    was, then = before.rejected, after.rejected
    rows = [(rule, was.get(rule, 0), then.get(rule, 0), "$error") for rule in dict.fromkeys([*was, *then])]
    return [(kept, before.kept, after.kept, "$success"), *rows]


def changes_of(c: Control, glyphs: Glyphs, width: int) -> list[Content]:
    """The funnel before and after, as far as it differs; nothing without a preview."""
    replay = c.preview
    if replay is None:
        return []
    arrow = glyphs.arrow
    rows = _funnel_rows("kept", replay.before, replay.after)
    if replay.samples_before is not None and replay.samples_after is not None:
        rows += _funnel_rows("samples kept", replay.samples_before, replay.samples_after)
    changed = [row for row in rows if row[1] != row[2]]
    if not changed:
        return [Content.styled(f"At {replay.threshold:.2f} nothing changes.", "$muted")]
    lines = [
        Content.assemble(
            literal_line(f"{name.replace('_', ' '):<20}", style), (f"{before:>9,} {arrow} ", "$muted"),
            (f"{after:<9,}", "bold"), (f"{after - before:+,}", style),
        )
        for name, before, after, style in changed
    ]  # fmt: skip
    back = sum(1 for change in replay.samples if change.to_state == "pending")
    out = len(replay.samples) - back
    told = f"{back:,} samples come back, {out:,} leave; {len(replay.untouched):,} judged ones stay. A applies it."
    return [line.truncate(width) for line in lines] + [Content.styled(told, "$muted").truncate(width)]
