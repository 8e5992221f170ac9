"""Evaluate: models side by side, in figures and in what they wrote."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content

from alpaca_tui.store import datasets, evaluations
from alpaca_tui.store.datasets import Example
from alpaca_tui.store.evaluations import EvaluationItem, EvaluationRow
from alpaca_tui.ui.figures import clock, number
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import MAX_SHOWN, literal, literal_line
from alpaca_tui.ui.review_card import heading, named
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.snapshot import Snapshot
from alpaca_tui.ui.widgets.lines import EMPTY, LinesView, TextView

WIDE_FROM = 110
COLUMNS = (("held_out_loss", "held-out loss", False), ("rouge_l", "ROUGE-L", True))
"""(metric, title, whether more is better)."""
TABLE_ROWS = 12


class EvaluationTable(LinesView):
    """A line a model, the best figure of each job marked."""

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="evaluation-table", classes="pane")
        self._glyphs = glyphs
        self._rows: list[EvaluationRow] = []

    def show(self, rows: list[EvaluationRow]) -> None:
        """Show other evaluations."""
        self._rows = rows
        self.update_lines()

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """Header and rows, newest job first."""
        if not self._rows:
            return [
                Content("Nothing evaluated yet."),
                Content.assemble(("n", "$accent bold"), (" scores models on held-out tasks", "$muted")),
            ]
        return table_lines(self._rows, width, self._glyphs)[:height]


def table_lines(rows: Sequence[EvaluationRow], width: int, glyphs: Glyphs) -> list[Content]:
    """The table; a star marks the better figure within one job."""
    name_width = max(16, min(34, width - 56))
    head = f"  {'job':<5}{'model':<{name_width}}" + "".join(f"{title:>15}" for _, title, _ in COLUMNS)
    lines = [Content.styled(f"{head}   {'data set':<14}", "$muted underline")]
    for row in sorted(rows, key=lambda r: (-r.job_id, r.id)):
        peers = [r for r in rows if r.job_id == row.job_id]
        name = literal_line(row.model, "bold").truncate(name_width - 1, ellipsis=True)
        parts: list[Content | tuple[str, str]] = [
            (f"  {row.job_id:<5}", "$faint"), name, (" " * (name_width - name.cell_length), ""),
        ]  # fmt: skip
        for metric, _, more in COLUMNS:
            value = row.metrics.get(metric)
            best = len(peers) > 1 and value is not None and value == _best(peers, metric, more)
            mark = f" {glyphs.check}" if best else "  "
            parts.append((f"{number(value):>13}{mark}", "$success bold" if best else ""))
        parts.append(literal_line(f"   {row.suite}", "$muted"))
        lines.append(Content.assemble(*parts).truncate(width))
    return lines


def _best(rows: Sequence[EvaluationRow], metric: str, more: bool) -> float | None:
    values = [v for r in rows if (v := r.metrics.get(metric)) is not None]
    if not values:
        return None
    return max(values) if more else min(values)


class EvaluateScreen(AppScreen):
    """The table above; one held-out task and every model's output for it below."""

    NAME = "evaluate"
    AUTO_FOCUS = "#task"

    def __init__(self) -> None:
        super().__init__()
        self._seen: object = None
        self._rows: list[EvaluationRow] = []
        self._examples: list[Example] = []
        self._outputs: list[dict[int, EvaluationItem]] = []
        self._place = 0

    def compose_body(self) -> ComposeResult:
        """Table, task, up to two outputs."""
        yield EvaluationTable(self.cockpit.glyphs)
        with Container(id="outputs"):
            for name in ("task", "output-0", "output-1"):
                yield TextView(id=name, classes="pane")

    def on_mount(self) -> None:
        """Name the table."""
        self.query_one(EvaluationTable).border_title = "Models side by side"
        super().on_mount()

    def on_resize(self) -> None:
        """Outputs beside the task, or below it in one text."""
        for name in ("#output-0", "#output-1"):
            self.query_one(name).set_class(self.size.width < WIDE_FROM, "-away")
        self._draw_task()

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Read the evaluations again where there are more."""
        if not snapshot.loaded or snapshot.facts.evaluations == self._seen:
            return
        self._seen = snapshot.facts.evaluations
        self._rows = self.in_store(evaluations.all_evaluations) or []
        table = self.query_one(EvaluationTable)
        table.styles.height = min(len(self._rows) + 1, TABLE_ROWS) + 2 if self._rows else 5
        table.show(self._rows)
        self._read_outputs()
        self._draw_task()

    @property
    def _compared(self) -> list[EvaluationRow]:
        """The models of the newest job, two at most."""
        if not self._rows:
            return []
        newest = self._rows[-1].job_id
        return [r for r in self._rows if r.job_id == newest][-2:]

    def _read_outputs(self) -> None:
        compared = self._compared
        self._outputs, self._examples = [], []
        if not compared:
            return
        for row in compared:
            items = self.in_store(lambda db, row=row: evaluations.items(db, row.id)) or []  # type: ignore[misc]
            self._outputs.append({item.position: item for item in items})
        known = set().union(*self._outputs)
        rows = self.in_store(lambda db: datasets.examples(db, compared[0].dataset_id, "held_out")) or []
        self._examples = [e for e in rows if e.position in known]
        self._place = min(self._place, max(0, len(self._examples) - 1))

    def _draw_task(self) -> None:
        task = self.query_one("#task", TextView)
        task.border_title = "Held-out task"
        if not self._examples:
            task.show([Content.styled("What the models wrote for each held-out task is shown here.", "$muted")])
            for name in ("#output-0", "#output-1"):
                self.query_one(name, TextView).show([])
            return
        example = self._examples[self._place]
        task.border_title = f"Held-out task {self._place + 1} of {len(self._examples)}"
        paragraphs = [heading("Instruction"), literal(example.instruction, limit=MAX_SHOWN)]
        if example.input:
            paragraphs += [EMPTY, heading("Input"), literal(example.input, limit=MAX_SHOWN)]
        paragraphs += [EMPTY, heading("Reference"), literal(example.output, limit=MAX_SHOWN)]
        for place, (row, outputs) in enumerate(zip(self._compared, self._outputs, strict=True)):
            written = _output(row, outputs.get(example.position))
            paragraphs += [] if self.size.width >= WIDE_FROM else [EMPTY, *written]
            view = self.query_one(f"#output-{place}", TextView)
            view.border_title = "Tuned" if row.model.startswith("job:") else "Base"
            view.show(written)
        task.show(paragraphs)

    def _step(self, by: int) -> None:
        if self._examples:
            self._place = (self._place + by) % len(self._examples)
            self._draw_task()

    def action_next_item(self) -> None:
        """The next held-out task."""
        self._step(1)

    def action_previous_item(self) -> None:
        """The held-out task before."""
        self._step(-1)

    def action_evaluate(self) -> None:
        """Start an evaluation."""
        self.cockpit.forms.evaluate()

    def action_stop(self) -> None:
        """Stop the evaluation."""
        self.stop_job(self.snapshot.newest("evaluate"))


def _output(row: EvaluationRow, item: EvaluationItem | None) -> list[Content]:
    if item is None:
        return [named(row.model), Content.styled("no output for this task", "$muted")]
    score = f"ROUGE-L {item.rouge_l:.3f}, {clock(row.created_at)}"
    return [named(row.model, score), literal(item.output, limit=MAX_SHOWN)]
