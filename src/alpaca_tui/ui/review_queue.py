"""The reader's way through the samples: which card is shown, which comes next, how to get back."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui.core.query import Query, parse
from alpaca_tui.store import browse, finding, flips, samples
from alpaca_tui.store.finding import ORDERS, Order
from alpaca_tui.store.samples import SampleOrigin, SampleRow, VerdictRow

STATES = ("pending", "accepted", "rejected", "filtered")
PENDING = parse("status:pending")


@dataclass(frozen=True, slots=True)
class Card:
    """One sample with all that explains it."""

    row: SampleRow
    verdicts: tuple[VerdictRow, ...]
    origin: SampleOrigin | None
    tags: tuple[str, ...] = ()
    flipped: bool = False
    """Whether a person has said if it is classification."""

    @property
    def texts(self) -> tuple[str, str, str]:
        """Instruction, input, output."""
        return self.row.instruction, self.row.input, self.row.output

    @property
    def nearest(self) -> VerdictRow | None:
        """The verdict with the nearest neighbour; a rule that failed because of one comes first."""
        near = [v for v in self.verdicts if v.neighbour_text is not None]
        return max(near, key=lambda v: (not v.passed, v.score or 0.0), default=None)


class ReviewQueue:
    """The samples that a query finds, in an order, and the place in it. Nothing but the reader moves the card.

    The numbers are read once (eight bytes a sample); each card is read when it is shown, and passed over where the
    query has ceased to find it. What arrives later is added at the end.
    """

    def __init__(self, db: Database, query: Query = PENDING, order: Order = "oldest") -> None:
        self._db = db
        self.query, self.order = query, order
        self.marked: dict[int, None] = {}
        """The selection, in the order in which it was made."""
        self._ids = array("q")
        self._place = -1
        self._covered = 0
        self._known_to = browse.newest_sample(db)
        self._load()

    def _load(self) -> None:
        self._covered = browse.newest_sample(self._db)
        self._ids = array("q", finding.sample_ids(self._db, self.query, self.order))

    @property
    def current(self) -> int | None:
        """The id of the card shown."""
        return self._ids[self._place] if 0 <= self._place < len(self._ids) else None

    def card(self) -> Card | None:
        """The card shown, read anew."""
        if self.current is None:
            return None
        row = samples.get(self._db, self.current)
        if row is None:
            return None
        tags = browse.tags_of(self._db, [row.id]).get(row.id, [])
        judged, made = tuple(samples.verdicts(self._db, row.id)), samples.origin(self._db, row.id)
        return Card(row, judged, made, tuple(tags), flips.is_flipped(self._db, row.candidate_id))

    def first(self) -> bool:
        """Show the first sample of the queue; False where there is none."""
        self._place = -1
        return self.forward()

    def resume(self, sample_id: int) -> bool:
        """Show that sample where the query finds it; else the one after it by age, or the first in another order."""
        self._place = -1
        with suppress(ValueError):
            self._place = self._ids.index(sample_id) - 1
            return self.forward()
        if self.order == "oldest":
            self._place = bisect_left(self._ids, sample_id) - 1
        return self.forward() or self.first()

    def forward(self) -> bool:
        """Show the next sample that the query still finds; False at the end (nothing moves)."""
        at = self._place + 1
        while True:
            while at < len(self._ids):
                if finding.is_found(self._db, self.query, self._ids[at]):
                    self._place = at
                    return True
                at += 1
            newest = browse.newest_sample(self._db)
            self._ids.extend(finding.sample_ids(self._db, self.query, after=self._covered))
            self._covered = newest
            if at >= len(self._ids):
                return False

    def back(self) -> bool:
        """Show the card before, whatever became of it; False at the beginning."""
        if self._place <= 0:
            return False
        self._place = min(self._place, len(self._ids)) - 1
        return True

    def jump(self, sample_id: int) -> None:
        """Show that sample (undo, redo, a number); one that is not in the queue is put before the card shown."""
        try:
            self._place = self._ids.index(sample_id)
        except ValueError:
            self._place = max(0, min(self._place, len(self._ids)))
            self._ids.insert(self._place, sample_id)

    def leave(self) -> None:
        """Show no card: the queue is at its end."""
        self._place = len(self._ids)

    def ask(self, query: Query, order: Order | None = None) -> bool:
        """Go through what another query finds (or in another order), from the first; False where it finds nothing."""
        self.query, self.order = query, order or self.order
        return self.restart()

    def switch(self, state: str) -> None:
        """Go through the samples of another state."""
        self.ask(self.query.replaced("status", state))

    def next_order(self) -> None:
        """Go through the samples in the next order."""
        self.ask(self.query, ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)])

    def restart(self) -> bool:
        """Begin again at the first, for what was skipped."""
        self._load()
        return self.first()

    def reload(self) -> bool:
        """Read the queue anew after many decisions, and show the first from the place on that is still found."""
        coming = self._ids[max(0, self._place) :]
        self._load()
        places = {sample_id: place for place, sample_id in enumerate(self._ids)}
        at = next((places[sample_id] for sample_id in coming if sample_id in places), None)
        self._place = at - 1 if at is not None else -1
        return self.forward()

    # The selection ------------------------------------------------------------------------------------------------

    def mark(self) -> None:
        """Put the card shown into the selection, or take it out."""
        here = self.current
        if here is None:
            return
        if here in self.marked:
            del self.marked[here]
        else:
            self.marked[here] = None

    def mark_all(self) -> int:
        """Select everything that the query finds; return how many."""
        self.marked = dict.fromkeys(finding.sample_ids(self._db, self.query, self.order))
        return len(self.marked)

    def chosen(self) -> Sequence[int]:
        """What a decision is on: the selection, else the card shown."""
        if self.marked:
            return list(self.marked)
        return [] if self.current is None else [self.current]

    # Counts -------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """The one state that the query asks for; empty where it asks for none or several."""
        asked = self.query.values("status")
        return asked[0] if len(asked) == 1 else ""

    def left(self) -> int:
        """Samples that lie behind the card."""
        return max(0, len(self._ids) - self._place - 1)

    def arrived(self) -> int:
        """Samples that the query finds and that are newer than the last look."""
        return finding.count_samples(self._db, self.query, after=self._known_to)

    def acknowledge(self) -> None:
        """What is there now is no news any more."""
        self._known_to = browse.newest_sample(self._db)
