"""The four panes of the cockpit: seeds and pool, live generation, filter funnel, training loss."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.content import Content
from textual.message import Message

from alpaca_tui.jobs.live import LiveSnapshot, Slot
from alpaca_tui.ui import charts
from alpaca_tui.ui.figures import duration, share
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import literal, literal_line
from alpaca_tui.ui.loss_view import figures, loss_lines
from alpaca_tui.ui.snapshot import JobView, PoolLine, Snapshot
from alpaca_tui.ui.widgets import funnel
from alpaca_tui.ui.widgets.lines import EMPTY, LinesView

BLANK = Snapshot("")
HEAD_CELLS = 20
"""The stage and token count of a slot that has no row for them alone."""

NEWEST_EVERY_S = 5.0
"""How often the list of the newest instructions moves while text streams in."""


class Pane(LinesView):
    """A framed part of the cockpit that answers one question at a glance and opens a screen."""

    can_focus = True
    TITLE: ClassVar[str]
    OPENS: ClassVar[str]
    """The screen that enter opens."""

    class Opened(Message):
        """A pane was clicked twice."""

        def __init__(self, screen: str) -> None:
            super().__init__()
            self.screen_name = screen

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:
        super().__init__(id=id, classes="pane")
        self.glyphs = glyphs
        self.snapshot = BLANK
        self._retitle(focused=False)

    def show(self, snapshot: Snapshot) -> None:
        """Show another snapshot; nothing is composed where the pane's part of it is the same."""
        before, self.snapshot = self.snapshot, snapshot
        if snapshot.loaded != before.loaded or self.part(snapshot) != self.part(before):
            self.update_lines()

    def part(self, snapshot: Snapshot) -> object:
        """What the pane draws of a snapshot."""
        raise NotImplementedError

    def summary(self) -> Content:
        """The pane in one line, for where it has no room."""
        raise NotImplementedError

    def _retitle(self, *, focused: bool) -> None:
        self.border_title = f"{self.glyphs.pointer} {self.TITLE}" if focused else self.TITLE

    def on_focus(self) -> None:
        """Mark the pane by a sign too, not by colour alone."""
        self._retitle(focused=True)

    def on_blur(self) -> None:
        """Take the sign away."""
        self._retitle(focused=False)

    def on_click(self, event: events.Click) -> None:
        """Two clicks open the pane's screen."""
        if event.chain == 2:
            self.post_message(self.Opened(self.OPENS))


class SeedsPane(Pane):
    """Seed tasks and pool: what the next prompt is drawn from."""

    TITLE = "Seed tasks and pool"
    OPENS = "seeds"

    _listed: tuple[object, tuple[PoolLine, ...]] = (None, ())
    """The newest instructions, and for which turn they were taken."""

    def part(self, snapshot: Snapshot) -> object:
        """The database's facts."""
        f = snapshot.facts
        return f.seeds, f.seeds_enabled, f.classification, f.funnel.kept, f.newest, self._turn(snapshot)

    def _turn(self, snapshot: Snapshot) -> object:
        """Changes when the newest instructions are to be listed anew: while text streams in, every few seconds.

        Every new instruction moves all lines, which nobody can read and a bad link has to carry.
        """
        writing = any(job.slots for job in snapshot.active)
        return int(time.monotonic() / NEWEST_EVERY_S) if writing else snapshot.facts.newest

    def _newest(self) -> tuple[PoolLine, ...]:
        turn = self._turn(self.snapshot)
        if self._listed[0] != turn:
            self._listed = (turn, self.snapshot.facts.newest)
        return self._listed[1]

    def summary(self) -> Content:
        """Human and machine halves in one line."""
        facts = self.snapshot.facts
        return Content.assemble(
            (f"{facts.seeds_enabled}", "bold"), (" seeds + ", "$muted"), (f"{facts.funnel.kept}", "bold"),
            (" machine-made in the pool", "$muted"),
        )  # fmt: skip

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """Counts, a bar of the two halves, the newest instructions."""
        facts = self.snapshot.facts
        if not self.snapshot.loaded:
            return [Content.styled(f"Reading the project{self.glyphs.ellipsis}", "$muted")]
        if not facts.seeds:
            return Content.styled("No seed tasks yet. Import some: alpaca-tui seeds import FILE", "$muted").wrap(width)
        human, machine = facts.seeds_enabled, facts.funnel.kept
        disabled = f", {facts.seeds - human} off" if facts.seeds > human else ""
        people, model = (
            (f"{self.glyphs.human}{self.glyphs.human} ", "$human"),
            (f"{self.glyphs.machine * 2} ", "$machine"),
        )
        room = width - len(f"   {human:,} by people")
        notes = (f"  ({facts.classification} {word}{disabled})" for word in ("classification", "class."))
        note = (next((text for text in notes if len(text) <= room), ""), "$faint")
        lines = [
            Content.assemble((f"{human + machine:,}", "bold"), (" instructions in the pool", "$muted")),
            self._halves(human, machine, width),
            Content.assemble(people, (f"{human:,}", "bold"), (" by people", "$muted"), note),
            Content.assemble(model, (f"{machine:,}", "bold"), (" by the model", "$muted")),
        ]
        room = height - len(lines) - 2
        if room >= 1 and facts.newest:
            lines += [EMPTY, Content.styled("Newest", "$muted underline")]
            for entry in self._newest()[:room]:
                text = literal_line(entry.instruction, newline=self.glyphs.newline)
                lines.append(Content.assemble((f"{entry.label:>5} ", "$faint"), text).truncate(width, ellipsis=True))
        elif room >= 1:
            lines += [
                EMPTY,
                *Content.styled("The model has added nothing yet. Press n to generate.", "$muted").wrap(width),
            ]
        return lines

    def _halves(self, human: int, machine: int, width: int) -> Content:
        inside = max(1, width)
        left = max(1, round(inside * human / (human + machine))) if human else 0
        left = min(left, inside - 1) if machine else inside
        return Content.assemble(
            (self.glyphs.human * left, "$human"), (self.glyphs.machine * (inside - left), "$machine")
        )


