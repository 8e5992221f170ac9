"""The machine half of the pool in memory: new rows are added, the whole is read anew only where that costs little."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from alpaca_tui.core.records import Instance, PoolEntry

Found = Sequence[tuple[PoolEntry, Instance | None]]
"""Instructions that may be shown, with input and output where whole tasks are shown."""

SHARE = 0.01
"""Of the time that may go into reading everything anew."""


class GrowingPool:
    """What the model has written so far, oldest first, as demonstrations for more.

    ``read(after)`` gives the entries with an id above ``after``. What is new is there at once. What a person has
    thrown out since goes when all is read anew: at once in a small project, within seconds in one of 50,000.
    ``settles_late`` says that an entry may come to be one after its row: then reading anew is all there is.
    """

    def __init__(self, read: Callable[[int], Found], *, settles_late: bool = False) -> None:
        self._read, self._settles_late = read, settles_late
        self._entries: list[PoolEntry] = []
        self._due = 0.0
        self.instances: dict[int, Instance] = {}
        """By the id of the entry."""

    def entries(self) -> Sequence[PoolEntry]:
        """All that may be drawn by now."""
        began = time.monotonic()
        if began >= self._due:
            self._entries = []
            self.instances.clear()
            self._add(self._read(0))
            ended = time.monotonic()
            self._due = ended + (ended - began) / SHARE
        elif not self._settles_late:
            self._add(self._read(self._entries[-1].id if self._entries else 0))
        return self._entries

    def _add(self, found: Found) -> None:
        self._entries += [entry for entry, _ in found]
        self.instances |= {entry.id: instance for entry, instance in found if instance is not None}
