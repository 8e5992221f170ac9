"""Panes with curves: they draw what they are given and say where the mouse points; keys belong to the screen."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.message import Message

from alpaca_tui.ui import charts
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.looking import Look
from alpaca_tui.ui.loss_view import loss_lines, planned_steps
from alpaca_tui.ui.snapshot import TrainingView
from alpaca_tui.ui.widgets.lines import EMPTY, LinesView


class CurvePane(LinesView):
    """Draws a run's curves as they are looked at."""

    class Wheeled(Message):
        """The wheel was turned over a chart: closer, further off, or (with shift) sideways; ``at`` is 0 to 1."""

        def __init__(self, at: float, direction: int, *, sideways: bool) -> None:
            super().__init__()
            self.at, self.direction, self.sideways = at, direction, sideways

    class Pointed(Message):
        """A place of a chart was clicked, from 0 at its left to 1."""

        def __init__(self, at: float) -> None:
            super().__init__()
            self.at = at

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:
        super().__init__(id=id, classes="pane")
        self.glyphs = glyphs
        self.training: TrainingView | None = None
        self.look = Look()
        self.others: tuple[TrainingView, ...] = ()

    def show(self, training: TrainingView | None, look: Look, others: Sequence[TrainingView] = ()) -> None:
        """Show a run in that light."""
        self.training, self.look, self.others = training, look, tuple(others)
        self.update_lines()

    @property
    def columns(self) -> int:
        """Cells of a plot."""
        return max(1, self.content_size.width - charts.AXIS_WIDTH)

    def _place(self, x: int) -> float | None:
        at = x - self.gutter.left - charts.AXIS_WIDTH
        return at / max(1, self.columns - 1) if 0 <= at < self.columns else None

    def _wheel(self, event: events.MouseScrollUp | events.MouseScrollDown, direction: int) -> None:
        at = self._place(event.x)
        if at is not None:
            event.stop()
            self.post_message(self.Wheeled(at, direction, sideways=event.shift or event.ctrl))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Closer."""
        self._wheel(event, 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Further off."""
        self._wheel(event, -1)

    def on_click(self, event: events.Click) -> None:
        """The cursor goes there."""
        at = self._place(event.x)
        if at is not None:
            self.post_message(self.Pointed(at))


class LossChart(CurvePane):
    """Loss raw, smoothed and held-out, other runs over it."""

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """The chart, or what to do to get one."""
        if self.training is None:
            return [
                Content("No training yet."),
                EMPTY,
                Content.assemble(("f", "$accent bold"), " freezes the accepted samples as a data set,"),
                Content.assemble(("n", "$accent bold"), " then starts a fine-tune on it."),
            ]
        return loss_lines(self.training, width, height, self.glyphs, self.look, self.others)


class RateChart(CurvePane):
    """Learning rate and gradient norm, side by side, over the same steps as the loss."""

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """Two small charts."""
        if self.training is None:
            return []
        half = (width - 2) // 2
        left = self._chart(self.training, "learning_rate", "learning rate", "$secondary", half, height)
        right = self._chart(self.training, "grad_norm", "gradient norm", "$primary", half, height)
        rows = max(len(left), len(right))
        left += [EMPTY] * (rows - len(left))
        right += [EMPTY] * (rows - len(right))
        return [
            Content.assemble(a.truncate(half).extend_right(max(0, half - a.cell_length)), "  ", b)
            for a, b in zip(left, right, strict=True)
        ]

    def _place(self, x: int) -> float | None:
        return None

    def _chart(
        self, training: TrainingView, name: str, title: str, style: str, width: int, height: int
    ) -> list[Content]:
        curve = training.curve(name)
        drawn = charts.Curve(curve.steps, curve.values, style, lows=curve.lows, highs=curve.highs)
        found = None if self.look.cursor is None else charts.value_at(drawn, self.look.cursor)
        value = curve.last if found is None else found[1]
        head = Content.assemble((f"{title} ", "$muted"), ("–" if value is None else f"{value:.3g}", "bold"))
        axes = self.look.axes if name == "grad_norm" else charts.Axes(self.look.window, False, self.look.cursor)
        lines = charts.line_chart([drawn], width, height - 1, self.glyphs, last=planned_steps(training), axes=axes)
        return [head, *lines]
