"""What one generation worker shows of itself: the text in flight, its speed, and when the job will be done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from alpaca_tui.core.estimates import Outlook
from alpaca_tui.core.records import Completion
from alpaca_tui.jobs.live import LiveSnapshot, LiveWriter, Slot
from alpaca_tui.store.completions import Call

RATE_WINDOW_S = 60.0


class Display:
    """The worker's live snapshot, made only when one is due."""

    def __init__(self, live: LiveWriter, target: int) -> None:
        self._live, self._target = live, target
        self._calls: list[Call] = []
        self._slots: dict[int, Slot] = {}
        self._finished: deque[tuple[float, int]] = deque()
        self._began = time.monotonic()
        self._row_seconds = 0.0
        self._ready = 0
        self._outlook: Outlook | None = None
        self._yields: dict[str, float] = {}

    def begin(self) -> None:
        """A new batch is about to be asked."""
        self._calls, self._slots = [], {}

    def add(self, calls: Sequence[Call]) -> None:
        """Further calls of the batch, in the order of their requests."""
        self._calls += calls

    def text(self, index: int, text: str, tokens: int) -> None:
        """The text of one call so far."""
        call = self._calls[index]
        label = f"candidate {call.candidate_id}" if call.candidate_id else "new instructions"
        self._slots[index] = Slot(label, call.template, text, tokens)
        if self._live.due():
            self._live.write(self._snapshot())

    def done(self, index: int, completion: Completion) -> None:
        """One call has been answered and stored."""
        self._slots.pop(index, None)
        self._finished.append((time.monotonic(), completion.completion_tokens))
        self._row_seconds += completion.seconds

    def know(self, ready: int, outlook: Outlook | None, yields: dict[str, float]) -> None:
        """What the store says by now: samples that count for the target, and how it will go on."""
        self._ready, self._outlook, self._yields = ready, outlook, yields

    @property
    def in_flight(self) -> int:
        """Calls whose text is being written now."""
        return len(self._slots)

    def say(self, activity: str) -> None:
        """Show what is being done besides generating."""
        self._live.write(LiveSnapshot(time.time(), activity, self._progress()), force=True)

    def _progress(self) -> float:
        return min(1.0, self._ready / self._target)

    def _snapshot(self) -> LiveSnapshot:
        now = time.monotonic()
        while self._finished and self._finished[0][0] < now - RATE_WINDOW_S:
            self._finished.popleft()
        span = min(RATE_WINDOW_S, now - self._began)
        tokens = sum(n for _, n in self._finished) + sum(slot.tokens for slot in self._slots.values())
        slots = tuple(self._slots[i] for i in sorted(self._slots))
        stages = dict.fromkeys(slot.stage.replace("_", " ") for slot in slots)
        return LiveSnapshot(
            time.time(),
            f"{', '.join(stages) or 'generating'}: {len(slots)} in flight",
            self._progress(),
            tokens / span if span > 1 else None,
            self._outlook.eta_s if self._outlook else None,
            slots,
            self._outlook.eta_range_s if self._outlook else None,
            self._yields,
            self._outlook.cost if self._outlook else None,
            self._outlook.cost_range if self._outlook else None,
        )
