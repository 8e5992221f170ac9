"""Train: data sets, the runs, and the curves of the one that is shown."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content

from alpaca_tui.store import datasets
from alpaca_tui.store.datasets import DatasetRow
from alpaca_tui.ui import charts, reader
from alpaca_tui.ui.figures import clock, duration, number
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import literal_line
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.snapshot import JobView, Snapshot, TrainingView
from alpaca_tui.ui.widgets.lines import EMPTY, LinesView
from alpaca_tui.ui.widgets.panes import loss_lines, planned_steps, progress_bar

WIDE_FROM = 100


class RunView(LinesView):
    """A part of the screen that draws one training run."""

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:
        super().__init__(id=id, classes="pane")
        self.glyphs = glyphs
        self.training: TrainingView | None = None

    def show(self, training: TrainingView | None) -> None:
        """Show another run, or the same one further on."""
        self.training = training
        self.update_lines()


class LossChart(RunView):
    """Loss raw, smoothed and held-out."""

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """The chart, or what to do to get one."""
        if self.training is None:
            return [
                Content("No training yet."),
                EMPTY,
                Content.assemble(("f", "$accent bold"), " freezes the accepted samples as a data set,"),
                Content.assemble(("n", "$accent bold"), " then starts a fine-tune on it."),
            ]
        return loss_lines(self.training, width, height, self.glyphs)


class RateChart(RunView):
    """Learning rate and gradient norm."""

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """Two small charts side by side."""
        if self.training is None:
            return []
        half = (width - 2) // 2
        left = self._chart("learning_rate", "learning rate", "$secondary", half, height)
        right = self._chart("grad_norm", "gradient norm", "$primary", half, height)
        rows = max(len(left), len(right))
        left += [EMPTY] * (rows - len(left))
        right += [EMPTY] * (rows - len(right))
        return [
            Content.assemble(a.truncate(half).extend_right(max(0, half - a.cell_length)), "  ", b)
            for a, b in zip(left, right, strict=True)
        ]

    def _chart(self, name: str, title: str, style: str, width: int, height: int) -> list[Content]:
        assert self.training is not None
        curve = self.training.curve(name)
        head = Content.assemble((f"{title} ", "$muted"), ("–" if curve.last is None else f"{curve.last:.3g}", "bold"))
        drawn = [charts.Curve(curve.steps, curve.values, style)]
        return [head, *charts.line_chart(drawn, width, height - 1, self.glyphs, last=planned_steps(self.training))]


class TrainFacts(RunView):
    """The data sets and the run in words."""

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:
        super().__init__(glyphs, id=id)
        self.datasets: list[DatasetRow] = []
        self.place = (0, 0)

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """Run first, then the data sets, newest first."""
        lines = [*run_lines(self.training, self.place, width, self.glyphs), EMPTY] if self.training else []
        lines.append(Content.styled("DATA SETS", "$accent bold"))
        if not self.datasets:
            lines.append(Content.styled("none yet; f freezes one", "$muted"))
        for row in reversed(self.datasets):
            sizes = f"{row.card.get('train', '?')} + {row.card.get('held_out', '?')} held out"
            name = literal_line(row.name, "bold").truncate(max(6, width - len(sizes) - 2), ellipsis=True)
            lines.append(Content.assemble(name, (f"  {sizes}", "$muted")))
            lines.append(Content.styled(f"  {row.content_hash[:12]}  {clock(row.created_at)}", "$faint"))
        return lines


def run_lines(training: TrainingView, place: tuple[int, int], width: int, glyphs: Glyphs) -> list[Content]:
    """A run in words: state, what was asked, progress."""
    job, row = training.job, training.job.row
    which = f"  {place[0]} of {place[1]}" if place[1] > 1 else ""
    lines = [Content.assemble((f"RUN {row.id}", "$accent bold"), (which, "$faint"), f"  {row.state}")]
    if job.active:
        progress = job.progress or 0.0
        tail = f" {100 * progress:.0f} %"
        lines.append(progress_bar(progress, max(4, width - len(tail)), glyphs, tail))
        lines += [literal_line(s.activity, "$muted") for s in job.live[:4]]
    elif row.finished_at and row.started_at:
        lines.append(Content.styled(f"took {duration(row.finished_at - row.started_at)}", "$muted"))
    asked = {k: row.spec.get(k) for k in ("model", "dataset", "method")} | row.spec.get("overrides", {})
    for key, value in asked.items():
        lines.append(
            Content.assemble((f"{key:<12}", "$faint"), literal_line(str(value))).truncate(width, ellipsis=True)
        )
    for key in ("loss_first", "loss_last", "eval_loss_first", "eval_loss_last"):
        value = (row.result or {}).get(key)
        if isinstance(value, float):
            name = key.replace("eval_loss", "held-out").replace("_", " ")
            lines.append(Content.assemble((f"{name:<16}", "$faint"), (number(value), "bold")))
    return lines


class TrainScreen(AppScreen):
    """Curves at the left, facts at the right; below 100 columns the facts under the curves."""

    NAME = "train"

    def __init__(self) -> None:
        super().__init__()
        self._shown: int | None = None
        self._drawn: object = None

    def compose_body(self) -> ComposeResult:
        """Facts and charts."""
        glyphs = self.cockpit.glyphs
        with Container(id="train-body", classes="split"):
            with Vertical(id="train-charts"):
                yield LossChart(glyphs, id="train-loss")
                yield RateChart(glyphs, id="train-rates")
            yield TrainFacts(glyphs, id="train-facts")

    def on_mount(self) -> None:
        """Name the boxes."""
        for name, title in (("facts", "Run and data sets"), ("loss", "Loss"), ("rates", "Learning rate and gradient")):
            self.query_one(f"#train-{name}").border_title = title
        super().on_mount()

    def on_resize(self) -> None:
        """Side by side or one over the other; a low screen leaves the small charts out."""
        self.query_one("#train-body").set_class(self.size.width < WIDE_FROM, "-stacked")
        self.query_one("#train-rates").set_class(self.size.height < 34, "-away")

    @property
    def _runs(self) -> list[JobView]:
        return [j for j in self.snapshot.jobs if j.row.kind == "train"]

    @property
    def job(self) -> JobView | None:
        """The run that is shown: the chosen one, else the newest."""
        chosen = self.snapshot.job(self._shown) if self._shown is not None else None
        return chosen or (self.snapshot.training.job if self.snapshot.training else None)

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Draw the run; an older one is read from the store once."""
        if not snapshot.loaded:
            return
        job = self.job
        news = (snapshot.facts.datasets, snapshot.facts.training, job)
        if news == self._drawn:
            return
        self._drawn = news
        facts = self.query_one("#train-facts", TrainFacts)
        facts.datasets = self.in_store(datasets.all_datasets) or []
        runs = self._runs
        facts.place = (next((i for i, j in enumerate(runs, 1) if j == job), 0), len(runs))
        training = self._training(snapshot, job)
        for view in self.query(RunView):
            view.show(training)

    def _training(self, snapshot: Snapshot, job: JobView | None) -> TrainingView | None:
        newest = snapshot.training
        if job is None or (newest is not None and newest.job.row.id == job.row.id):
            return newest
        curves = self.in_store(lambda db: {name: reader.read_curve(db, job.row.id, name) for name in reader.METRICS})
        return TrainingView(job, curves or {})

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
        self.show_snapshot(self.snapshot)
