"""The rows of a decode loop: one request each, from its prompt to its last token, and the batch that they share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from alpaca_tui.backends.detokenize import StreamText
from alpaca_tui.backends.kvcache import RowCache, contiguous
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
    """The rows being decoded: their cache, their left padding in columns, and their newest tokens (B,)."""

    rows: list[Row]
    cache: RowCache
    pads: list[int]
    tokens: torch.Tensor
    sampler: Sampler

    def keep(self, kept: list[int]) -> None:
        """Drops every row but ``kept`` (in order), and the columns that are then padding everywhere.

        The last rows take the places of those that leave, so nothing else moves.
        """
        places = list(range(len(self.rows)))
        gone = sorted(set(places) - set(kept))
        while gone:
            last = len(places) - 1
            if gone[-1] == last:
                gone.pop()
            else:
                hole = gone.pop(0)
                places[hole] = places[last]
                self.cache.replace(last, hole)
            places.pop()
            self.cache.cut(last)
        self.rows = [self.rows[row] for row in places]
        self.pads = [self.pads[row] for row in places]
        self.tokens = self.tokens[places]
        self._arrange()

    def join(self, other: Batch) -> None:
        """Takes the rows of ``other`` in."""
        length = max(self.cache.length, other.cache.length)
        self.pads = [pad + length - self.cache.length for pad in self.pads] + [
            pad + length - other.cache.length for pad in other.pads
        ]
        self.rows = self.rows + other.rows
        self.tokens = torch.cat([self.tokens, other.tokens])
        self.cache.take_in(other.cache)
        self._arrange()

    def _arrange(self) -> None:
        """Lets the rows behind one prefix stand together, and drops the columns that are padding everywhere."""
        order = contiguous(self.cache.prefixes)
        if order != list(range(len(order))):
            self.cache.arrange(order)
            self.rows = [self.rows[row] for row in order]
            self.pads = [self.pads[row] for row in order]
            self.tokens = self.tokens[order]
        if common := min(self.pads, default=0):
            self.cache.trim(common)
            self.pads = [pad - common for pad in self.pads]
