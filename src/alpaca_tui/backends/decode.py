"""The batched decode loop: rows behind prefixes computed once, each leaving when it is finished."""

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
from alpaca_tui.backends.prefixes import Prefixes
from alpaca_tui.backends.rows import Row
from alpaca_tui.core.errors import AlpacaError, Cancelled

# Tokens read in one pass at most, which bounds its activations and, on a CPU, how long the rows in flight stand still;
# there a pass gains nothing from more.
PREFILL_TOKENS = {"cpu": 2_048, "cuda": 16_384}


def _no_more(free: int) -> Sequence[Row]:
    return ()


class Decoder:
    """Completes rows with a causal language model, from its ``config`` (transformers') and its ``forward``."""

    def __init__(
        self,
        forward: Forward,
        config: Any,
        device: torch.device,
        eos_ids: frozenset[int],
        *,
        share_prefix: bool = True,
    ) -> None:
        self.forward = forward
        self.eos_ids = eos_ids
        self.device = device
        self.layers = int(config.num_hidden_layers)
        self.vocab_size = int(config.vocab_size)
        self.prefixes = Prefixes(self._extend) if share_prefix else None
        self._at_once = PREFILL_TOKENS.get(device.type, 2_048)

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
                    prefix = self.prefixes.of([row.prompt for row in waiting]) if self.prefixes is not None else None
                    batch, finished = self._begin(batch, self._take(waiting, free, prefix), prefix)
                else:
                    assert batch is not None
                    batch, finished = self._step(batch)
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

    def _begin(self, batch: Batch | None, rows: list[Row], prefix: Prefix | None) -> tuple[Batch | None, list[Row]]:
        """Reads the prompts of ``rows`` (what follows the prefix), draws their first tokens and lets them join
        ``batch``; the rows that are finished with that."""
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
        fresh, finished = self._settle(Batch(cache, sampler))
        if batch is None or fresh is None:
            return batch or fresh, finished
        batch.join(fresh)
        return self._with_sampler(batch), finished

    def _step(self, batch: Batch) -> tuple[Batch | None, list[Row]]:
        """One token more for every row; who goes on, and who is finished."""
        if batch.cache.part():
            self._with_sampler(batch)
        rows = batch.rows
        positions = batch.cache.begin_step()
        newest = torch.tensor([row.ids[-1] for row in rows], device=self.device)
        self._draw(rows, batch.sampler, self._logits(newest, positions, batch.cache))
        return self._settle(batch)

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

    def _with_sampler(self, batch: Batch) -> Batch:
        """The batch with a sampler for its rows as they are now."""
        batch.sampler = self._sampler(batch.rows)
        return batch

    def _settle(self, batch: Batch) -> tuple[Batch | None, list[Row]]:
        """The batch without its finished rows, None when nobody is left, and these rows."""
        finished = batch.settle()
        if not batch.cache.groups:
            return None, finished
        return (self._with_sampler(batch) if finished else batch), finished

    def _extend(self, known: Prefix | None, wanted: tuple[int, ...]) -> Prefix:
        """The prefix ``wanted``, which begins with ``known``."""
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
        if self.prefixes is not None:
            self.prefixes.forget()
