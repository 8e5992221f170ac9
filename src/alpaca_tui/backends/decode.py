"""The batched decode loop: left-padded rows behind prefixes computed once, each leaving when it is finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch

from alpaca_tui.backends.batch import Batch
from alpaca_tui.backends.block import Block
from alpaca_tui.backends.forward import Forward
from alpaca_tui.backends.kvcache import Group, Prefix, RowCache
from alpaca_tui.backends.logits import Sampler
from alpaca_tui.backends.rows import Row
from alpaca_tui.core.errors import AlpacaError, Cancelled

MIN_SHARED = 64  # tokens; a shorter common prefix is not worth a pass of its own
REMEMBERED = 8  # prompts that came alone: what a later one shares with them is worth keeping
KEPT_PREFIXES = 3  # the templates of a recipe that begin with examples
# Tokens read in one pass at most, which bounds its activations and, on a CPU, how long the rows in flight stand still;
# there a pass gains nothing from more.
PREFILL_TOKENS = {"cpu": 2_048, "cuda": 16_384}


def common_prefix(prompts: Sequence[list[int]]) -> int:
    """The number of leading tokens that all prompts share, at least one token short of the shortest prompt."""
    first, last = min(prompts), max(prompts)  # in lexical order these two differ the soonest
    limit = min(len(prompt) for prompt in prompts) - 1
    return next((at for at in range(limit) if first[at] != last[at]), limit)


def _no_more(free: int) -> Sequence[Row]:
    return ()


class Decoder:
    """Completes rows with a causal language model, from its ``config`` (transformers') and its ``forward``."""

    def __init__(
        self, forward: Forward, config: Any, device: torch.device, eos_ids: frozenset[int], *, share_prefix: bool = True
    ) -> None:
        self.forward = forward
        self.eos_ids = eos_ids
        self.share_prefix = share_prefix
        self.device = device
        self.layers = int(config.num_hidden_layers)
        self.vocab_size = int(config.vocab_size)
        self._at_once = PREFILL_TOKENS.get(device.type, 2_048)
        self._prefixes: list[Prefix] = []  # the most recently used last
        self._lone: deque[tuple[int, ...]] = deque(maxlen=REMEMBERED)

    def run(
        self,
        waiting: deque[Row],
        batch_size: int,
        on_step: Callable[[Sequence[Row], Sequence[Row]], None],
        cancelled: Callable[[], bool],
        more: Callable[[int], Sequence[Row]] = _no_more,
    ) -> None:
        """Decodes all of ``waiting``, at most ``batch_size`` rows at once; a row that leaves makes room for
        the next.

        ``more(n)`` is asked for at most n further rows when places are free and nobody waits, again until it has none.

        ``on_step(active, finished)`` is called after every step. Raises Cancelled, AlpacaError for a model
        that yields NaN, and torch's out-of-memory errors as they are.
        """
        with torch.inference_mode():
            batch: Batch | None = None
            asked = False  # for more rows in vain, since one has finished
            while waiting or batch is not None:
                if cancelled():
                    raise Cancelled
                free = batch_size - (len(batch.rows) if batch else 0)
                # Reading a prompt stalls the rows in flight, so newcomers come a few at a time.
                worthwhile = free >= max(1, batch_size // 6)
                if batch is not None and worthwhile and not waiting and not asked:
                    waiting.extend(more(free))
                    asked = not waiting
                if waiting and (batch is None or worthwhile):
                    prefix = self._prefix([row.prompt for row in waiting])
                    fresh, finished = self._settle(self._begin(self._take(waiting, free, prefix), prefix))
                    batch = self._merge(batch, fresh)
                else:
                    assert batch is not None
                    self._step(batch)
                    batch, finished = self._settle(batch)
                asked = asked and not finished
                on_step(batch.rows if batch else (), finished)

    def _take(self, waiting: deque[Row], free: int, prefix: Prefix | None) -> list[Row]:
        """The next rows to read: as many as are free and as fit one forward pass."""
        shared = len(prefix) if prefix is not None else 0
        rows: list[Row] = []
        tokens = 0
        while waiting and len(rows) < free:
            tokens += len(waiting[0].prompt) - shared
            if rows and tokens > self._at_once:
                break
            rows.append(waiting.popleft())
        return rows

    def _begin(self, rows: list[Row], prefix: Prefix | None) -> Batch:
        """Reads the prompts of ``rows`` (what follows the prefix) and draws their first tokens."""
        for row in rows:
            row.start()
        shared = len(prefix) if prefix is not None else 0
        suffixes = [row.prompt[shared:] for row in rows]
        cache, logits = self._read(suffixes, prefix, rows)
        for at, row in enumerate(rows):
            if row.choices:
                chances = torch.log_softmax(logits[at], dim=-1)[row.choices]
                row.choice_logprobs = tuple(chances.tolist())
        sampler = self._sampler(rows)
        self._draw(rows, sampler, logits)
        return Batch(cache, sampler)

    def _step(self, batch: Batch) -> None:
        """One token more for every row."""
        if batch.cache.part():
            batch.sampler = self._sampler(batch.rows)
        rows = batch.rows
        positions = batch.cache.begin_step()
        newest = torch.tensor([row.ids[-1] for row in rows], device=self.device)
        self._draw(rows, batch.sampler, self._logits(newest, positions, batch.cache))

    def _read(
        self, suffixes: list[list[int]], prefix: Prefix | None, rows: Sequence[Row] = ()
    ) -> tuple[RowCache, torch.Tensor]:
        """Runs ``suffixes``, each behind ``prefix``, through the model; their cache, as that of ``rows``, and fp32
        logits (B, V)."""
        shared = len(prefix) if prefix is not None else 0
        lengths = [len(suffix) for suffix in suffixes]
        cache = RowCache(self.layers, [Group(prefix, [Block(lengths, rows)])])
        tokens = torch.tensor([token for suffix in suffixes for token in suffix], device=self.device)
        positions = torch.cat([torch.arange(shared, shared + length, device=self.device) for length in lengths])
        last = torch.tensor(lengths, device=self.device).cumsum(0) - 1
        return cache, self._logits(tokens, positions, cache, last)

    def _logits(
        self, tokens: torch.Tensor, positions: torch.Tensor, cache: RowCache, last: torch.Tensor | None = None
    ) -> torch.Tensor:
        given = self.forward(tokens, positions, cache, last)
        logits = given.float()
        if bool(torch.isnan(logits.amax(dim=-1)).any()):
            raise AlpacaError(
                f"the model computes NaN in {str(given.dtype).removeprefix('torch.')}: its weights are "
                "damaged or overflow in this type; try float32"
            )
        return logits

    def _draw(self, rows: list[Row], sampler: Sampler, logits: torch.Tensor) -> None:
        for row, token in zip(rows, sampler.draw(logits).tolist(), strict=True):
            row.push(token, self.eos_ids)

    def _sampler(self, rows: list[Row]) -> Sampler:
        return Sampler(
            [row.request.params for row in rows],
            [row.generator for row in rows],
            [row.ids for row in rows],
            self.device,
            self.vocab_size,
        )

    def _merge(self, batch: Batch | None, fresh: Batch | None) -> Batch | None:
        if batch is None or fresh is None:
            return batch or fresh
        batch.join(fresh)
        batch.sampler = self._sampler(batch.rows)
        return batch

    def _settle(self, batch: Batch) -> tuple[Batch | None, list[Row]]:
        """The batch without its finished rows, None when nobody is left, and these rows."""
        finished = batch.settle()
        if not batch.cache.groups:
            return None, finished
        if finished:
            batch.sampler = self._sampler(batch.rows)
        return batch, finished

    def _prefix(self, prompts: list[list[int]]) -> Prefix | None:
        """The keys and values of what ``prompts`` begin with, taken from an earlier call as far as they
        match.

        A single prompt is matched against what is kept, and against the last ones that came alone, so that single
        calls of one stage share too.
        """
        if not self.share_prefix:
            return None
        alone = len(prompts) == 1
        wanted = tuple(prompts[0]) if alone else tuple(prompts[0][: common_prefix(prompts)])
        reach, known = max(
            ((_matching(kept.ids, wanted), at) for at, kept in enumerate(self._prefixes)), default=(0, -1)
        )
        reach = min(reach, len(prompts[0]) - 1)
        if reach >= MIN_SHARED and (alone or len(wanted) - reach < MIN_SHARED):
            return self._known(known, reach)
        if alone:
            wanted = self._shared_lately(wanted)
        if len(wanted) < MIN_SHARED:
            return None
        old = self._prefixes[known].head(reach) if reach >= MIN_SHARED else None
        prefix = self._extend(old, wanted)
        if old is not None and reach == len(self._prefixes[known]):
            self._prefixes.pop(known)  # the longer one holds all that it held
        self._prefixes = [*self._prefixes[-(KEPT_PREFIXES - 1) :], prefix]
        return prefix

    def _known(self, at: int, reach: int) -> Prefix:
        """The first ``reach`` tokens of a kept prefix, which becomes the most recently used.

        By chance the first prompts may have shared a few words more than their template: then it is shortened for good,
        so that all that come stand behind the same one.
        """
        kept = self._prefixes.pop(at)
        head = kept.head(reach)
        self._prefixes.append(head if len(kept) - reach < MIN_SHARED else kept)
        return head

    def _shared_lately(self, prompt: tuple[int, ...]) -> tuple[int, ...]:
        """What a prompt shares with one of the last that came alone."""
        shared = max((common_prefix([list(prompt), list(other)]) for other in self._lone), default=0)
        self._lone.append(prompt)
        return prompt[:shared]

    def _extend(self, known: Prefix | None, wanted: tuple[int, ...]) -> Prefix:
        rest = wanted[len(known) if known is not None else 0 :]
        for begin in range(0, len(rest), self._at_once):
            part = rest[begin : begin + self._at_once]
            cache, _ = self._read([list(part)], known)
            read = Prefix(part, *cache.groups[0].blocks[0].own(len(part)))
            known = known.joined(read) if known is not None else read
        assert known is not None
        return known

    def forget(self) -> None:
        """Frees the kept prefixes."""
        self._prefixes = []


def _matching(kept: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    """The number of leading tokens in which the two agree."""
    limit = min(len(kept), len(wanted))
    return next((at for at in range(limit) if kept[at] != wanted[at]), limit)
