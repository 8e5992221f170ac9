"""Jobs: every job with its state and heartbeat, and the log of the chosen one followed live."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content

from alpaca_tui.core.query import JOBS, Query, QueryError, Value, holds, parse
from alpaca_tui.core.visible import printable
from alpaca_tui.jobs import logs
from alpaca_tui.store import jobs
from alpaca_tui.ui.figures import clock, duration, number
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import literal, literal_line
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.sending import Text
from alpaca_tui.ui.session import Place
from alpaca_tui.ui.snapshot import JobView, Snapshot
from alpaca_tui.ui.widgets.ask import AskLine
from alpaca_tui.ui.widgets.lines import EMPTY, LinesView, TextView
from alpaca_tui.ui.widgets.paged import PagedList

LOG_EVERY_S = 0.5
LOG_LINES = 400
STYLES = {
    "running": "$success bold",
    "stopping": "$warning bold",
    "queued": "$primary",
    "succeeded": "$success",
    "failed": "$error bold",
    "stopped": "$warning",
    "interrupted": "$error",
}


def state_sign(state: str, glyphs: Glyphs) -> str:
    """A sign beside the word, so that the eye finds it without colour."""
    signs = {"running": glyphs.alive, "stopping": glyphs.alive, "queued": glyphs.idle, "succeeded": glyphs.check}
    return signs.get(state, glyphs.cross)


class JobFacts(LinesView):
    """What the chosen job was asked to do, and what came of it."""

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="job-facts")
        self._glyphs = glyphs
        self._job: JobView | None = None

    def show(self, job: JobView | None) -> None:
        """Show another job."""
        self._job = job
        self.update_lines()

    def compose_lines(self, width: int, height: int) -> list[Content]:
        """Spec, reason, result."""
        return facts_of(self._job, width, self._glyphs) if self._job else []


def facts_of(job: JobView, width: int, glyphs: Glyphs) -> list[Content]:
    """The job in a few lines."""
    asked = "  ".join(f"{key} {_short(value)}" for key, value in job.row.spec.items() if value not in (None, {}, []))
    lines = [Content.assemble(("asked  ", "$faint"), literal_line(asked, "$muted")).truncate(width, ellipsis=True)]
    if job.row.reason:
        lines.append(
            Content.assemble(("reason ", "$faint"), literal_line(job.row.reason)).truncate(width, ellipsis=True)
        )
    elif job.row.result:
        came = "  ".join(f"{key} {_short(value)}" for key, value in job.row.result.items() if value is not None)
        lines.append(Content.assemble(("result ", "$faint"), literal_line(came)).truncate(width, ellipsis=True))
    elif job.live:
        lines.append(Content.assemble(("now    ", "$faint"), literal_line(job.live[0].activity)))
    return lines


def outcome(kind: str, result: Mapping[str, Any]) -> str:
    """What a job that succeeded came to, in a few words; empty where its result does not say."""
    numbers = {name: value for name, value in result.items() if isinstance(value, int | float)}
    if kind == "generate" and {"candidates", "kept", "samples"} <= numbers.keys():
        return f"{numbers['candidates']:,} instructions, {numbers['kept']:,} kept, {numbers['samples']:,} samples"
    if kind == "train" and {"loss_first", "loss_last"} <= numbers.keys():
        said = f"loss {number(numbers['loss_first'])} to {number(numbers['loss_last'])}"
        if {"eval_loss_first", "eval_loss_last"} <= numbers.keys():
            said += f", held-out {number(numbers['eval_loss_first'])} to {number(numbers['eval_loss_last'])}"
        return said
    models = result.get("models")
    if kind == "evaluate" and isinstance(models, dict):
        scores = {name: found.get("rouge_l") for name, found in models.items() if isinstance(found, dict)}
        shown = [f"{name} {number(score) if isinstance(score, float) else '–'}" for name, score in scores.items()]
        return f"ROUGE-L: {', '.join(shown)}"
    return ""


def _short(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dict):
        return ", ".join(f"{k}={_short(v)}" for k, v in value.items() if v not in (None, {}, [], ()))
    if isinstance(value, list | tuple):
        return ", ".join(str(v) for v in value)
    return str(value)


class JobsScreen(AppScreen):
    """List above, facts and log below."""

    NAME = "jobs"
    AUTO_FOCUS = "#job-list"

    def __init__(self) -> None:
        super().__init__()
        self._rows: tuple[JobView, ...] = ()
        self._chosen: int | None = None
        self._query = Query()
        self._story = False
        self._log_stamp: tuple[object, ...] = ()

    def compose_body(self) -> ComposeResult:
        """The list, the job's facts, its log."""
        glyphs = self.cockpit.glyphs
        yield AskLine()
        with Container(id="jobs-body"):
            box: PagedList[JobView] = PagedList(
                lambda offset, limit: list(self._rows[offset : offset + limit]), self._line,
                empty="No job yet. Press 1, then n, to start a generation.", pointer=glyphs.pointer, id="job-list",
            )  # fmt: skip
            box.add_class("pane")
            yield box
            yield JobFacts(glyphs)
            yield TextView(id="job-log", classes="pane", follow=True)

    @property
    def _list(self) -> PagedList[JobView]:
        return self.query_one("#job-list", PagedList)

    @property
    def job(self) -> JobView | None:
        """The chosen job."""
        return self.snapshot.job(self._chosen) if self._chosen is not None else None

    def on_mount(self) -> None:
        """Name the list and begin to follow logs."""
        self._list.border_title = "Jobs"
        log = self.query_one("#job-log", TextView)
        log.border_title = "Log"
        log.show([Content.styled("The log of the job above is followed here.", "$muted")])
        super().on_mount()
        self.set_interval(LOG_EVERY_S, self._follow_log)

    def remember(self) -> dict[str, Any]:
        """The query, the job, log or story."""
        return {"query": str(self._query), "job": self._chosen, "story": self._story}

    def recall(self, place: Place) -> None:
        """The same list, on the same job."""
        self._chosen, self._story = place.whole("job"), place.flag("story")
        with suppress(QueryError):
            self._ask(parse(place.text("query"), JOBS))

    def _ask(self, query: Query) -> None:
        self._query = query
        asked = printable(str(query)).replace("[", "(")
        self._list.border_title = f"Jobs: {asked}" if asked else "Jobs"

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """The list stays on the same job while others come."""
        rows = (
            tuple(job for job in snapshot.jobs if _is_found(self._query, job)) if self._query.terms else snapshot.jobs
        )
        if rows == self._rows:
            return
        self._rows = rows
        place = next((i for i, j in enumerate(self._rows) if j.row.id == self._chosen), 0)
        self._list.cursor = place
        self._list.reload(len(self._rows))

    def _line(self, job: JobView, width: int) -> Content:
        glyphs, row = self.cockpit.glyphs, job.row
        parts: list[tuple[str, str]] = [
            (f"{row.id:>4} ", "$faint"),
            (f"{row.kind:<9} ", "bold"),
            (f"{state_sign(row.state, glyphs)} {row.state:<12}", STYLES.get(row.state, "")),
        ]
        if job.active:
            share = f"{100 * job.progress:.0f} %" if job.progress is not None else ""
            beat = "no heartbeat" if job.heartbeat_age is None else f"heartbeat {duration(job.heartbeat_age)} ago"
            parts += [(f"{share:>6}  ", "bold"), (f"{duration(job.running_for):>8}  ", "$muted")]
            parts.append((beat, "$error bold" if job.silent else "$muted"))
        else:
            took = row.finished_at - row.started_at if row.finished_at and row.started_at else None
            parts += [(f"{'':>6}  {duration(took):>8}  ", "$muted"), (f"{clock(row.finished_at)}  ", "$faint")]
        line = Content.assemble(*parts)
        if not job.active:
            line = line + literal_line(row.reason or outcome(row.kind, row.result or {}), "$muted")
        return line.truncate(width, ellipsis=True)

    @on(PagedList.Moved, "#job-list")
    def _show_job(self) -> None:
        job = self._list.current
        changed = (job.row.id if job else None) != self._chosen
        self._chosen = job.row.id if job else None
        self.query_one(JobFacts).show(job)
        if changed or not self._log_stamp:
            self._log_stamp = ()
            self._follow_log()

    def on_screen_resume(self) -> None:
        """The log is read only while it is in sight."""
        self._follow_log()

    def _follow_log(self) -> None:
        """Read the end of the log where it has changed."""
        if self._chosen is None or not self.is_current:
            return
        path = logs.log_path(self.cockpit.project, self._chosen)
        try:
            found = path.stat()
            stamp: tuple[object, ...] = (self._chosen, found.st_size, found.st_mtime_ns)
        except OSError:
            stamp = (self._chosen,)
        if self._story:  # it grows with the job's state, not with its log
            stamp = (self._chosen, self._list.current)
        if stamp == self._log_stamp:
            return
        self._log_stamp = stamp
        view = self.query_one("#job-log", TextView)
        view.border_title = f"{'Story' if self._story else 'Log'} of job {self._chosen}"
        if self._story:
            view.show(self._events())
            return
        lines = logs.lines(path)[-LOG_LINES:]
        view.show([literal(line) for line in lines] or [Content.styled("The log is empty so far.", "$muted"), EMPTY])

    def _events(self) -> list[Content]:
        chosen = self._chosen
        rows = self.in_store(lambda db: jobs.events(db, chosen)) if chosen is not None else None
        return [
            Content.assemble(
                (f"{clock(at)}  ", "$faint"), literal_line(f"{kind:<11}", "$secondary"), literal_line(detail)
            )
            for at, kind, detail in rows or []
        ]

    def sendable(self) -> Text | None:
        """The log or the story, as far as it is shown."""
        if self._chosen is None:
            return None
        what = "story" if self._story else "log"
        return Text(f"{what} of job {self._chosen}", self.query_one("#job-log", TextView).unwrapped + "\n")

    def action_search(self) -> None:
        """Ask for a query."""
        hint = "words, or status:failed kind:train; enter alone: every job"
        self.query_one(AskLine).ask("query", hint, str(self._query))

    @on(AskLine.Answered)
    def _take_query(self, event: AskLine.Answered) -> None:
        try:
            self._ask(parse(event.value, JOBS))
        except QueryError as error:
            self.cockpit.say(str(error), "error")
            self.query_one(AskLine).ask("query", "", event.value)
            return
        self.show_snapshot(self.snapshot)

    def action_story(self) -> None:
        """Log or events."""
        self._story = not self._story
        self._log_stamp = ()
        self._follow_log()

    def action_stop(self) -> None:
        """Stop the chosen job."""
        self.stop_job(self.job)

    def action_resume(self) -> None:
        """Go on with the chosen job."""
        self.resume_job(self.job)


def _is_found(query: Query, job: JobView) -> bool:
    states = [job.row.state, *(["active"] if job.active else [])]
    values: dict[str, Value] = {"status": states, "kind": job.row.kind, "id": job.row.id}
    return holds(query, values, json.dumps(job.row.spec, ensure_ascii=False), job.row.reason or "")
