"""A real generation worker whose model is a few lines of Python, so that a hundred of them can be started and killed.

Everything but the model is the product's: process, leases, stages, store. The model repeats itself often, in words that
differ a little, and everything that was stored is written to a file before anything else is done.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from alpaca_tui.backends.base import IsCancelled, More, OnDone, OnText, never
from alpaca_tui.core.errors import Cancelled
from alpaca_tui.core.records import Completion, Request
from alpaca_tui.workers import backends, desk, generate
from alpaca_tui.workers.base import worker_main
from alpaca_tui.workers.desk import Taken

SYLLABLES = ("ba", "de", "fi", "go", "lu", "ma", "ne", "ri", "so", "tu")
STEP_S = float(os.environ.get("SCRIPTED_STEP_S", "0.004"))


class Writer:
    """Answers each request from its seed alone."""

    name = "scripted"
    max_batch = 8

    def complete(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        cancelled: IsCancelled = never,
        *,
        on_done: OnDone | None = None,
        more: More | None = None,
    ) -> list[Completion]:
        given: list[Completion] = []
        waiting = list(requests)
        while waiting:
            request = waiting.pop(0)
            if cancelled():
                raise Cancelled
            time.sleep(STEP_S)
            text = answer(request)
            if on_text is not None:
                on_text(len(given), text, 9)
            given.append(Completion(text, "stop", 9, 9, STEP_S, (-2.0, -0.2) if request.choices else None))
            if on_done is not None:
                on_done(len(given) - 1, given[-1])
            if more is not None and not waiting:
                waiting += more(4)
        return given

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def close(self) -> None:
        pass


def answer(request: Request) -> str:
    rng = random.Random(request.seed)
    if request.choices:
        return " No"
    if request.prompt.endswith("\n9."):
        items = [instruction(rng) for _ in "1234"]
        return " " + "\n".join(f"{number}. {item}" if number > 9 else item for number, item in enumerate(items, 9))
    if request.prompt.endswith("Class label:"):
        return f" {rng.choice(('Yes', 'No'))}\nInput: The {rng.randrange(10**6)} houses of the town."
    return f" The {rng.randrange(10**6)} houses of the town.\nOutput: They are {rng.random():.6f} old."


def instruction(rng: random.Random) -> str:
    """Every third one is one of forty, with another last word: most of those are too much like another."""
    drawn = random.Random(rng.randrange(40)) if rng.random() < 0.3 else rng
    words = ["".join(drawn.choice(SYLLABLES) for _ in "123") for _ in range(6)]
    return f"Explain {' '.join(words)} to {rng.choice(SYLLABLES)}."


def store(self: desk.Desk, taken: Taken, completion: Completion, original=desk.Desk.store) -> bool:
    kept = original(self, taken, completion)
    if kept:
        with Path("acknowledged").open("a") as file:
            file.write(f"{taken.call.queue} {taken.call.number} {taken.call.request.seed}\n")
    return kept


if __name__ == "__main__":
    backends.open_backend = lambda spec, batch, **_: Writer()
    desk.Desk.store = store
    sys.exit(worker_main(generate.run))