class LivePane(Pane):
    """Live generation: one slot per sample in flight, with its stage and its text as it comes."""

    TITLE = "Live generation"
    OPENS = "jobs"

    def part(self, snapshot: Snapshot) -> object:
        """The jobs with their live files."""
        return snapshot.jobs, snapshot.usable

    @property
    def job(self) -> JobView | None:
        """The job to show: one with text in flight, else the newest generation."""
        active = self.snapshot.active
        writing = next((j for j in active if j.slots), None)
        return writing or next((j for j in active if j.row.kind != "train"), None) or self.snapshot.newest("generate")

    def summary(self) -> Content:
        """State, speed and time to the target."""
        job = self.job
        if job is None:
            return Content.styled("nothing generated yet; press n", "$muted")
        if not job.active:
            return Content.assemble(("last: ", "$muted"), f"job {job.row.id} {job.row.state}")
        parts = [f"job {job.row.id} {job.row.state}"]
        if job.slots:
            parts.append(f"{len(job.slots)} in flight")
        if job.tokens_per_s:
            parts.append(f"{job.tokens_per_s:.0f} tok/s")
        if job.live and job.live[0].eta_s is not None:
            parts.append(time_left(job.live[0]))
        return Content(f" {self.glyphs.dot} ".join(parts))

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """A header with progress, then the slots."""
        if not self.snapshot.loaded:
            return []
        job = self.job
        if job is None:
            text = "to start a generation; what is being written then appears here, word by word."
            return [
                Content("Nothing has been generated yet."),
                EMPTY,
                *Content.assemble("Press ", ("n", "$accent bold"), f" {text}").wrap(width),
            ]
        if not job.active:
            return ended_lines(job, width, self.glyphs, "n", "starts another generation")
        lines = [*self._header(job, width)]
        slots = job.slots
        if not slots:
            return lines
        if height - len(lines) > len(slots):
            lines.append(EMPTY)
        return lines + self._slots(job, width, height - len(lines))

    def _header(self, job: JobView, width: int) -> list[Content]:
        dot = f" {self.glyphs.dot} "
        activity = job.live[0].activity if job.live else job.row.state
        head = Content.assemble(
            (f"{job.letter}{job.row.id} ", "bold"),
            (self.glyphs.alive if not job.silent else "!", "$success" if not job.silent else "$error"),
            " ",
            literal_line(activity),
            (dot + f"{job.tokens_per_s:.0f} tok/s" if job.tokens_per_s else "", "$muted"),
        )
        progress = job.progress or 0.0
        left = time_left(job.live[0], brief=width < 60) if job.live else ""
        goal = f"{self.snapshot.usable}/{job.row.spec['target']}" if "target" in job.row.spec else share(progress, 1)
        tail = f" {goal}" + (f"{dot}{left}" if left else "")
        return [head, progress_bar(progress, max(4, width - len(tail)), self.glyphs, tail)]

    def _slots(self, job: JobView, width: int, height: int) -> list[Content]:
        slots = job.slots
        fitting = slots[: max(1, height)]
        rows = max(1, height // len(fitting))
        extra = height - rows * len(fitting)
        lines: list[Content] = []
        for place, slot in enumerate(fitting):
            lines += self._slot(slot, width, rows + (1 if place < extra else 0))
        return lines

    def _slot(self, slot: Slot, width: int, rows: int) -> list[Content]:
        """One sample in flight: with three rows or more, its head has a row of its own."""
        stage = literal_line(slot.stage.replace("_", " "), "bold")
        head = Content.assemble((f"{self.glyphs.pointer} ", "$machine"), stage, (f" {slot.tokens}", "$muted"))
        if rows >= 3:
            head = Content.assemble(head, (" tokens  ", "$muted"), literal_line(slot.label, "$faint"))
            page = page_of(slot.text, width - 2, rows - 1, self.glyphs)
            return [head.truncate(width, ellipsis=True), *_filled([Content("  ") + line for line in page], rows - 1)]
        head = head.truncate(HEAD_CELLS - 1).extend_right(max(1, HEAD_CELLS - head.cell_length))
        first, *rest = page_of(slot.text, width - HEAD_CELLS, rows, self.glyphs) or [EMPTY]
        return _filled([head + first, *(Content(" " * HEAD_CELLS) + line for line in rest)], rows)


def _filled(lines: list[Content], rows: int) -> list[Content]:
    return lines + [EMPTY] * (rows - len(lines))


def page_of(text: str, width: int, rows: int, glyphs: Glyphs) -> list[Content]:
    """The page that is being written: the text in pages of ``rows`` lines, the last one.

    Turning a full page repaints less than scrolling each line up: a growing text changes one row at a time.
    """
    if width < 2:
        return []
    text = text.strip()
    lines = literal(text.replace("\n", f"{glyphs.newline} ") if rows <= 2 else text).wrap(width)
    # A fresh page begins with the last line of the one before, where there is room: the eye keeps its place.
    step = rows - 1 if rows > 1 else 1
    first = max(0, -(-(len(lines) - rows) // step)) * step
    return lines[first : first + rows]


def time_left(now: LiveSnapshot, *, brief: bool = False) -> str:
    """'12 min left (9 min to 17 min)': the estimate and, unless ``brief``, the range in which nine of ten runs end.

    Behind it what an endpoint will still cost, in whatever money its prices are.
    """
    if now.eta_s is None:
        return ""
    text = _ranged(f"{duration(now.eta_s)} left", None if brief else now.eta_range_s, duration)
    if now.cost_to_go:
        text += _ranged(f", {now.cost_to_go:.2g} to pay", None if brief else now.cost_range, "{:.2g}".format)
    return text


def _ranged(text: str, ends: tuple[float, float] | None, shown: Callable[[float], str]) -> str:
    low, high = ("", "") if ends is None else map(shown, ends)
    return text if low == high else f"{text} ({low} to {high})"


def progress_bar(progress: float, width: int, glyphs: Glyphs, tail: str) -> Content:
    """A bar of ``width`` cells and what stands behind it."""
    done = charts.bar(progress, 1.0, width, glyphs)
    rest = glyphs.track * max(0, width - Content(done).cell_length)
    return Content.assemble((done, "$success"), (rest, "$line"), (tail, "$muted"))


def ended_lines(job: JobView, width: int, glyphs: Glyphs, key: str, what: str) -> list[Content]:
    """How a job ended, and what to do next."""
    good = job.row.state == "succeeded"
    sign = (glyphs.check, "$success bold") if good else (glyphs.cross, "$error bold")
    lines = [Content.assemble(sign, f" job {job.row.id} ({job.row.kind}) {job.row.state}")]
    if job.row.reason:
        lines.extend(literal_line(job.row.reason, "$muted").wrap(width))
    elif job.row.result:
        counts = [f"{key} {value:,}" for key, value in job.row.result.items() if isinstance(value, int)]
        lines.extend(literal_line(", ".join(counts), "$muted").wrap(width))
    if job.row.state in ("failed", "stopped", "interrupted"):
        lines.append(Content.assemble(("R", "$accent bold"), (" goes on where it was", "$muted")))
    return [*lines, Content.assemble((key, "$accent bold"), (f" {what}", "$muted"))]


class FunnelPane(Pane):
    """The filter funnel: from response to accepted, with a count per rule."""

    TITLE = "Filter funnel"
    OPENS = "filters"

    def part(self, snapshot: Snapshot) -> object:
        """The funnel."""
        return snapshot.facts.funnel

    def summary(self) -> Content:
        """Responses to accepted in one line."""
        f = self.snapshot.facts.funnel
        arrow = f" {self.glyphs.arrow} "
        return Content.assemble(
            (f"{f.candidates}", "bold"), (f" candidates{arrow}", "$muted"), (f"{f.kept}", "bold"),
            (f" kept{arrow}", "$muted"), (f"{f.pending}", "bold"), (" pending, ", "$muted"),
            (f"{f.accepted}", "bold"), (" accepted", "$muted"),
        )  # fmt: skip

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """A bar per step and rule."""
        if not self.snapshot.loaded:
            return []
        f = self.snapshot.facts.funnel
        if not f.completions:
            return Content.styled("No response to filter yet. Press n to generate.", "$muted").wrap(width)
        return funnel.lines(f, width, height, self.glyphs)


class LossPane(Pane):
    """The training loss: raw, smoothed and held-out."""

    TITLE = "Training loss"
    OPENS = "train"

    def part(self, snapshot: Snapshot) -> object:
        """The newest training run."""
        return snapshot.training

    def summary(self) -> Content:
        """Step and losses in one line."""
        training = self.snapshot.training
        if training is None:
            return Content.styled("no training yet", "$muted")
        return Content.assemble((f"job {training.job.row.id} {training.job.row.state}: ", "$muted"), figures(training))

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """Figures, chart, legend."""
        if not self.snapshot.loaded:
            return []
        training = self.snapshot.training
        if training is None:
            return [
                Content("No training yet."),
                EMPTY,
                Content.assemble("Accept samples (", ("2", "$accent bold"), "), then freeze a data set and train ("
                                 , ("5", "$accent bold"), ")."),
            ]  # fmt: skip
        return loss_lines(training, width, height, self.glyphs)
