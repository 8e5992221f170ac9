"""The rows that are decoded together, and who stands where."""

from __future__ import annotations

from dataclasses import dataclass

from alpaca_tui.backends.kvcache import RowCache
from alpaca_tui.backends.logits import Sampler
from alpaca_tui.backends.rows import Row


@dataclass(slots=True)
class Batch:
    """The rows being decoded, in the blocks of their cache, and what draws their tokens."""

    cache: RowCache
    sampler: Sampler

    @property
    def rows(self) -> list[Row]:
        """All rows, in the order of a step's tokens."""
        return [row for group in self.cache.groups for block in group.blocks for row in block.rows]

    def settle(self) -> list[Row]:
        """Drops the rows that are finished, which are returned."""
        finished = [row for row in self.rows if row.finish]
        if finished:
            for group in self.cache.groups:
                for block in group.blocks:
                    block.keep([at for at, row in enumerate(block.rows) if row.finish is None])
                group.unite()
            self.cache.groups = [group for group in self.cache.groups if group.blocks]
        return finished

    def join(self, other: Batch) -> None:
        """Takes the rows of ``other`` in."""
        for fresh in other.cache.groups:
            for group in self.cache.groups:
                if group.prefix is fresh.prefix:
                    group.blocks += fresh.blocks
                    group.unite()
                    break
            else:
                self.cache.groups.append(fresh)
