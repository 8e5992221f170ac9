"""How a person looks at curves: window, cursor, smoothing, log axis; each key makes a new ``Look`` of the old one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from alpaca_tui.ui.charts import Axes

SMOOTHINGS = (0.9, 0.97, 0.99, 0.0, 0.6)
"""Weights of the moving average, in the order in which a key goes through them; 0: none."""
LEAST_WINDOW = 8.0
"""Steps: no closer look makes sense."""


@dataclass(frozen=True, slots=True)
class Look:
    """``window`` None: the whole run, however it grows. ``cursor`` None: nothing is read out."""

    window: tuple[float, float] | None = None
    cursor: float | None = None
    log: bool = False
    smoothing: float = SMOOTHINGS[0]
    overlay: bool = False
    """Other runs are drawn over the one that is shown."""

    @property
    def axes(self) -> Axes:
        """What the chart needs of it."""
        return Axes(self.window, self.log, self.cursor)


Limits = tuple[float, float]
"""(first, last) step of the whole chart."""


def zoomed(look: Look, limits: Limits, factor: float, around: float | None = None) -> Look:
    """Closer by ``factor`` (or further off, below 1) around a step: the given one, the cursor, or the middle."""
    first, last = look.window or limits
    centre = around if around is not None else look.cursor
    centre = (first + last) / 2 if centre is None or not first <= centre <= last else centre
    length = max(min(LEAST_WINDOW, limits[1] - limits[0]), (last - first) / factor)
    if length >= limits[1] - limits[0]:
        return replace(look, window=None)
    share = (centre - first) / (last - first) if last > first else 0.5
    return replace(look, window=_within(centre - share * length, length, limits))


def panned(look: Look, limits: Limits, share: float) -> Look:
    """The window moved by a share of its length; the whole run stays where it is."""
    if look.window is None:
        return look
    first, last = look.window
    return replace(look, window=_within(first + share * (last - first), last - first, limits))


def moved(look: Look, limits: Limits, columns: int, by: int) -> Look:
    """The cursor moved by cells of a plot that is ``columns`` wide; the window follows it."""
    first, last = look.window or limits
    cell = max((last - first) / max(1, columns - 1), min(1.0, last - first))
    start = look.cursor if look.cursor is not None else (last if by < 0 else first) - by * cell
    return pointed(look, limits, start + by * cell)


def pointed(look: Look, limits: Limits, step: float) -> Look:
    """The cursor put on a step; the window follows it."""
    step = float(round(min(limits[1], max(limits[0], step))))
    window = look.window
    if window is not None and not window[0] <= step <= window[1]:
        length = window[1] - window[0]
        start = step if step < window[0] else step - length
        window = _within(start, length, limits)
    return replace(look, cursor=step, window=window)


def next_smoothing(look: Look) -> Look:
    """The next weight of the moving average."""
    at = SMOOTHINGS.index(look.smoothing) if look.smoothing in SMOOTHINGS else -1
    return replace(look, smoothing=SMOOTHINGS[(at + 1) % len(SMOOTHINGS)])


def _within(start: float, length: float, limits: Limits) -> tuple[float, float]:
    start = max(limits[0], min(start, limits[1] - length))
    return start, start + length
