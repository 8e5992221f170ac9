"""Evaluate: models side by side, in figures and in what they wrote."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import combinations
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content

from alpaca_tui.core.query import TASKS, Query, QueryError, Value, holds, parse
from alpaca_tui.core.visible import printable
from alpaca_tui.store import comparisons, evaluations, suites
from alpaca_tui.store.comparisons import Standing
from alpaca_tui.store.evaluations import EvaluationItem, EvaluationRow
from alpaca_tui.store.suites import SuiteTask
from alpaca_tui.ui import evaluation_view
from alpaca_tui.ui.figures import duration
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import literal_line
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.sending import Text, labelled
from alpaca_tui.ui.session import Place
from alpaca_tui.ui.snapshot import JobView, Snapshot
from alpaca_tui.ui.widgets.ask import AskLine
from alpaca_tui.ui.widgets.lines import EMPTY, LinesView, TextView

WIDE_FROM = 110
TABLE_ROWS = 12
Pair = tuple[EvaluationRow, ...]

ORDERS: tuple[tuple[str, Callable[[float], float]], ...] = (
    ("in order", lambda gain: 0.0),
    ("most gained in ROUGE-L first", lambda gain: -gain),
    ("most lost in ROUGE-L first", lambda gain: gain),
)
"""How the tasks are gone through, by what the second model gains over the first."""


class EvaluationTable(LinesView):
    """A line a model, then one on the blind judgements, then one on the evaluation at work."""

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="evaluation-table", classes="pane")
        self._glyphs = glyphs
        self._rows: list[EvaluationRow] = []
        self._chosen: Pair = ()
        self._below: list[Content] = []
        self._hint = EMPTY

    def show(self, rows: list[EvaluationRow], chosen: Pair, below: list[Content], hint: Content) -> None:
        """Show other evaluations; ``hint`` stands where there are none."""
        self._rows, self._chosen, self._below, self._hint = rows, chosen, below, hint
        shown = min(len(rows), TABLE_ROWS) + 1 if rows else 2
        self.styles.height = shown + len(below) + 2
        self.update_lines()

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """Header and rows, newest job first."""
        if not self._rows:
            return [Content("Nothing evaluated yet."), self._hint, *self._below][:height]
        room = max(1, height - len(self._below))
        chosen = [row.id for row in self._chosen]
        lines = evaluation_view.table_lines(self._rows, chosen, width, self._glyphs)[:room]
        return [*lines, *(line.truncate(width, ellipsis=True) for line in self._below)]


class EvaluateScreen(AppScreen):
    """The table above; one held-out task and every model's output for it below."""

    NAME = "evaluate"
    AUTO_FOCUS = "#task"

    def __init__(self) -> None:
        super().__init__()
        self._seen: object = None
        self._rows: list[EvaluationRow] = []
        self._pairs: list[Pair] = []
        self._pair: Pair = ()
        self._all: list[SuiteTask] = []
        self._tasks: list[SuiteTask] = []
        """Those that the query finds, in order."""
        self._query = Query()
        self._items: list[dict[int, EvaluationItem]] = []
        self._standing: Standing | None = None
        self._hidden = True
        self._order = self._place = 0
        self._left = Place()
        """Where the screen was left the last time."""

    def compose_body(self) -> ComposeResult:
        """Table, task, up to two outputs."""
        yield AskLine()
        yield EvaluationTable(self.cockpit.glyphs)
        with Container(id="outputs"):
            for name in ("task", "output-0", "output-1"):
                yield TextView(id=name, classes="pane")

    def on_mount(self) -> None:
        """Name the table."""
        self.query_one(EvaluationTable).border_title = "Models side by side"
        super().on_mount()

    def remember(self) -> dict[str, Any] | None:
        """The two models, the order and the task."""
        if self._seen is None:
            return None
        place = {"order": self._order, "task": self._place, "query": str(self._query)}
        return place | {"pair": [row.id for row in self._pair]}

    def recall(self, place: Place) -> None:
        """The same task of the same two models, once they are read."""
        self._order = place.whole("order", high=len(ORDERS) - 1) or 0
        with suppress(QueryError):
            self._query = parse(place.text("query"), TASKS)
        self._left = place

    def _return_to_task(self) -> None:
        left, self._left = self._left, Place()
        pair = next((pair for pair in self._pairs if tuple(row.id for row in pair) == left.numbers("pair")), None)
        if pair is not None:
            self._choose(pair)
            self._place = left.whole("task", high=len(self._tasks) - 1) or 0
            self._draw_task()

    def on_resize(self) -> None:
        """Outputs beside the task, or below it in one text."""
        for name in ("#output-0", "#output-1"):
            self.query_one(name).set_class(self.size.width < WIDE_FROM, "-away")
        self._draw_task()

    # Reading ------------------------------------------------------------------------------------------------------

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Read the evaluations again where there are more."""
        if not snapshot.loaded:
            return
        if snapshot.facts.evaluations != self._seen:
            self._seen = snapshot.facts.evaluations
            self._rows = self.in_store(evaluations.all_evaluations) or []
            self._pairs = _pairs(self._rows)
            self._choose(self._pairs[0] if self._pairs else ())
            if self._left:
                self._return_to_task()
        self._draw_table()

    def on_screen_resume(self) -> None:
        """Somebody may have judged meanwhile."""
        self._read_standing()
        super().on_screen_resume()

    def _choose(self, pair: Pair) -> None:
        """Show these two models."""
        self._pair, self._place = pair, 0
        self._items = [self.in_store(lambda db, row=row: evaluations.items(db, row.id)) or {} for row in pair]  # type: ignore[misc]
        known = set().union(*self._items)
        tasks = self.in_store(lambda db: suites.tasks(db, pair[0].suite_id)) if pair else None
        self._all = [task for task in tasks or [] if task.position in known]
        self._sort()
        self._read_standing()
        self._draw_task()

    def _sort(self) -> None:
        key = ORDERS[self._order][1]
        self._tasks = [task for task in self._all if self._is_found(task)]
        self._tasks.sort(key=lambda task: (key(self._gain(task.position)), task.position))

    def _is_found(self, task: SuiteTask) -> bool:
        found = [items[task.position] for items in self._items if task.position in items]
        values: dict[str, Value] = {
            "kind": "classification" if task.is_classification else "generation",
            "rouge": found[-1].score.rouge_l if found else None,
            "gain": self._gain(task.position),
            "len": len(task.instruction.split()),
            "id": task.position,
        }
        return holds(self._query, values, task.instruction, task.input, task.output, *(item.output for item in found))

    def _gain(self, position: int) -> float:
        scores = [items[position].score.rouge_l if position in items else 0.0 for items in self._items]
        return scores[-1] - scores[0]

    def _read_standing(self) -> None:
        self._standing, self._hidden = None, True
        if len(self._pair) == 2:
            found = self.in_store(lambda db: comparisons.find_comparison(db, self._pair[0], self._pair[1]))
            if found is not None:
                self._standing = self.in_store(lambda _: found.standing())
                self._hidden = bool(self._standing and self._standing.left) and not found.revealed

    # Drawing ------------------------------------------------------------------------------------------------------

    def _draw_table(self) -> None:
        job = self.snapshot.newest("evaluate")
        below = [_at_work(job)] if job is not None and job.active else []
        if len(self._pair) == 2:
            below.append(evaluation_view.standing_line(self._standing, hidden=self._hidden))
        where = "held-out tasks" if self.snapshot.facts.datasets else "the seed tasks, for no data set is frozen yet"
        hint = Content.assemble(("n", "$accent bold"), (f" scores models on {where}", "$muted"))
        self.query_one(EvaluationTable).show(self._rows, self._pair, below, hint)

    def _draw_task(self) -> None:
        task = self.query_one("#task", TextView)
        task.border_title = "Task"
        if not self._tasks:
            none = Content.assemble("No task is found by ", literal_line(str(self._query), "bold"), ". esc shows all.")
            idle = Content.styled("What the models wrote for each task is shown here.", "$muted")
            task.show([none if self._all else idle])
            for name in ("#output-0", "#output-1"):
                self.query_one(name, TextView).show([])
            return
        example = self._tasks[self._place]
        held_out = "Held-out task" if self._pair[0].suite != suites.SEEDS else "Seed task"
        task.border_title = f"{held_out} {self._place + 1} of {len(self._tasks)}"
        asked = printable(str(self._query)).replace("[", "(")
        task.border_subtitle = ", ".join(
            part for part in (asked, ORDERS[self._order][0] if self._order else "") if part
        )
        paragraphs = evaluation_view.task_paragraphs(example)
        found = [items.get(example.position) for items in self._items]
        for place, row in enumerate(self._pair):
            other = found[1 - place] if len(found) == 2 else None
            answer = evaluation_view.answer_paragraphs(row, found[place], other)
            paragraphs += [] if self.size.width >= WIDE_FROM else [EMPTY, *answer]
            view = self.query_one(f"#output-{place}", TextView)
            view.border_title = "Tuned" if row.model.startswith("job:") else "Base"
            view.show(answer)
        if len(self._pair) < 2:
            self.query_one("#output-1", TextView).show([])
        task.show(paragraphs)

    # Keys ---------------------------------------------------------------------------------------------------------

    def _step(self, by: int) -> None:
        if self._tasks:
            self._place = (self._place + by) % len(self._tasks)
            self._draw_task()

    def action_next_item(self) -> None:
        """The next task."""
        self._step(1)

    def action_previous_item(self) -> None:
        """The task before."""
        self._step(-1)

    def sendable(self) -> Text | None:
        """The task and what the models wrote."""
        if not self._tasks:
            return None
        task = self._tasks[self._place]
        answers = [
            f"{row.model}:\n{items[task.position].output}\n"
            for row, items in zip(self._pair, self._items, strict=True)
            if task.position in items
        ]
        text = labelled(instruction=task.instruction, input=task.input, reference=task.output)
        return Text(f"task {task.position}", "\n".join([text, *answers]))

    def action_order(self) -> None:
        """Go through the tasks in another order."""
        self._order, self._place = (self._order + 1) % len(ORDERS), 0
        self._sort()
        self._draw_task()

    def action_search(self) -> None:
        """Ask for a query."""
        hint = "words, or gain<0 rouge>0.5 kind:classification; enter alone: every task"
        self.query_one(AskLine).ask("query", hint, str(self._query))

    def action_clear(self) -> None:
        """Every task again."""
        self._ask(Query())

    @on(AskLine.Answered)
    def _take_query(self, event: AskLine.Answered) -> None:
        try:
            self._ask(parse(event.value, TASKS))
        except QueryError as error:
            self.cockpit.say(str(error), "error")
            self.query_one(AskLine).ask("query", "", event.value)

    def _ask(self, query: Query) -> None:
        self._query, self._place = query, 0
        self._sort()
        self._draw_task()

    def action_other(self) -> None:
        """Another two models."""
        if len(self._pairs) < 2:
            self.cockpit.say("There are no other two models that were scored on one suite.")
            return
        self._choose(self._pairs[(self._pairs.index(self._pair) + 1) % len(self._pairs)])
        self._draw_table()

    def action_blind(self) -> None:
        """Judge the two models' answers without their names."""
        from alpaca_tui.ui.screens.blind import BlindScreen

        if len(self._pair) < 2:
            self.cockpit.say("Judging takes two models scored on one suite: press n and name both, by comma.")
            return
        one, other = self._pair
        found = self.in_store(lambda db: comparisons.Sitting(comparisons.open_comparison(db, one, other)))
        if found is not None:
            self.app.push_screen(BlindScreen(found))

    def action_evaluate(self) -> None:
        """Start an evaluation."""
        self.cockpit.forms.evaluate()

    def action_stop(self) -> None:
        """Stop the evaluation."""
        self.stop_job(self.snapshot.newest("evaluate"))


