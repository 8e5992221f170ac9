"""Training curves for the eye: a bounded number of slices, however long the run, extended by what was added."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from alpaca_tui.ui.snapshot import Curve

if TYPE_CHECKING:
    from sqlite_utils import Database

MOST = 2048
"""Slices of a whole run at the most before two become one: several for each dot of the widest screen."""

Slice = tuple[int, float, float, float]
"""Newest step, lowest, highest and mean value."""


def stride_for(steps: int, most: int = MOST) -> int:
    """The smallest power of two by which ``steps`` make no more than ``most`` slices."""
    stride = 1
    while steps // stride + 1 > most:
        stride *= 2
    return stride


class GrowingCurve:
    """One metric of a run that may still grow: each ``extend`` reads only what was added."""

    def __init__(self, job_id: int, name: str) -> None:
        self._job_id, self._name = job_id, name
        self._stride = 0
        self._slices: list[Slice] = []
        self._curve = Curve()

    def extend(self, db: Database) -> Curve:
        """The curve as it is now."""
        from alpaca_tui.store import metrics

        if not self._stride:
            span = metrics.span(db, self._job_id, self._name)
            if span is None:
                return self._curve
            self._stride = stride_for(span[1])
        # The newest slice may have been read half full: it is read again.
        first = self._slices[-1][0] // self._stride * self._stride if self._slices else 0
        found = metrics.slices(db, self._job_id, self._name, self._stride, first=first).rows
        if self._slices and (not found or (len(found) == 1 and _same(found[0], self._slices[-1]))):
            return self._curve
        self._slices[-1:] = found
        while len(self._slices) > 2 * MOST:
            self._stride *= 2
            self._slices = halved(self._slices, self._stride)
        newest = metrics.newest(db, self._job_id, [self._name]).get(self._name)
        self._curve = curve_of(self._slices, self._stride, newest)
        return self._curve


def _same(a: Slice, b: Slice) -> bool:
    return all(x == y or (math.isnan(x) and math.isnan(y)) for x, y in zip(a, b, strict=True))


def halved(slices: list[Slice], stride: int) -> list[Slice]:
    """The slices joined into such of ``stride`` steps; the mean of two is that of their means."""
    out: list[Slice] = []
    for step, low, high, mean in slices:
        if out and out[-1][0] // stride == step // stride:
            _, a, b, m = out[-1]
            if math.isnan(m):
                out[-1] = (step, low, high, mean)
            elif math.isnan(mean):
                out[-1] = (step, a, b, m)
            else:
                out[-1] = (step, min(a, low), max(b, high), (m + mean) / 2)
        else:
            out.append((step, low, high, mean))
    return out


def curve_of(slices: list[Slice] | tuple[Slice, ...], stride: int, newest: float | None = None) -> Curve:
    """The slices as columns."""
    if not slices:
        return Curve()
    steps, lows, highs, values = zip(*slices, strict=True)
    return Curve(steps, values, lows, highs, stride, newest) if stride > 1 else Curve(steps, values, newest=newest)


def read_window(db: Database, job_id: int, name: str, first: float, last: float, most: int = MOST) -> Curve:
    """A part of a curve, finer than the whole one where the run is long."""
    from alpaca_tui.store import metrics

    low, high = max(0, math.floor(first)), math.ceil(last)
    stride = stride_for(high - low, most)
    return curve_of(metrics.slices(db, job_id, name, stride, first=low, last=high).rows, stride)


def read_whole(db: Database, job_id: int, name: str) -> Curve:
    """A whole curve, once."""
    return GrowingCurve(job_id, name).extend(db)


def spliced(whole: Curve, part: Curve) -> Curve:
    """The whole curve with the finer part in the place of its own slices; smoothing still has what comes before."""
    if not part.steps or part.stride >= whole.stride:
        return whole
    start, end = part.steps[0], part.steps[-1]
    before = [i for i, step in enumerate(whole.steps) if step < start]
    after = [i for i, step in enumerate(whole.steps) if step > end]

    def column(coarse: tuple[float, ...], fine: tuple[float, ...]) -> tuple[float, ...]:
        return (*(coarse[i] for i in before), *fine, *(coarse[i] for i in after))

    steps = (*(whole.steps[i] for i in before), *part.steps, *(whole.steps[i] for i in after))
    lows, highs = (part.lows or part.values), (part.highs or part.values)
    return Curve(
        steps,
        column(whole.values, part.values),
        column(whole.lows or whole.values, lows),
        column(whole.highs or whole.values, highs),
        part.stride,
        whole.newest,
    )
