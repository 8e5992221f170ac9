"""Filters: the funnel, everything that a rule threw out, and what another threshold would keep."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.query import REJECTS, Is, Query, QueryError, Term, parse
from alpaca_tui.core.visible import printable
from alpaca_tui.store import browse, decisions, finding
from alpaca_tui.store.browse import Reject
from alpaca_tui.ui import reject_view
from alpaca_tui.ui.replaying import News, Replaying
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.sending import Text
from alpaca_tui.ui.session import Place
from alpaca_tui.ui.snapshot import Snapshot
from alpaca_tui.ui.threshold import HIGHEST, LOWEST, Control, ThresholdPane, changes_of
from alpaca_tui.ui.widgets import funnel
from alpaca_tui.ui.widgets.ask import AskLine
from alpaca_tui.ui.widgets.lines import TextView
from alpaca_tui.ui.widgets.paged import PagedList

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpaca_tui.core.records import Funnel
    from alpaca_tui.store.replays import Replay

WIDE_FROM = 100
CURVE_AT_ONCE = 2_000
"""Candidates up to which the curve is drawn unasked: a blink of an eye."""
SEEK = 512
"""Rows in which a reject is looked for again."""


class FiltersScreen(AppScreen):
    """Funnel and threshold on one side, the rejects and the chosen one on the other."""

    NAME = "filters"
    AUTO_FOCUS = "#funnel-list"

    def __init__(self) -> None:
        super().__init__()
        self._query = Query()
        self._seen: Funnel | None = None
        self._control = Control()
        self._replaying: Replaying | None = None
        self._to_confirm = False
        self._place = Place()

    def compose_body(self) -> ComposeResult:
        """The funnel over the threshold, the rejects over the chosen one."""
        glyphs = self.cockpit.glyphs
        yield AskLine()
        with Container(id="filters-body", classes="split"):
            with Vertical(id="filters-left"):
                steps: PagedList[funnel.Step] = PagedList(
                    self._steps, self._step_line, empty="Nothing has been generated yet. 1, then n starts.",
                    pointer=glyphs.pointer, id="funnel-list",
                )  # fmt: skip
                steps.add_class("pane")
                yield steps
                yield ThresholdPane(glyphs, id="threshold")
            with Vertical(id="filters-right"):
                box: PagedList[Reject] = PagedList(
                    self._page, self._line, empty="No rule has thrown out anything like this.",
                    pointer=glyphs.pointer, id="reject-list",
                )  # fmt: skip
                box.add_class("pane")
                yield box
                yield TextView(id="reject", classes="pane")

    @property
    def _list(self) -> PagedList[Reject]:
        return self.query_one("#reject-list", PagedList)

    @property
    def _funnel(self) -> PagedList[funnel.Step]:
        return self.query_one("#funnel-list", PagedList)

    def on_unmount(self) -> None:
        """What is being worked out is of no use to anyone, and would hold the end of the cockpit up."""
        if self._replaying is not None:
            self._replaying.cancel()

    def on_mount(self) -> None:
        """Name the boxes; begin at the threshold that new candidates are judged by."""
        self.query_one("#reject").border_title = "What was thrown out"
        self._funnel.border_title = "Funnel"
        self._replaying = Replaying(self)
        try:
            current = round(self.cockpit.config.generate.threshold * 100)
        except AlpacaError:
            current = 70
        self._control = replace(self._control, current=current).at(current)
        super().on_mount()

    def remember(self) -> dict[str, Any] | None:
        """The query, the reject and the X shown."""
        if self._seen is None:
            return None
        reject = self._list.current
        chosen = {"kind": reject.kind, "id": reject.id} if reject is not None else {}
        return {"query": str(self._query), "row": self._list.cursor, "x": self._control.x, **chosen}

    def recall(self, place: Place) -> None:
        """The same list and X; the reject once the list is read."""
        self._place = place
        with suppress(QueryError):
            self._query = parse(place.text("query"), REJECTS)
        self._control = self._control.at(place.whole("x", LOWEST, HIGHEST) or self._control.x)

    def _return_to_reject(self) -> None:
        """Put the cursor on the reject that it was on; newer ones have pushed it down, a rescue has taken it away."""
        row, chosen = self._place.whole("row") or 0, (self._place.text("kind"), self._place.whole("id"))
        for at in range(row, min(row + SEEK, self._list.count)):
            found = self._list.row(at)
            if found is not None and (found.kind, found.id) == chosen:
                row = at
                break
        self._list.move(row)

    def on_resize(self) -> None:
        """Side by side, or the one with the focus alone."""
        self._lay_out()

    def on_descendant_focus(self) -> None:
        """On a narrow screen the other half comes with the focus."""
        self._lay_out()

    def _lay_out(self) -> None:
        narrow = self.size.width < WIDE_FROM
        on_rejects = self.focused is not None and self.focused.id in ("reject-list", "reject")
        self.query_one("#filters-left").set_class(narrow and on_rejects, "-away")
        self.query_one("#filters-right").set_class(narrow and not on_rejects, "-away")
        low = self.size.height < 20
        self.query_one("#threshold").set_class(low, "-away")
        room = max(6, self.size.height - 3 - 9)
        self._funnel.styles.height = min(len(funnel.steps(self.snapshot.facts.funnel)) + 2, room)

    # The funnel ---------------------------------------------------------------------------------------------------

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Read again what has changed; neither cursor moves."""
        f = snapshot.facts.funnel
        if not snapshot.loaded or f == self._seen:
            return
        before, self._seen = self._seen, f
        at = self._funnel.current
        steps = funnel.steps(f) if f.completions else []
        self._funnel.reload(len(steps))
        if at is not None:
            self._funnel.move(next((i for i, s in enumerate(steps) if s.label == at.label), self._funnel.cursor))
        self._control = replace(self._control, candidates=f.candidates, kept_now=f.kept)
        self._show_control()
        if before is None or (before.rejected, before.filtered) != (f.rejected, f.filtered):
            self._reload(to_top=False)
        if before is None and self._place:
            self._return_to_reject()
        if before is None and self._replaying is not None and 0 < f.candidates <= CURVE_AT_ONCE:
            self._replaying.curve()
        self._lay_out()

    def _steps(self, offset: int, limit: int) -> list[funnel.Step]:
        return funnel.steps(self.snapshot.facts.funnel)[offset : offset + limit]

    def _step_line(self, step: funnel.Step, width: int) -> Content:
        steps = funnel.steps(self.snapshot.facts.funnel)
        return funnel.one_line(step, steps, width, self.cockpit.glyphs)

    def action_open(self) -> None:
        """List what the rule under the cursor threw out; of any other step, everything."""
        if self._list.has_focus:
            self.query_one("#reject").focus()
            return
        step = self._funnel.current
        rules = _thrown(self.snapshot.facts.funnel)
        rule = step.label if step is not None and step.loss and step.label in rules else None
        self._set_query(Query((Term(Is("rule", (rule,))),)) if rule else Query())
        self._list.focus()

    def action_leave(self) -> None:
        """Stop what is being worked out; else back to the funnel."""
        if self._replaying is not None and self._replaying.cancel():
            return
        self._funnel.focus()

    # The rejects --------------------------------------------------------------------------------------------------

    def _set_query(self, query: Query) -> None:
        self._query = query
        self._reload(to_top=True)

    def _reload(self, *, to_top: bool) -> None:
        count = self.in_store(lambda db: finding.count_rejects(db, self._query)) or 0
        which = printable(str(self._query)).replace("[", "(") or "by any rule"
        self._list.border_title = f"Thrown out: {which} ({count:,})"
        self._list.reload(count, to_top=to_top)

    def _page(self, offset: int, limit: int) -> list[Reject]:
        return self.in_store(lambda db: browse.page_rejects(db, self._query, offset, limit)) or []

    def _line(self, reject: Reject, width: int) -> Content:
        return reject_view.line(reject, width, self.cockpit.glyphs)

    @on(PagedList.Moved, "#reject-list")
    def _show_reject(self) -> None:
        reject = self._list.current
        view = self.query_one("#reject", TextView)
        if reject is None:
            view.show(
                [Content.styled("What the rules throw out is kept, with the reason; f shows all of it.", "$muted")]
            )
            return
        view.border_title = f"{reject.kind.capitalize()} {reject.id}"
        view.show(reject_view.paragraphs(reject))

    def action_filter(self) -> None:
        """The next rule, then all."""
        rules = ["", *_thrown(self.snapshot.facts.funnel)]
        asked = self._query.values("rule")
        here = rules.index(asked[0]) if asked and asked[0] in rules else 0
        following = rules[(here + 1) % len(rules)]
        self._set_query(self._query.replaced("rule", following or None))

    def action_search(self) -> None:
        """Ask for a query."""
        hint = f"words, {', '.join(name + ':' for name in REJECTS)} such as: rule:novelty rouge<0.75"
        self.query_one(AskLine).ask("query", hint, str(self._query))

    @on(AskLine.Answered)
    def _take_answer(self, event: AskLine.Answered) -> None:
        if event.question == "threshold":
            self._typed_threshold(event.value)
            return
        try:
            self._set_query(parse(event.value, REJECTS))
        except QueryError as error:
            self.cockpit.say(str(error), "error")
            self.query_one(AskLine).ask("query", "", event.value)
            return
        self._list.focus()

    def action_rescue(self) -> None:
        """Bring the chosen one back: a sample for review, an instruction to be completed."""
        reject = self._list.current
        if reject is None:
            self.cockpit.say("There is nothing to rescue here.")
            return
        ids = ([reject.id], []) if reject.kind == "sample" else ([], [reject.id])
        if self.in_store(lambda db: decisions.rescue(db, *ids)) is None:
            return
        what = "awaits review" if reject.kind == "sample" else "goes on; a generation asks for its instances"
        self.cockpit.say(f"{reject.kind.capitalize()} {reject.id} {what}. u takes it back.")
        self._changed()

    def sendable(self) -> Text | None:
        """The reject, with its rule and its neighbour."""
        reject = self._list.current
        if reject is None:
            return None
        return Text(f"{reject.kind} {reject.id}", self.query_one("#reject", TextView).unwrapped + "\n")

    def action_undo(self) -> None:
        """Take back the latest decision or applied threshold."""
        if self.in_store(browse.latest_change) == "replay":
            if self._replaying is not None:
                self._replaying.undo()
            return
        self._through_journal(decisions.undo, "taken back", "There is nothing to undo.")

    def action_redo(self) -> None:
        """Make the undone decision again."""
        self._through_journal(decisions.redo, "made again", "There is nothing to redo.")

    def _through_journal(self, step: Callable[[Database], list[decisions.Decision]], done: str, nothing: str) -> None:
        made = self.in_store(step)
        if made is None:
            return
        if made:
            self.cockpit.say(f"{made[-1].action} {made[-1].subject} {done}")
            self._changed()
        else:
            self.cockpit.say(nothing)

    def _changed(self) -> None:
        self.cockpit.watcher.poke()
        self._reload(to_top=False)

    # The threshold ------------------------------------------------------------------------------------------------

    def _show_control(self) -> None:
        self.query_one(ThresholdPane).show(self._control)

    def _move(self, x: int) -> None:
        self._control = self._control.at(x)
        self._show_control()

    def action_lower(self) -> None:
        """X less by 0.01."""
        self._move(self._control.x - 1)

    def action_higher(self) -> None:
        """X greater by 0.01."""
        self._move(self._control.x + 1)

    def action_type_threshold(self) -> None:
        """Ask for X."""
        self.query_one(AskLine).ask("threshold", "X from 0.50 to 1.00, then enter")

    def _typed_threshold(self, text: str) -> None:
        try:
            x = float(text.replace(",", "."))
        except ValueError:
            x = -1.0
        if not 0.5 <= x <= 1:
            self.cockpit.say(f"{printable(text)[:20] or 'Nothing'} is no threshold; it is from 0.50 to 1.00.", "error")
            return
        self._move(round(x * 100))

    def action_curve(self) -> None:
        """Work out how many candidates each X would keep."""
        if self._replaying is not None:
            self._replaying.curve()

    def action_preview(self) -> None:
        """Work out what the X shown would change."""
        self._to_confirm = False
        if self._replaying is not None:
            self._replaying.preview(self._control.x / 100)

    def action_apply(self) -> None:
        """Work out what the X shown would change, then ask."""
        self._to_confirm = True
        if self._control.preview is not None:
            self._confirm(self._control.preview)
        elif self._replaying is not None:
            self._replaying.preview(self._control.x / 100)

    @on(News)
    def _take_news(self, news: News) -> None:
        control = replace(self._control, busy=news.busy)
        if news.curve is not None:
            control = replace(control, curve=news.curve, curve_of=news.candidates)
        if news.preview is not None and round(news.preview.threshold * 100) == control.x:
            control = replace(control, preview=news.preview)
        self._control = control
        self._show_control()
        if news.said:
            self.cockpit.say(news.said, news.severity)
        if news.changed:
            self._control = replace(self._control, preview=None)
            self._show_control()
            self._changed()
        if news.preview is not None and self._to_confirm and self._control.preview is not None:
            self._confirm(self._control.preview)

    def _confirm(self, replay: Replay) -> None:
        from alpaca_tui.ui.screens.dialogs import Confirm

        self._to_confirm = False
        lines = [line.plain for line in changes_of(replace(self._control, preview=replay), self.cockpit.glyphs, 68)]
        text = f"Judge all candidates at X = {replay.threshold:.2f}?\n\n" + "\n".join(lines[:-1] or lines)
        back = sum(1 for change in replay.samples if change.to_state == "pending")
        text += f"\n\n{back:,} samples come back, {len(replay.samples) - back:,} leave the queue; u takes it all back."

        def answered(yes: bool | None) -> None:
            if yes and self._replaying is not None:
                self._replaying.apply(replay.threshold)

        self.app.push_screen(Confirm(text, f"Apply {replay.threshold:.2f}"), answered)


def _thrown(f: Funnel) -> list[str]:
    """The rules that threw something out."""
    return list(dict.fromkeys([*f.rejected, *f.filtered]))
