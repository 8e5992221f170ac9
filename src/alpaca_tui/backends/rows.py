"""A row of a decode loop: one request on its way from its prompt to its last token."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from alpaca_tui.backends.detokenize import StreamText
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
        self.stream = StreamText(self.decode, self.prompt, self.request.params.stop, self.request.params.once)
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
