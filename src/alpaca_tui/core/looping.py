"""Noticing that a completion runs in a loop ("20% of 20% of 20% of …"), token by token, while it is written."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_PERIOD = 48
"""Tokens of the longest phrase whose repetition is noticed."""

SHORTEST_TAIL = 32
"""Tokens that must lie in the loop at least: "ha ha ha ha" and a row of dashes are not one yet."""


class LoopWatch:
    """Says when the tail of the tokens is one phrase, said ``repeats`` times in a row.

    A phrase has 1 to ``LONGEST_PERIOD`` tokens and its repetitions together at least ``SHORTEST_TAIL``. For each
    period p the number of tokens in a row that equal the one p before them is kept, so a token costs O(longest
    period) however long the completion is. ``repeats`` 0 (or 1) never says so.
    """

    def __init__(self, repeats: int) -> None:
        self._repeats = repeats
        self._tokens: list[int] = []
        self._runs = [0] * (LONGEST_PERIOD + 1)
        self._needed = [max((repeats - 1) * p, SHORTEST_TAIL - p) for p in range(LONGEST_PERIOD + 1)]

    def push(self, token: int) -> bool:
        """Takes the next token; returns whether the tail is a loop now."""
        if self._repeats < 2:
            return False
        tokens, runs, needed = self._tokens, self._runs, self._needed
        found = False
        length = len(tokens)
        for period in range(1, min(length, LONGEST_PERIOD) + 1):
            if tokens[length - period] == token:
                runs[period] += 1
                found = found or runs[period] >= needed[period]
            else:
                runs[period] = 0
        tokens.append(token)
        return found


def loop_start(tokens: Sequence[int], repeats: int) -> int | None:
    """After how many of ``tokens`` a watch ends the completion; None where it never does."""
    watch = LoopWatch(repeats)
    return next((count for count, token in enumerate(tokens, start=1) if watch.push(token)), None)
