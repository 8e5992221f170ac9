"""Bars and line charts as text, from a min/max envelope per column: a million points draw like a thousand."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from textual.content import Content

from alpaca_tui.ui.glyphs import Glyphs

# Dots of a braille cell by (column, row); the code point is 0x2800 plus their sum.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
AXIS_WIDTH = 8
"""Cells at the left of a chart, before its plot."""

Mode = Literal["line", "points"]


@dataclass(frozen=True, slots=True)
class Curve:
    """One series to draw; NaN values leave a gap."""

    steps: Sequence[float]
    values: Sequence[float]
    style: str
    mode: Mode = "line"
    lows: Sequence[float] = ()
    """The lowest value behind each of ``values``, where these are means; ``highs`` likewise."""
    highs: Sequence[float] = ()
    sign: str = ""
    """Stands on the line here and there, so that it is known without its colour."""


@dataclass(frozen=True, slots=True)
class Axes:
    """How the curves are looked at."""

    window: tuple[float, float] | None = None
    """The steps to show; None: all of them, up to the planned end."""
    log: bool = False
    """Logarithmic values; those of 0 and less are left out."""
    cursor: float | None = None
    """The step that is read out."""


def bar(value: float, top: float, width: int, glyphs: Glyphs) -> str:
    """A horizontal bar of ``value`` on a scale that ends at ``top``; any value above 0 shows at least a trace."""
    if top <= 0 or value <= 0 or width <= 0:
        return ""
    parts = len(glyphs.bar) - 1
    filled = max(1, round(min(1.0, value / top) * width * parts))
    whole, rest = divmod(filled, parts)
    return glyphs.bar[-1] * whole + (glyphs.bar[rest] if rest else "")


def smoothed(values: Sequence[float], weight: float = 0.9, stride: int = 1) -> list[float]:
    """Exponential moving average with bias correction (Kingma and Ba 2015, section 3); NaN values are passed over.

    ``weight`` is that of one step; where each value is the mean of ``stride`` steps, it counts as so many.
    """
    out: list[float] = []
    mean, correction = 0.0, 1.0
    weight = weight**stride
    for value in values:
        if math.isnan(value):
            out.append(out[-1] if out else math.nan)
            continue
        mean = weight * mean + (1 - weight) * value
        correction *= weight
        out.append(mean / (1 - correction))
    return out


def envelope(curve: Curve, columns: int, first: float, last: float) -> list[tuple[float, float] | None]:
    """(lowest, highest) value in each of ``columns`` equal slices of the steps from ``first`` to ``last``."""
    out: list[tuple[float, float] | None] = [None] * columns
    scale = (columns - 1) / (last - first) if last > first else 0.0
    begin, end = bisect_left(curve.steps, first), bisect_right(curve.steps, last)
    lows, highs = curve.lows or curve.values, curve.highs or curve.values
    for i in range(begin, end):
        low, high = lows[i], highs[i]
        if math.isfinite(low) and math.isfinite(high):
            column = round((curve.steps[i] - first) * scale)
            seen = out[column]
            out[column] = (low, high) if seen is None else (min(seen[0], low), max(seen[1], high))
    return out


def joined(slices: Sequence[tuple[float, float] | None]) -> list[tuple[float, float] | None]:
    """The slices with the gaps between two filled ones bridged by a straight line, and neighbours made to touch."""
    out = list(slices)
    filled = [i for i, s in enumerate(slices) if s is not None]
    for left, right in pairwise(filled):
        a, b = slices[left], slices[right]
        assert a is not None and b is not None
        start, end = (a[0] + a[1]) / 2, (b[0] + b[1]) / 2
        previous = start
        for i in range(left + 1, right + 1):
            here = start + (end - start) * (i - left) / (right - left)
            middle = (previous + here) / 2
            seen = out[i] or (here, here)
            out[i] = (min(seen[0], middle), max(seen[1], middle))
            before = out[i - 1] or (previous, previous)
            out[i - 1] = (min(before[0], middle), max(before[1], middle))
            previous = here
    return out


class Canvas:
    """A grid of cells: braille dots (2 by 4 a cell), or one mark a cell in ASCII; a cell shows its last layer."""

    def __init__(self, width: int, height: int, glyphs: Glyphs) -> None:
        self.width, self.height, self._glyphs = width, height, glyphs
        self.dots_x = 2 if glyphs.braille else 1
        self.dots_y = 4 if glyphs.braille else 1
        self._bits = [[0] * width for _ in range(height)]
        self._marks: dict[tuple[int, int], str] = {}
        self._styles = [[""] * width for _ in range(height)]

    def fill(self, x: int, top: int, bottom: int, style: str, ascii_mark: str) -> None:
        """Set the dots of column ``x`` from row ``top`` to row ``bottom`` (in dots, 0 above)."""
        for y in range(max(0, top), min(self.height * self.dots_y - 1, bottom) + 1):
            column, row = x // self.dots_x, y // self.dots_y
            if self._glyphs.braille:
                # A cell has one colour: dots of a layer below would look like the upper one's.
                below = 0 if self._styles[row][column] != style else self._bits[row][column]
                self._bits[row][column] = below | _DOTS[x % 2][y % 4]
                if self._marks.get((column, row)) == self._glyphs.cursor:
                    del self._marks[column, row]  # the cursor never hides what it reads out
            else:
                self._marks[column, row] = ascii_mark
            self._styles[row][column] = style

    def mark(self, x: int, y: int, sign: str, style: str) -> None:
        """Put a sign into the cell that holds the dot (x, y)."""
        column, row = x // self.dots_x, min(self.height - 1, max(0, y // self.dots_y))
        self._marks[column, row] = sign
        self._styles[row][column] = style

    def row(self, y: int) -> Content:
        """One line of the canvas."""
        runs: list[tuple[str, str]] = []
        for x in range(self.width):
            bits, style = self._bits[y][x], self._styles[y][x]
            sign = self._marks.get((x, y)) or (chr(0x2800 + bits) if bits else " ")
            if runs and runs[-1][1] == style:
                runs[-1] = (runs[-1][0] + sign, style)
            else:
                runs.append((sign, style))
        return Content.assemble(*runs)


def bounds(
    curves: Iterable[Curve], window: tuple[float, float] | None = None
) -> tuple[float, float, float, float] | None:
    """(first step, last step, lowest, highest value) over all curves within the window; None: nothing is finite."""
    steps: list[float] = []
    values: list[float] = []
    for curve in curves:
        begin, end = 0, len(curve.steps)
        if window is not None:
            begin, end = bisect_left(curve.steps, window[0]), bisect_right(curve.steps, window[1])
        finite = [i for i in range(begin, end) if math.isfinite(curve.values[i])]
        if finite:
            steps += [curve.steps[finite[0]], curve.steps[finite[-1]]]
            lows, highs = curve.lows or curve.values, curve.highs or curve.values
            values += [min(lows[i] for i in finite), max(highs[i] for i in finite)]
    if not steps:
        return None
    return min(steps), max(steps), min(values), max(values)


def logarithmic(curve: Curve) -> Curve:
    """The curve with the decimal logarithms of its values; NaN for what has none."""

    def logs(values: Sequence[float]) -> list[float]:
        return [math.log10(v) if v > 0 and math.isfinite(v) else math.nan for v in values]

    return replace(curve, values=logs(curve.values), lows=logs(curve.lows), highs=logs(curve.highs))


def value_at(curve: Curve, step: float) -> tuple[float, float] | None:
    """(step, value) of the newest point at or before ``step``, else of the first one; None where there is none."""
    if not curve.steps:
        return None
    at = max(0, bisect_right(curve.steps, step) - 1)
    return curve.steps[at], curve.values[at]


def line_chart(
    curves: Sequence[Curve], width: int, height: int, glyphs: Glyphs, *, last: float = 0, axes: Axes | None = None
) -> list[Content]:
    """The curves over each other with labelled axes, ``height`` lines of ``width`` cells.

    The steps axis reaches at least to ``last`` (the planned end), or shows the window of ``axes``. Empty where the
    space or the data do not suffice.
    """
    axes = axes or Axes()
    if axes.log:
        curves = [logarithmic(curve) for curve in curves]
    limits = bounds(curves, axes.window)
    plot_width, plot_height = width - AXIS_WIDTH, height - 1
    if limits is None or plot_width < 8 or plot_height < 2:
        return []
    first, seen, low, high = limits
    first, end = axes.window or (first, max(seen, last))
    # A spread within rounding is none: the axis gets some room around the one value.
    flat = high - low <= 1e-9 * max(abs(high), abs(low), 1e-9)
    margin = max(abs(high) * 0.05, 0.01) if flat else (high - low) * 0.06
    # What is never negative gets no axis below 0; logarithms are negative as a matter of course.
    low, high = max(0.0, low - margin) if low >= 0 and not axes.log else low - margin, high + margin
    canvas = Canvas(plot_width, plot_height, glyphs)
    _draw_cursor(canvas, axes.cursor, first, end, glyphs)
    signs = iter(("'", "*", *("+" for _ in curves)))
    for curve in curves:
        _draw(canvas, curve, (first, end, low, high), curve.sign or next(signs), glyphs)
    labels = _labels(low, high, plot_height, log=axes.log)
    lines = [Content.assemble((_axis(labels.get(y), glyphs), "$muted"), canvas.row(y)) for y in range(plot_height)]
    return [*lines, _steps_axis(first, end, plot_width)]


def _draw_cursor(canvas: Canvas, cursor: float | None, first: float, end: float, glyphs: Glyphs) -> None:
    if cursor is None or not first <= cursor <= end:
        return
    x = column_of(cursor, first, end, canvas.width) * canvas.dots_x
    for row in range(canvas.height):
        canvas.mark(x, row * canvas.dots_y, glyphs.cursor, "$accent")


def column_of(step: float, first: float, end: float, width: int) -> int:
    """The cell of a step in a plot of ``width`` cells."""
    return min(width - 1, max(0, round((step - first) / (end - first) * (width - 1)))) if end > first else 0


def _draw(canvas: Canvas, curve: Curve, area: tuple[float, float, float, float], sign: str, glyphs: Glyphs) -> None:
    first, end, low, high = area
    rows = canvas.height * canvas.dots_y

    def y_of(value: float) -> int:
        return round((high - value) / (high - low) * (rows - 1))

    slices = envelope(curve, canvas.width * canvas.dots_x, first, end)
    if curve.mode == "line":
        slices = joined(slices)
    every = 12 * canvas.dots_x
    filled = [x for x, found in enumerate(slices) if found is not None]
    marked = {x for x in filled if curve.sign and (x - filled[0]) % every == every // 2} | {*filled[-1:]}
    for x in filled:
        found = slices[x]
        assert found is not None
        if curve.mode == "points":
            canvas.mark(x, y_of((found[0] + found[1]) / 2), curve.sign or glyphs.mark, curve.style)
            continue
        canvas.fill(x, y_of(found[1]), y_of(found[0]), curve.style, sign)
        if curve.sign and x in marked:
            canvas.mark(x, y_of((found[0] + found[1]) / 2), curve.sign, curve.style)


def _axis(label: str | None, glyphs: Glyphs) -> str:
    return f"{label or '':>{AXIS_WIDTH - 2}} {glyphs.separator if label is None else glyphs.axis}"


def _labels(low: float, high: float, rows: int, *, log: bool) -> dict[int, str]:
    count = max(2, min(5, rows // 3 + 1))
    places = {round(i * (rows - 1) / (count - 1)) for i in range(count)}
    values = {y: high - (high - low) * (y + 0.5) / rows for y in places}
    if log:
        return {y: f"{10**value:.3g}"[: AXIS_WIDTH - 2] for y, value in values.items()}
    return {y: _label(value, high - low) for y, value in values.items()}


def _label(value: float, spread: float) -> str:
    """A value to as many digits as the axis has room and the spread has meaning for."""
    if spread < 0.01 and abs(value) < 0.01:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"[: AXIS_WIDTH - 2]
    digits = max(0, min(4, 2 - math.floor(math.log10(spread)))) if spread > 0 else 3
    return f"{value:.{digits}f}"[: AXIS_WIDTH - 2]


def _steps_axis(first: float, last: float, width: int) -> Content:
    middle = f"{(first + last) / 2:.0f}"
    start, end = f"{first:.0f}", f"{last:.0f}"
    line = start.ljust(width)
    at = (width - len(middle)) // 2
    if width > len(start) + len(middle) + len(end) + 6:
        line = line[:at] + middle + line[at + len(middle) :]
    line = line[: width - len(end)] + end if last > first else line
    return Content.styled(" " * AXIS_WIDTH + line, "$muted")
