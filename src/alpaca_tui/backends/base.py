"""What every backend can do: answer a batch of requests, in order, with text on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from alpaca_tui.core.records import Completion, Request

OnText = Callable[[int, str, int], None]
OnDone = Callable[[int, Completion], None]
IsCancelled = Callable[[], bool]
More = Callable[[int], Sequence[Request]]
"""Asked with the number of free places; answers at most so many further requests, none where there are none now."""


def never() -> bool:
    """The default of ``cancelled``: nobody asks for a stop."""
    return False


class Backend(Protocol):
    """A model that completes prompts. One thread at a time may call it."""

    name: str
    max_batch: int
    """How many requests it answers at once."""

    def complete(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        cancelled: IsCancelled = never,
        *,
        on_done: OnDone | None = None,
        more: More | None = None,
    ) -> list[Completion]:
        """One completion per request, in the order of ``requests``, then of those that ``more`` gave.

        ``on_text(index, text_so_far, tokens_so_far)`` is called for the requests in flight, all of them
        at most every 0.15 s. ``on_done(index, completion)`` is called once per request as soon as it is
        finished, so that a long call need not be lost as a whole. ``more(n)``, after an ``on_done``, fills the
        ``n`` places that became free; its requests get the next indices. ``on_text``, ``on_done`` and ``more`` are
        called in the caller's thread only. ``cancelled()`` is asked before every
        step. Raises Cancelled after it said yes, UsageError for a request that cannot be answered (a
        prompt longer than the context, a parameter out of range), AlpacaError when the model fails.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """The number of tokens of ``text``, without special tokens around it."""
        ...

    def close(self) -> None:
        """Frees the model's memory or connections; the backend is unusable afterwards."""
        ...
