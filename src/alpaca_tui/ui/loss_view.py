"""The loss of a run in lines: figures, chart, legend, and what stands under the cursor."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from alpaca_tui.ui import charts
from alpaca_tui.ui.figures import number
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import literal_line
from alpaca_tui.ui.looking import Limits, Look
from alpaca_tui.ui.snapshot import TrainingView

OTHER_STYLES = ("$primary", "$success", "$secondary", "$warning")
SIGNS = "ABCD"
"""Letters of the runs that are drawn over the one shown; a letter tells them apart, the colour only helps."""


def figures(training: TrainingView) -> Content:
    """Step, losses and learning rate as they are now."""
    loss, held_out = training.curve("loss"), training.curve("eval_loss")
    if not loss.steps:
        activity = training.job.live[0].activity if training.job.live else training.job.row.state
        return literal_line(activity, "$muted")
    planned = planned_steps(training)
    parts: list[tuple[str, str]] = [
        ("step ", "$muted"), (f"{loss.steps[-1]}{f'/{planned}' if planned else ''}", "bold"),
        ("  loss ", "$muted"), (number(loss.last), "bold $smooth"),
    ]  # fmt: skip
    if held_out.steps:
        parts += [("  held-out ", "$muted"), (number(held_out.last), "bold $held-out")]
    rate = training.curve("learning_rate").last
    if rate is not None:
        parts += [("  lr ", "$muted"), (f"{rate:.1e}", "")]
    return Content.assemble(*parts)


def planned_steps(training: TrainingView) -> int:
    """The optimiser steps that were asked for; 0 where epochs decide and none is known."""
    planned = training.job.row.spec.get("overrides", {}).get("max_steps")
    if planned:
        return int(planned)
    progress, steps = training.job.progress, training.curve("loss").steps
    return round(steps[-1] / progress) if progress and steps else 0


def limits(training: TrainingView) -> Limits:
    """(first, last) step of the whole chart."""
    curves = [c for c in (training.curve("loss"), training.curve("eval_loss")) if c.steps]
    if not curves:
        return 0.0, 1.0
    return min(c.steps[0] for c in curves), max(planned_steps(training), *(c.steps[-1] for c in curves))


def loss_curves(training: TrainingView, look: Look) -> list[charts.Curve]:
    """Raw as a band from the lowest to the highest, smoothed over it, held-out as marks."""
    loss, held_out = training.curve("loss"), training.curve("eval_loss")
    curves = [charts.Curve(loss.steps, loss.values, "$raw", lows=loss.lows, highs=loss.highs)]
    if look.smoothing:
        values = charts.smoothed(loss.values, look.smoothing, loss.stride)
        curves.append(charts.Curve(loss.steps, values, "$smooth bold"))
    return [*curves, charts.Curve(held_out.steps, held_out.values, "$held-out bold", "points")]


def overlaid(others: Sequence[TrainingView], look: Look) -> list[charts.Curve]:
    """The other runs' smoothed losses, each with its letter."""
    curves = []
    for other, sign, style in zip(others, SIGNS, OTHER_STYLES, strict=False):
        loss = other.curve("loss")
        values = charts.smoothed(loss.values, look.smoothing or 0.9, loss.stride)
        curves.append(charts.Curve(loss.steps, values, style, sign=sign))
    return curves


def loss_lines(
    training: TrainingView,
    width: int,
    height: int,
    glyphs: Glyphs,
    look: Look | None = None,
    others: Sequence[TrainingView] = (),
) -> list[Content]:
    """Figures or read-out, the chart of raw, smoothed and held-out loss, and a legend."""
    look = look or Look()
    job = training.job
    told = figures(training) if look.cursor is None else read_out(training, look, look.cursor, others)
    head = [Content.assemble((f"{job.letter}{job.row.id} ", "bold"), told).truncate(width, ellipsis=True)]
    if not job.active and job.row.state != "succeeded" and job.row.reason:
        head.append(Content.assemble((f"{glyphs.cross} ", "$error bold"), literal_line(job.row.reason, "$muted")))
    curves = [*overlaid(others, look), *loss_curves(training, look)]
    room = height - len(head) - (1 if height > 6 else 0)
    end = max(planned_steps(training), *(c.steps[-1] for c in curves if c.steps), 0)
    chart = charts.line_chart(curves, width, room, glyphs, last=end, axes=look.axes)
    if not chart and look.window is not None and training.curve("loss").steps and room > 2:
        chart = [Content.styled("No value in this window: 0 shows all steps again.", "$muted")]
    legend = _legend(training, look, others, glyphs).truncate(width, ellipsis=True)
    return [*head, *chart, legend] if chart and height > 6 else [*head, *chart]


def read_out(training: TrainingView, look: Look, cursor: float, others: Sequence[TrainingView]) -> Content:
    """Step and values under the cursor."""
    parts: list[tuple[str, str]] = [("at ", "$muted"), (f"{cursor:.0f}", "bold $accent")]
    named = [("raw", "bold"), ("smoothed", "bold $smooth"), ("held-out", "bold $held-out")]
    if not look.smoothing:
        del named[1]
    for (name, style), curve in zip(named, loss_curves(training, look), strict=True):
        found = charts.value_at(curve, cursor)
        if found is not None:
            parts += [(f"  {name} ", "$muted"), (number(found[1]), style)]
    rate = training.curve("learning_rate")
    found = charts.value_at(charts.Curve(rate.steps, rate.values, ""), cursor)
    if found is not None:
        parts += [("  lr ", "$muted"), (f"{found[1]:.1e}", "")]
    for curve in overlaid(others, look):
        found = charts.value_at(curve, cursor)
        if found is not None:
            parts += [(f"  {curve.sign} ", f"{curve.style} bold"), (number(found[1]), "")]
    return Content.assemble(*parts)


def _legend(training: TrainingView, look: Look, others: Sequence[TrainingView], glyphs: Glyphs) -> Content:
    parts: list[tuple[str, str]] = [
        (" " * charts.AXIS_WIDTH + ("⣿" if glyphs.braille else "'") + " raw  ", "$raw"),
    ]
    if look.smoothing:
        weight = "" if look.smoothing == Look().smoothing else f" {look.smoothing:g}"
        parts.append((("⠤⠤" if glyphs.braille else "*") + f" smoothed{weight}  ", "$smooth"))
    if training.curve("eval_loss").steps:
        parts.append((f"{glyphs.mark} held-out  ", "$held-out"))
    for other, sign, style in zip(others, SIGNS, OTHER_STYLES, strict=False):
        parts.append((f"{sign} job {other.job.row.id}  ", style))
    if look.log:
        parts.append(("log axis  ", "$muted"))
    if look.window is not None:
        parts.append((f"steps {look.window[0]:.0f} to {look.window[1]:.0f}", "$muted"))
    return Content.assemble(*parts)
