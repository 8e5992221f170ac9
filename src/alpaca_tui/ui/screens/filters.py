"""Filters: the funnel, and everything that a rule threw out, with its score and its nearest neighbour."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content

from alpaca_tui.core.query import Is, Query, Term
from alpaca_tui.store import browse, decisions, finding
from alpaca_tui.store.browse import Reject
from alpaca_tui.ui import review_card
from alpaca_tui.ui.literal import literal, literal_line, printable
from alpaca_tui.ui.screens.base import AppScreen
from alpaca_tui.ui.snapshot import Snapshot
from alpaca_tui.ui.widgets import funnel
from alpaca_tui.ui.widgets.lines import EMPTY, TextView
from alpaca_tui.ui.widgets.paged import PagedList
from alpaca_tui.ui.widgets.panes import FunnelPane

WIDE_FROM = 100


class FiltersScreen(AppScreen):
    """Funnel and list on one side, the chosen reject on the other."""

    NAME = "filters"
    AUTO_FOCUS = "#reject-list"

    def __init__(self) -> None:
        super().__init__()
        self._rule = ""
        self._seen: object = None

    def compose_body(self) -> ComposeResult:
        """The funnel over the list, the reject beside or below."""
        glyphs = self.cockpit.glyphs
        with Container(id="filters-body", classes="split"):
            with Vertical(id="filters-left"):
                pane = FunnelPane(glyphs, id="filters-funnel")
                pane.can_focus = False
                yield pane
                box: PagedList[Reject] = PagedList(
                    self._page, self._line, empty="No rule has thrown anything out yet.", pointer=glyphs.pointer,
                    id="reject-list",
                )  # fmt: skip
                box.add_class("pane")
                yield box
            yield TextView(id="reject", classes="pane")

    @property
    def _list(self) -> PagedList[Reject]:
        return self.query_one("#reject-list", PagedList)

    def on_mount(self) -> None:
        """Name the boxes."""
        self.query_one("#reject").border_title = "What was thrown out"
        super().on_mount()

    def on_resize(self) -> None:
        """Side by side or one over the other; a low screen shows the list alone."""
        self.query_one("#filters-body").set_class(self.size.width < WIDE_FROM, "-stacked")
        low = self.size.width < WIDE_FROM or self.size.height < 30
        self.query_one("#filters-funnel").set_class(low, "-away")

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Read the list again where a rule's count has changed."""
        pane = self.query_one("#filters-funnel", FunnelPane)
        f = snapshot.facts.funnel
        pane.styles.height = min(max(3, len(funnel.steps(f))) + 2, max(8, self.size.height // 2))
        pane.show(snapshot)
        seen = (f.rejected, f.filtered)
        if snapshot.loaded and seen != self._seen:
            self._seen = seen
            self._reload(to_top=False)

    @property
    def _query(self) -> Query:
        return Query((Term(Is("rule", (self._rule,))),) if self._rule else ())

    def _reload(self, *, to_top: bool) -> None:
        count = self.in_store(lambda db: finding.count_rejects(db, self._query)) or 0
        which = printable(self._rule).replace("_", " ").replace("[", "(") if self._rule else "all rules"
        self._list.border_title = f"Thrown out: {which} ({count})"
        self._list.reload(count, to_top=to_top)

    def _page(self, offset: int, limit: int) -> list[Reject]:
        return self.in_store(lambda db: browse.page_rejects(db, self._query, offset, limit)) or []

    def _line(self, reject: Reject, width: int) -> Content:
        score = f"{reject.score:.2f}" if reject.score is not None else ""
        text = literal_line(reject.text, newline=self.cockpit.glyphs.newline)
        rule = literal_line(reject.rule.replace("_", " "), "$error").truncate(14, ellipsis=True)
        pad = " " * (15 - rule.cell_length)
        kind = "S" if reject.kind == "sample" else " "
        line = Content.assemble((f"{kind} ", "$secondary bold"), rule, (f"{pad}{score:>6} ", "$muted"), text)
        return line.truncate(width, ellipsis=True)

    @on(PagedList.Moved, "#reject-list")
    def _show_reject(self) -> None:
        reject = self._list.current
        view = self.query_one("#reject", TextView)
        if reject is None:
            view.show(
                [Content.styled("Generate first; what the rules throw out is kept here, with the reason.", "$muted")]
            )
            return
        view.show(reject_paragraphs(reject))

    def action_filter(self) -> None:
        """The next rule, then all."""
        f = self.snapshot.facts.funnel
        rules = ["", *dict.fromkeys([*f.rejected, *f.filtered])]
        here = rules.index(self._rule) if self._rule in rules else 0
        self._rule = rules[(here + 1) % len(rules)]
        self._reload(to_top=True)

    def action_rescue(self) -> None:
        """Put a filtered sample into the queue."""
        reject = self._list.current
        if reject is None:
            return
        if reject.kind != "sample":
            self.cockpit.say("An instruction was thrown out before it got an output; only a sample (S) can be rescued.")
            return
        if self.in_store(lambda db: decisions.decide(db, "rescue", [reject.id])) is not None:
            self.cockpit.say(f"Sample {reject.id} awaits review; u in Review takes it back.")
            self.cockpit.watcher.poke()


def reject_paragraphs(reject: Reject) -> list[Content]:
    """One reject: the rule and its score, the text, the neighbour with what they share underlined."""
    score = review_card.figures_of(reject.score, reject.threshold)
    lines = [
        Content.assemble(
            literal_line(reject.rule.replace("_", " "), "$error bold"), (f" {score}", "bold"),
            (f"  {printable(reject.detail)}" if reject.detail else "", "$muted"),
        ),
        EMPTY,
    ]  # fmt: skip
    name = f"{reject.kind} {reject.id}"
    if reject.neighbour_text is None:
        return [*lines, review_card.heading(name), literal(reject.text, limit=review_card.MAX_SHOWN)]
    return [
        *lines,
        review_card.heading(name),
        review_card.highlighted(reject.text[: review_card.MAX_SHOWN], reject.neighbour_text),
        EMPTY,
        review_card.heading("Nearest neighbour", printable(reject.neighbour or "")),
        review_card.highlighted(reject.neighbour_text[: review_card.MAX_SHOWN], reject.text),
        EMPTY,
        Content.assemble(("underlined", review_card.MATCH), (" words are the longest common subsequence", "$muted")),
    ]
