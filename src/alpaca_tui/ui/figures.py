"""Numbers as people read them."""

from __future__ import annotations

import math
import time


def duration(seconds: float | None) -> str:
    """'4 s', '3 min', '2 h 05', '3 d': one glance, no false precision; a dash for None."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    s = max(0, round(seconds))
    if s < 100:
        return f"{s} s"
    if s < 100 * 60:
        return f"{round(s / 60)} min"
    if s < 48 * 3600:
        return f"{s // 3600} h {s % 3600 // 60:02d}"
    return f"{s // 86400} d"


def size(count: float) -> str:
    """Bytes in the unit that keeps the number short: '812 MB', '4.2 GB' (powers of 1,000)."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def share(part: float, whole: float) -> str:
    """'54 %', or a dash where there is no whole."""
    return "–" if whole <= 0 else f"{100 * part / whole:.0f} %"


def number(value: float | None, digits: int = 3) -> str:
    """A metric to ``digits`` decimals; small ones in scientific notation; a dash for none, 'NaN' for NaN."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf"
    if value != 0 and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


def clock(at: float | None) -> str:
    """Local time of day, with the date when it is not today's."""
    if at is None:
        return "–"
    then = time.localtime(at)
    same_day = time.strftime("%F", then) == time.strftime("%F", time.localtime(time.time()))
    return time.strftime("%H:%M:%S" if same_day else "%d %b %H:%M", then)
