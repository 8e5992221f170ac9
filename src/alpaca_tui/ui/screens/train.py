"""Train: the curves of a run, its plan against what is really used, checkpoints, events, data sets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from alpaca_tui.store import datasets
from alpaca_tui.ui import looking, run_facts
from alpaca_tui.ui.curves import MOST, stride_for
from alpaca_tui.ui.loss_view import SIGNS, limits
from alpaca_tui.ui.run_reader import RunReader
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.sending import Text
from alpaca_tui.ui.session import Place
from alpaca_tui.ui.snapshot import JobView, Snapshot, TrainingView
from alpaca_tui.ui.widgets.chart import CurvePane, LossChart, RateChart
from alpaca_tui.ui.widgets.lines import TextView

if TYPE_CHECKING:
    from alpaca_tui.store.datasets import DatasetRow

WIDE_FROM = 100
RATES_FROM = 34
"""Rows from which the small charts have room."""
DETAILS_EVERY_S = 3.0
ZOOM = 1.6
PAN = 0.25


class TrainScreen(AppScreen):
    """Curves at the left, facts at the right; below 100 columns the facts under the curves."""

    NAME = "train"

    def __init__(self) -> None:
        super().__init__()
        self.look = looking.Look()
        self._shown: int | None = None
        self._drawn: object = None
        self._datasets: list[DatasetRow] = []
        self._reader = RunReader(self)
        self._zoomed = False
        self._looked_at: int | None = None
        """The run that was shown when the cockpit was left."""

    def compose_body(self) -> ComposeResult:
        """Facts and charts."""
        glyphs = self.cockpit.glyphs
        with Container(id="train-body", classes="split"):
            with Vertical(id="train-charts"):
                yield LossChart(glyphs, id="train-loss")
                yield RateChart(glyphs, id="train-rates")
            yield TextView(id="train-facts", classes="pane")

    def on_mount(self) -> None:
        """Name the boxes; look for checkpoints and events now and then."""
        for name, title in (("facts", "Run and data sets"), ("loss", "Loss"), ("rates", "Learning rate and gradient")):
            self.query_one(f"#train-{name}").border_title = title
        super().on_mount()
        self.set_interval(DETAILS_EVERY_S, self._look_again)

    def remember(self) -> dict[str, Any]:
        """The run, and how its curves are looked at."""
        look = self.look
        return {
            "run": self._shown,
            "of": self.job.row.id if self.job is not None else None,
            "zoomed": self._zoomed,
            "window": look.window,
            "cursor": None if look.cursor is None else round(look.cursor),
            "log": look.log,
            "smoothing": looking.SMOOTHINGS.index(look.smoothing),
            "overlay": look.overlay,
        }

    def recall(self, place: Place) -> None:
        """The same run, looked at in the same way."""
        self._shown, self._zoomed, self._looked_at = place.whole("run"), place.flag("zoomed"), place.whole("of")
        smoothing = looking.SMOOTHINGS[place.whole("smoothing", high=len(looking.SMOOTHINGS) - 1) or 0]
        ends, cursor = place.numbers("window"), place.whole("cursor")
        window = (ends[0], ends[1]) if len(ends) == 2 and ends[0] < ends[1] else None
        at = None if cursor is None else float(cursor)
        self.look = looking.Look(window, at, place.flag("log"), smoothing, place.flag("overlay"))

    def _look_as_before(self) -> None:
        """Read what the look that was recalled needs; a window into another run means nothing."""
        job, look = self.job, self.look
        if job is None or self._looked_at is None:
            return
        if job.row.id != self._looked_at:
            look = self.look = replace(look, window=None, cursor=None)
        for run in self._runs[: len(SIGNS) + 1] if look.overlay else [job]:
            self._reader.read_run(run)
        if look.window is not None:
            self._reader.read_window(job, look.window)
        self.draw()

    def on_resize(self) -> None:
        """Side by side or one over the other; a low screen leaves the small charts out."""
        self.query_one("#train-body").set_class(self.size.width < WIDE_FROM, "-stacked")
        self.query_one("#train-rates").set_class(self.size.height < RATES_FROM, "-away")
        self.query_one("#train-facts").set_class(self._zoomed, "-away")
        self.call_after_refresh(self._draw_facts)

    @property
    def _runs(self) -> list[JobView]:
        return [j for j in self.snapshot.jobs if j.row.kind == "train"]

    @property
    def job(self) -> JobView | None:
        """The run that is shown: the chosen one, else the newest."""
        chosen = self.snapshot.job(self._shown) if self._shown is not None else None
        return chosen or (self.snapshot.training.job if self.snapshot.training else None)

    @property
    def training(self) -> TrainingView | None:
        """The run shown with its curves, as fine as the window needs and as they are read by now."""
        job, newest = self.job, self.snapshot.training
        if job is None:
            return None
        if newest is None or newest.job.row.id != job.row.id:
            newest = self._reader.run(job)
        return self._reader.refined(newest, self.look.window)

    @property
    def others(self) -> list[TrainingView]:
        """The runs that are drawn over the one shown, newest first."""
        job = self.job
        if not self.look.overlay or job is None:
            return []
        ids = [j for j in self._runs if j.row.id != job.row.id][: len(SIGNS)]
        newest = self.snapshot.training
        return [newest if newest and newest.job.row.id == j.row.id else self._reader.run(j) for j in ids]

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Draw the run where it, the data sets or the machine have changed."""
        if not snapshot.loaded:
            return
        news = (snapshot.facts.datasets, snapshot.facts.training, snapshot.facts.measured, self.job, snapshot.machine)
        if news == self._drawn:
            return
        if self._drawn is None or news[0] != self._drawn[0]:  # type: ignore[index]
            self._datasets = self.in_store(datasets.all_datasets) or []
        first = self._drawn is None
        self._drawn = news
        self.draw()
        if first:
            self._look_again()
            self._look_as_before()

    def draw(self) -> None:
        """Curves and facts, from what is known."""
        training, others = self.training, self.others
        for pane in self.query(CurvePane):
            pane.show(training, self.look, others)
        self._draw_facts()

    def _draw_facts(self) -> None:
        view = self.query_one("#train-facts", TextView)
        width = view.scrollable_content_region.width
        if width <= 0:
            return
        job, runs = self.job, self._runs
        place = (next((i for i, j in enumerate(runs, 1) if job and j.row.id == job.row.id), 0), len(runs))
        details = self._reader.details(job)
        snapshot, glyphs = self.snapshot, self.cockpit.glyphs
        lines = run_facts.all_lines(self.training, details, snapshot.machine, self._datasets, place, width, glyphs)
        view.show(lines, keep_place=True)

    def _look_again(self) -> None:
        if self.is_current and self.job is not None:
            self._reader.read_details(self.job)

    # Looking ------------------------------------------------------------------------------------------------------

    def _see(self, look: looking.Look) -> None:
        """Look at the curves in another way; read them finer where the window asks for it."""
        if look == self.look:
            return
        self.look = look
        training = self.training
        if training is not None and look.window is not None:
            length = look.window[1] - look.window[0]
            if stride_for(round(length), MOST) < training.curve("loss").stride:
                self._reader.read_window(training.job, look.window)
        self.draw()

    def _limits(self) -> looking.Limits:
        found = [limits(t) for t in (self.training, *self.others) if t is not None]
        return (min(f for f, _ in found), max(last for _, last in found)) if found else (0.0, 1.0)

    def _columns(self) -> int:
        return self.query_one(LossChart).columns

    def action_zoom_in(self) -> None:
        """Closer."""
        self._see(looking.zoomed(self.look, self._limits(), ZOOM))

    def action_zoom_out(self) -> None:
        """Further off."""
        self._see(looking.zoomed(self.look, self._limits(), 1 / ZOOM))

    def action_whole(self) -> None:
        """All steps, no cursor."""
        self._see(replace(self.look, window=None, cursor=None))

    def action_pan(self, direction: int) -> None:
        """A quarter of the window to one side."""
        self._see(looking.panned(self.look, self._limits(), direction * PAN))

    def action_cursor(self, direction: int) -> None:
        """The cursor one cell further."""
        self._see(looking.moved(self.look, self._limits(), self._columns(), direction))

    def action_log(self) -> None:
        """Logarithmic or linear values."""
        self._see(replace(self.look, log=not self.look.log))

    def action_smooth(self) -> None:
        """The next weight of the moving average."""
        self._see(looking.next_smoothing(self.look))

    def action_overlay(self) -> None:
        """The other runs over this one, or not."""
        if len(self._runs) < 2:
            self.cockpit.say("There is no other training run.")
            return
        look = replace(self.look, overlay=not self.look.overlay)
        if look.overlay:
            for job in self._runs[: len(SIGNS) + 1]:
                self._reader.read_run(job)
        self._see(look)

    def action_zoom(self) -> None:
        """The curves alone, or the facts beside them."""
        self._zoomed = not self._zoomed
        self.query_one("#train-facts").set_class(self._zoomed, "-away")

    @on(CurvePane.Wheeled)
    def _wheeled(self, event: CurvePane.Wheeled) -> None:
        first, last = self.look.window or self._limits()
        if event.sideways:
            self._see(looking.panned(self.look, self._limits(), -event.direction * PAN))
            return
        factor = ZOOM if event.direction > 0 else 1 / ZOOM
        self._see(looking.zoomed(self.look, self._limits(), factor, first + event.at * (last - first)))

    @on(CurvePane.Pointed)
    def _pointed(self, event: CurvePane.Pointed) -> None:
        first, last = self.look.window or self._limits()
        self._see(looking.pointed(self.look, self._limits(), first + event.at * (last - first)))

    # Work ---------------------------------------------------------------------------------------------------------

    def sendable(self) -> Text | None:
        """What is known of the run shown."""
        job = self.job
        if job is None:
            return None
        return Text(f"facts of job {job.row.id}", self.query_one("#train-facts", TextView).unwrapped + "\n")

    def action_freeze(self) -> None:
        """Freeze a data set."""
        self.cockpit.forms.freeze()

    def action_train(self) -> None:
        """Start a fine-tune."""
        self.cockpit.forms.train()

    def action_stop(self) -> None:
        """Stop the run shown."""
        self.stop_job(self.job)

    def action_resume(self) -> None:
        """Go on with the run shown."""
        self.resume_job(self.job)

    def action_other(self) -> None:
        """Show the next run."""
        ids = [j.row.id for j in self._runs]
        if len(ids) < 2 or self.job is None:
            self.cockpit.say("There is no other training run.")
            return
        self._shown = ids[(ids.index(self.job.row.id) + 1) % len(ids)]
        self.look = replace(self.look, window=None, cursor=None)
        if self.job is not None:
            self._reader.read_run(self.job)
            self._reader.read_details(self.job)
        self.draw()
