"""Threads that each decode a part of the rows, step by step together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from alpaca_tui.backends.batch import Batch
from alpaca_tui.backends.rows import Row

MOST = 2  # more would each read all weights anew
FEWEST_ROWS = 4  # in a lane; below that one lane with all threads is faster
_ROW_TOKENS = 256  # a row costs as much as reading so many tokens of it

T = TypeVar("T")


def lanes_for(device: torch.device) -> int:
    """As many as the CPU's threads allow; one on a GPU, which has an order of its own."""
    return min(MOST, torch.get_num_threads()) if device.type == "cpu" else 1


class Lanes:
    """``count`` threads, which share torch's threads among them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads: ThreadPoolExecutor | None = None

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The results of ``tasks``, all at once; a single one gets all of torch's threads. Raises what the first raised
        that failed, when all have ended."""
        if self.count == 1 or len(tasks) == 1:
            return [task() for task in tasks]
        if self._threads is None:
            each = max(1, torch.get_num_threads() // self.count)
            self._threads = ThreadPoolExecutor(self.count, "lane", torch.set_num_threads, (each,))
        futures = [self._threads.submit(task) for task in tasks]
        wait(futures)
        return [future.result() for future in futures]

    def shares(self, batches: Sequence[Batch | None], rows: Sequence[Row]) -> list[list[Row]]:
        """``rows`` divided so that the lanes have about as much to do; all to one lane where they are few."""
        shares: list[list[Row]] = [[] for _ in batches]
        active = sum(len(batch.rows) for batch in batches if batch)
        if active + len(rows) < self.count * FEWEST_ROWS:
            shares[0].extend(rows)
            return shares
        loads = [_load(batch.rows) if batch else 0 for batch in batches]
        for row in rows:
            lane = min(range(self.count), key=lambda at: loads[at])
            shares[lane].append(row)
            loads[lane] += _load([row])
        return shares

    def crowded(self, batches: Sequence[Batch]) -> bool:
        """Whether so few rows are left in several lanes that one is faster."""
        return len(batches) > 1 and sum(len(batch.rows) for batch in batches) < self.count * FEWEST_ROWS

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None


def _load(rows: Sequence[Row]) -> int:
    return sum(_ROW_TOKENS + len(row.ids) for row in rows)
