"""The rows of a decode loop: one request each, from its prompt to its last token, and the batch that they share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from alpaca_tui.backends.detokenize import StreamText
from alpaca_tui.backends.kvcache import RowCache
from alpaca_tui.backends.logits import Sampler
from alpaca_tui.core.looping import LoopWatch
from alpaca_tui.core.records import Completion, FinishReason, Request


@dataclass(slots=True)
class Row:
    """One request on its way through the decoder."""

    index: int
    request: Request
    prompt: list[int]
    limit: int  # tokens that may be generated: the request's own limit or what the context leaves
    choices: list[int]
    decode: Callable[[list[int]], str]
    ids: list[int] = field(default_factory=list)
    choice_logprobs: tuple[float, ...] | None = None
    finish: FinishReason | None = None
    stream: StreamText = field(init=False)
    generator: torch.Generator = field(init=False)
    loop: LoopWatch = field(init=False)
    started: float = field(init=False)

    def start(self) -> None:
        """Puts the row at its beginning, also after an attempt that ran out of memory."""
        self.ids = []
        self.finish = None
        self.stream = StreamText(self.decode, self.prompt, self.request.params.stop)
        self.loop = LoopWatch(self.request.params.max_repeats)
        self.generator = torch.Generator().manual_seed(self.request.seed % 2**63)
        self.started = time.monotonic()

    def push(self, token: int, eos_ids: frozenset[int]) -> None:
        """Takes the next token and notices whether it is the last."""
        self.ids.append(token)
        if token in eos_ids:
            self.finish = "eos"
        elif self.choices:
            # The chances of the choices as the first token have said all that is asked.
            self.stream.push(token)
            self.finish = "stop"
        elif self.stream.push(token):
            self.finish = "stop"
        elif self.loop.push(token):
            self.finish = "loop"
        elif len(self.ids) >= self.limit:
            self.finish = "length"

    def completion(self) -> Completion:
        """The answer; ``completion_tokens`` counts every token computed, an end-of-sequence token included."""
        text = self.stream.finish()
        finish: FinishReason = "stop" if self.stream.stopped else self.finish or "length"
        seconds = time.monotonic() - self.started
        return Completion(
            text, finish, len(self.prompt), len(self.ids), seconds, self.choice_logprobs, self.stream.stopped_by
        )


@dataclass(slots=True)
class Batch:
    """The rows being decoded, by the groups of their cache, and what draws their tokens."""

    members: list[list[Row]]
    cache: RowCache
    sampler: Sampler

    @property
    def rows(self) -> list[Row]:
        """All rows, in the order of a step's tokens."""
        return [row for rows in self.members for row in rows]

    def settle(self) -> list[Row]:
        """Drops the rows that are finished, which are returned, and the groups that are then empty."""
        finished = [row for row in self.rows if row.finish]
        if finished:
            for at, (rows, group) in enumerate(zip(self.members, self.cache.groups, strict=True)):
                if any(row.finish for row in rows):
                    places = group.keep([at for at, row in enumerate(rows) if row.finish is None])
                    self.members[at] = [rows[place] for place in places]
            self.cache.groups = [group for group in self.cache.groups if len(group)]
            self.members = [rows for rows in self.members if rows]
        return finished

    def join(self, other: Batch) -> None:
        """Takes the rows of ``other`` in."""
        for rows, group in zip(other.members, other.cache.groups, strict=True):
            for mine, home in zip(self.members, self.cache.groups, strict=True):
                if home.suits(group):
                    home.take_in(group)
                    mine += rows
                    break
            else:
                self.members.append(rows)
                self.cache.groups.append(group)
