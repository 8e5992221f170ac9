"""The funnel as bars: every step from response to accepted, every rule with what it took out."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content

from alpaca_tui.core.records import Funnel
from alpaca_tui.ui import charts
from alpaca_tui.ui.figures import share
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import literal_line


@dataclass(frozen=True, slots=True)
class Step:
    """One row: a step of the funnel, or (``loss``) what a rule took out of it."""

    label: str
    count: int
    style: str
    loss: bool = False
    of: int = 0
    """What the share is of; 0: none is shown."""


def steps(f: Funnel) -> list[Step]:
    """The rows in the order in which a sample passes them; empty losses are left out."""
    rows = [
        Step("responses", f.completions, "$primary"),
        Step("unreadable", f.unparsed, "$error", True, f.completions),
        Step("candidates", f.candidates, "$primary"),
        *(Step(rule, n, "$error", True, f.candidates) for rule, n in f.rejected.items()),
        Step("kept", f.kept, "$success", of=f.candidates),
        Step("waiting", f.waiting, "$muted", True, f.kept),
        Step("samples", f.samples, "$primary"),
        *(Step(rule, n, "$error", True, f.samples) for rule, n in f.filtered.items()),
        Step("pending", f.pending, "$accent", of=f.samples),
        Step("accepted", f.accepted, "$success", of=f.samples),
        Step("rejected", f.declined, "$warning", of=f.samples),
    ]
    return [row for row in rows if row.count or not row.loss]


def _fit(rows: list[Step], height: int) -> list[Step]:
    """The rows cut to ``height``: the smallest losses go first, into one row 'other rules'."""
    while len(rows) > height and any(row.loss for row in rows):
        losses = [row for row in rows if row.loss]
        rows = [row for row in rows if row is not min(losses, key=lambda row: row.count)]
    return rows[:height]


def lines(f: Funnel, width: int, height: int, glyphs: Glyphs) -> list[Content]:
    """The funnel in ``height`` lines of ``width`` cells."""
    rows = _fit(steps(f), height)
    top = max(row.count for row in rows)
    label_width = min(max(20, width * 2 // 5), max(len(row.label) + 2 * row.loss for row in rows)) + 1
    count_width = len(f"{top:,}") + 1
    bar_width = max(2, width - label_width - count_width - 7)
    return [_line(row, top, label_width, count_width, bar_width, glyphs).truncate(width) for row in rows]


def one_line(step: Step, rows: list[Step], width: int, glyphs: Glyphs) -> Content:
    """One row of the funnel ``rows``, as ``lines`` draws it."""
    top = max(row.count for row in rows)
    label_width = min(24, max(len(row.label) + 2 * row.loss for row in rows)) + 1
    count_width = len(f"{top:,}") + 1
    bar_width = max(2, width - label_width - count_width - 7)
    return _line(step, top, label_width, count_width, bar_width, glyphs).truncate(width)


def _line(row: Step, top: int, label_width: int, count_width: int, bar_width: int, glyphs: Glyphs) -> Content:
    lead = f"{glyphs.cross if row.style == '$error' else glyphs.dot} " if row.loss else ""
    name = literal_line(row.label.replace("_", " "))
    label = Content.assemble((lead, row.style), name).truncate(label_width - 1, ellipsis=True)
    part = share(row.count, row.of) if row.of else ""
    return Content.assemble(
        label.stylize("$muted" if row.loss else "bold"),
        " " * (label_width - label.cell_length),
        (f"{row.count:>{count_width - 1},} ", "" if row.loss else "bold"),
        (charts.bar(row.count, top, bar_width, glyphs), row.style),
        (f" {part}" if part else "", "$faint"),
    )
