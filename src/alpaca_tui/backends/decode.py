"""The batched decode loop: left-padded rows behind prefixes computed once, each leaving when it is finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch

from alpaca_tui.backends.batch import Batch, Row, by_length
from alpaca_tui.backends.kvcache import Prefix, RowCache
from alpaca_tui.backends.logits import Sampler
from alpaca_tui.core.errors import AlpacaError, Cancelled

MIN_SHARED = 64  # tokens; a shorter common prefix is not worth a pass of its own
REMEMBERED = 8  # prompts that came alone: what a later one shares with them is worth keeping
KEPT_PREFIXES = 3  # the templates of a recipe that begin with examples
PREFILL_TOKENS = 16_384  # padded tokens read in one forward pass at most, which bounds its activations
SHORT = 4  # tokens; rows that may say no more are decoded at once and never join the batch


def common_prefix(prompts: Sequence[list[int]]) -> int:
    """The number of leading tokens that all prompts share, at least one token short of the shortest prompt."""
    first, last = min(prompts), max(prompts)  # in lexical order these two differ the soonest
    limit = min(len(prompt) for prompt in prompts) - 1
    return next((at for at in range(limit) if first[at] != last[at]), limit)


def _no_more(free: int) -> Sequence[Row]:
    return ()


class Decoder:
    """Completes rows with a causal language model whose attention is ``kvcache.ATTENTION``."""

    def __init__(self, model: Any, eos_ids: frozenset[int], pad_id: int, *, share_prefix: bool = True) -> None:
        self.model = model
        self.eos_ids = eos_ids
        self.pad_id = pad_id
        self.share_prefix = share_prefix
        self.device: torch.device = model.device
        self.layers = int(model.config.num_hidden_layers)
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
                worthwhile = free >= max(1, batch_size // 4)
                if batch is not None and worthwhile and not waiting and not asked:
                    waiting.extend(more(free))
                    asked = not waiting
                if waiting and (batch is None or worthwhile):
                    prefix = self._prefix([row.prompt for row in waiting])
                    fresh, finished = self._admit(self._take(waiting, free, prefix), prefix)
                    if fresh is not None:
                        batch = self._merge(batch, fresh)
                else:
                    assert batch is not None
                    self._step(batch)
                    finished = [row for row in batch.rows if row.finish]
                    batch = self._settle(batch)
                asked = asked and not finished
                on_step(batch.rows if batch else (), finished)

    def _take(self, waiting: deque[Row], free: int, prefix: Prefix | None) -> list[Row]:
        """The next rows to read: as many as are free and as fit one forward pass."""
        shared = len(prefix) if prefix is not None else 0
        rows: list[Row] = []
        longest = 0
        while waiting and len(rows) < free:
            longest = max(longest, len(waiting[0].prompt) - shared)
            if rows and longest * (len(rows) + 1) > PREFILL_TOKENS:
                break
            rows.append(waiting.popleft())
        return rows

    def _admit(self, rows: list[Row], prefix: Prefix | None) -> tuple[Batch | None, list[Row]]:
        """Reads the prompts of ``rows`` (what follows the prefix) and draws their first tokens, all of those of
        short answers. Returns those that go on, and those that are finished."""
        shared = len(prefix) if prefix is not None else 0
        batch: Batch | None = None
        for part in by_length(rows, shared):
            batch = self._merge(batch, self._begin(part, prefix))
        assert batch is not None
        finished = [row for row in batch.rows if row.finish]
        left = self._settle(batch)
        while left is not None and all(row.limit <= SHORT for row in rows):
            self._step(left)
            finished += [row for row in left.rows if row.finish]
            left = self._settle(left)
        return left, finished

    def _begin(self, rows: list[Row], prefix: Prefix | None) -> Batch:
        for row in rows:
            row.start()
        cache = RowCache(self.layers, prefix, len(rows))
        shared = len(prefix) if prefix is not None else 0
        logits, pads = self._read([row.prompt[shared:] for row in rows], cache)
        for at, row in enumerate(rows):
            if row.choices:
                chances = torch.log_softmax(logits[at], dim=-1)[row.choices]
                row.choice_logprobs = tuple(chances.tolist())
        sampler = self._sampler(rows, logits.shape[-1])
        tokens = self._draw(rows, sampler, logits)
        return Batch(rows, cache, pads, tokens, sampler)

    def _step(self, batch: Batch) -> None:
        """One token more for every row."""
        cache = batch.cache
        pads = torch.tensor(batch.pads, device=self.device)
        positions = torch.tensor(cache.prefix_lengths, device=self.device) + cache.length - pads
        mask = None
        if any(batch.pads):
            columns = torch.arange(cache.length + 1, device=self.device)
            mask = self._additive(columns < pads[:, None])[:, None, None, :]
        cache.group(batch.pads)
        logits = self._forward(batch.tokens[:, None], positions[:, None], mask, cache)
        batch.tokens = self._draw(batch.rows, batch.sampler, logits)

    def _read(self, suffixes: list[list[int]], cache: RowCache) -> tuple[torch.Tensor, list[int]]:
        """Runs ``suffixes`` through the model into ``cache``; returns fp32 logits (B, V) and the padding."""
        length = max(len(suffix) for suffix in suffixes)
        pads = [length - len(suffix) for suffix in suffixes]
        padded = [[self.pad_id] * pad + suffix for pad, suffix in zip(pads, suffixes, strict=True)]
        tokens = torch.tensor(padded, device=self.device)
        shared = cache.prefix_lengths[0]
        columns = torch.arange(length, device=self.device)
        offset = torch.tensor(pads, device=self.device)[:, None]
        positions = shared + (columns - offset).clamp_(min=0)
        mask = None
        # A single column needs no mask; without padding and prefix SDPA's own causal kernel is the fastest.
        if length > 1 and (shared or any(pads)):
            real = columns[None, None, :] >= offset[:, :, None]
            causal = columns[None, :] <= columns[:, None]
            # A padding query sees itself: a softmax over nothing would be NaN.
            own = (real & causal) | torch.eye(length, dtype=torch.bool, device=self.device)
            mask = self._additive(~own)[:, None]
        return self._forward(tokens, positions, mask, cache), pads

    def _additive(self, hidden: torch.Tensor) -> torch.Tensor:
        """A mask to be added to scores, from one that is true where a key must not be seen."""
        mask = torch.zeros(hidden.shape, dtype=self.model.dtype, device=self.device)
        return mask.masked_fill_(hidden, float("-inf"))

    def _forward(
        self, tokens: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, cache: RowCache
    ) -> torch.Tensor:
        out = self.model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=mask,
            cache=cache,
            use_cache=True,
            logits_to_keep=1,
            kv=cache,
        )
        logits = out.logits[:, -1].float()
        if bool(torch.isnan(logits.amax(dim=-1)).any()):
            raise AlpacaError(
                f"the model computes NaN in {str(self.model.dtype).removeprefix('torch.')}: its weights are "
                "damaged or overflow in this type; try float32"
            )
        return logits

    def _draw(self, rows: list[Row], sampler: Sampler, logits: torch.Tensor) -> torch.Tensor:
        tokens = sampler.draw(logits)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            row.push(token, self.eos_ids)
        return tokens

    def _sampler(self, rows: list[Row], vocab_size: int) -> Sampler:
        return Sampler(
            [row.request.params for row in rows],
            [row.generator for row in rows],
            [row.ids for row in rows],
            self.device,
            vocab_size,
        )

    def _merge(self, batch: Batch | None, fresh: Batch) -> Batch:
        if batch is None:
            return fresh
        batch = Batch(batch.rows, batch.cache, batch.pads, batch.tokens, batch.sampler)
        batch.join(fresh)
        batch.sampler = self._sampler(batch.rows, int(self.model.config.vocab_size))
        return batch

    def _settle(self, batch: Batch) -> Batch | None:
        """The batch without its finished rows; None when nobody is left."""
        kept = [at for at, row in enumerate(batch.rows) if row.finish is None]
        if not kept:
            return None
        if len(kept) < len(batch.rows):
            batch.keep(kept)
            batch.sampler = self._sampler(batch.rows, int(self.model.config.vocab_size))
        return batch

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
        cache = RowCache(self.layers, known)
        rest = wanted[len(known) if known is not None else 0 :]
        for begin in range(0, len(rest), PREFILL_TOKENS):
            part = rest[begin : begin + PREFILL_TOKENS]
            self._read([list(part)], cache)
            if cache.prefix is None:
                keys = [layer.own_keys().clone() for layer in cache.row_layers]
                known = Prefix(part, keys, [layer.own_values().clone() for layer in cache.row_layers])
            else:
                known = cache.prefix.joined(part, cache)
            cache = RowCache(self.layers, known)
        assert known is not None
        return known

    def forget(self) -> None:
        """Frees the kept prefixes."""
        self._prefixes = []


def _matching(kept: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    """The number of leading tokens in which the two agree."""
    limit = min(len(kept), len(wanted))
    return next((at for at in range(limit) if kept[at] != wanted[at]), limit)
