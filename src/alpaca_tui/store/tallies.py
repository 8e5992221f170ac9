"""What the calls of a run have led to, stage by stage, read piece by piece as they come in."""

from __future__ import annotations

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.estimates import StageStats


class Tally:
    """The statistics of one job's calls, its earlier attempts included. ``refresh`` reads what is new only."""

    def __init__(self, db: Database, job_id: int) -> None:
        self._db, self._job_id, self._after = db, job_id, 0
        self.stages: dict[str, StageStats] = {}
        """By queue: 'instruction', 'classification', 'instance', 'output'."""

    def refresh(self) -> dict[str, StageStats]:
        """The statistics as of now, over all workers; failed calls count with their time, but lead to nothing."""
        newest = self._db.execute("SELECT coalesce(max(id), 0) FROM completions").fetchone()[0]
        if newest > self._after:
            values = {"job": self._job_id, "after": self._after, "until": newest}
            for queue, *numbers in self._db.execute(resources.query("tally"), values).fetchall():
                self.stages[queue] = self.stages.get(queue, StageStats()) + StageStats(*numbers)
            self._after = newest
        return self.stages
