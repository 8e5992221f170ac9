"""The reader's way through the samples: which card is shown, which comes next, how to get back."""

from __future__ import annotations

from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui.store import browse, samples
from alpaca_tui.store.samples import SampleOrigin, SampleRow, VerdictRow

STATES = ("pending", "accepted", "rejected", "filtered")


@dataclass(frozen=True, slots=True)
class Card:
    """One sample with all that explains it."""

    row: SampleRow
    verdicts: tuple[VerdictRow, ...]
    origin: SampleOrigin | None

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
    """Samples of one state by id, and the trail of cards seen. Nothing but the reader moves the card."""

    def __init__(self, db: Database, state: str = "pending") -> None:
        self._db = db
        self.state = state
        self._trail: list[int] = []
        self._place = -1
        self._known_to = browse.newest_sample(db)

    @property
    def current(self) -> int | None:
        """The id of the card shown."""
        return self._trail[self._place] if 0 <= self._place < len(self._trail) else None

    def card(self) -> Card | None:
        """The card shown, read anew."""
        if self.current is None:
            return None
        row = samples.get(self._db, self.current)
        if row is None:
            return None
        return Card(row, tuple(samples.verdicts(self._db, row.id)), samples.origin(self._db, row.id))

    def first(self) -> bool:
        """Show the first sample of the state; False where there is none."""
        return self._show(browse.neighbour_id(self._db, self.state, 0))

    def forward(self) -> bool:
        """Show the next card of the trail, else the next sample of the state; False at the end (nothing moves)."""
        while self._place + 1 < len(self._trail):
            self._place += 1
            row = samples.get(self._db, self._trail[self._place])
            if row is not None and row.state == self.state:
                return True
        newest_seen = max(self._trail, default=0)
        return self._show(browse.neighbour_id(self._db, self.state, newest_seen))

    def back(self) -> bool:
        """Show the card before, whatever became of it; False at the beginning."""
        if self._place > 0:
            self._place -= 1
            return True
        if self.current is None:
            return False
        before = browse.neighbour_id(self._db, self.state, self.current, forward=False)
        if before is None:
            return False
        self._trail.insert(0, before)
        self._place = 0
        return True

    def jump(self, sample_id: int) -> None:
        """Show that sample (undo, redo, a list)."""
        if sample_id in self._trail:
            self._place = self._trail.index(sample_id)
        else:
            self._show(sample_id)

    def leave(self) -> None:
        """Show no card: the queue is at its end."""
        self._place = len(self._trail)

    def _show(self, sample_id: int | None) -> bool:
        if sample_id is None:
            return False
        self._trail.append(sample_id)
        self._place = len(self._trail) - 1
        return True

    def switch(self, state: str) -> None:
        """Go through another state's samples, from the first."""
        self.state, self._trail, self._place = state, [], -1
        self.first()

    def restart(self) -> bool:
        """Begin again at the first, for what was skipped."""
        self._trail, self._place = [], -1
        return self.first()

    # Counts -------------------------------------------------------------------------------------------------------

    def left(self) -> int:
        """Samples of the state that lie behind the card."""
        return browse.count_after(self._db, self.state, max(self._trail, default=0))

    def arrived(self) -> int:
        """Samples of the state that are newer than the last look."""
        return browse.count_after(self._db, self.state, self._known_to)

    def acknowledge(self) -> None:
        """What is there now is no news any more."""
        self._known_to = browse.newest_sample(self._db)
