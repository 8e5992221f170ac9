"""Where calls are taken out and answers handed in: leases around the stages, one transaction each way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alpaca_tui.core.records import Completion
from alpaca_tui.store import leases
from alpaca_tui.store.completions import Call
from alpaca_tui.store.database import write
from alpaca_tui.workers.base import WorkerContext
from alpaca_tui.workers.screening import Screen
from alpaca_tui.workers.stages import StageWorker


@dataclass(frozen=True, slots=True)
class Taken:
    """A call that is this worker's to make: the stage that stores its answer, and the lease's fencing token."""

    stage: StageWorker
    call: Call
    token: int


class Desk:
    """One worker's calls in flight. Two workers never hold the same one, and a late answer is not stored."""

    def __init__(self, context: WorkerContext, screen: Screen) -> None:
        self._db, self._job_id, self._worker = context.db, context.job.id, context.rank
        self._screen = screen
        self._tokens: set[int] = set()
        self._renewed = time.monotonic()

    def take(self, plan: Callable[[], tuple[StageWorker, Sequence[Call]]]) -> list[Taken]:
        """Take what ``plan`` finds free, in one transaction."""
        with write(self._db):
            stage, calls = plan()
            tokens = leases.take(self._db, self._job_id, self._worker, [(call.queue, call.number) for call in calls])
        self._tokens.update(tokens)
        return [Taken(stage, call, token) for call, token in zip(calls, tokens, strict=True)]

    def store(self, taken: Taken, completion: Completion) -> bool:
        """Judge and store one answer, knowing all that others have kept by then; False: the call was another's."""
        self._tokens.discard(taken.token)
        with write(self._db):
            if not leases.settle(self._db, taken.token):
                return False
            self._screen.catch_up()
            taken.stage.store(taken.call, completion)
        return True

    def renew(self) -> None:
        """Keep what is in flight; costs nothing unless a good part of the lease has passed."""
        if time.monotonic() - self._renewed > leases.LEASE_S / 4:
            self._renewed = time.monotonic()
            leases.renew(self._db, sorted(self._tokens))

    def close(self) -> None:
        """Give back what is not answered."""
        leases.release(self._db, self._job_id, self._worker)