def _pairs(rows: list[EvaluationRow]) -> list[Pair]:
    """Every two models that were scored on one suite, each by its newest evaluation there; the newest two first.

    Where no suite has two, the newest one alone.
    """
    newest = {(row.suite_id, row.model): row for row in rows}
    kept = sorted(newest.values(), key=lambda row: row.id)
    pairs: list[Pair] = [(a, b) for a, b in combinations(kept, 2) if a.suite_id == b.suite_id]
    pairs.sort(key=lambda pair: (pair[1].id, pair[0].id), reverse=True)
    return pairs or [(row,) for row in kept[-1:]]


def _at_work(job: JobView) -> Content:
    """What the evaluation at work does now."""
    now = job.live[0] if job.live else None
    if now is None:
        return Content.styled(f"Job {job.row.id} is {job.row.state}", "$muted")
    parts = [f"{100 * now.progress:.0f} %" if now.progress is not None else ""]
    parts += [f"{now.tokens_per_s:.0f} tok/s"] if now.tokens_per_s else []
    parts += [f"{duration(now.eta_s)} left"] if now.eta_s else []
    note = ", ".join(part for part in parts if part)
    return Content.assemble((f"Job {job.row.id}: ", "$accent"), literal_line(now.activity), (f"  {note}", "$muted"))
