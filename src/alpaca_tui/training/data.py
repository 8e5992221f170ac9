"""From encoded examples to the micro-batches of every step of a run, planned before it starts."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset

from alpaca_tui.core.errors import RefusedError
from alpaca_tui.core.masking import Encoded

Batch = dict[str, Any]
"""``input_ids`` and what the model needs beside them, ``logits_to_keep`` (where a label is predicted) and ``labels``
(K,), the token to predict at each of those places."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which examples go into which micro-batch, for a whole run.

    ``micro_batches`` holds example indices in the order step, then accumulation, then process: process ``r`` of
    ``world_size`` takes every ``world_size``-th one. ``tokens_by_step`` counts the tokens of each step over all
    processes. The plan is a function of its arguments alone, so a resumed run sees what an uninterrupted one sees.
    """

    micro_batches: tuple[tuple[int, ...], ...]
    accumulation: int
    world_size: int
    tokens_by_step: tuple[int, ...]
    epochs: float

    @property
    def steps(self) -> int:
        """The number of optimiser steps."""
        return len(self.tokens_by_step)


def plan_run(
    lengths: Sequence[int],
    *,
    global_batch: int,
    micro_batch: int,
    world_size: int,
    epochs: float,
    max_steps: int | None,
    seed: int,
    by_length: bool,
) -> Plan:
    """Lay out a run over examples of the given ``lengths`` (tokens).

    The examples of step ``s`` do not depend on ``micro_batch`` or ``world_size``. Each pass shuffles anew, and steps
    run across the border between passes, so that every step is a full ``global_batch``; only the last one may be
    smaller (with ``epochs``), and is filled up to one example per micro-batch. Within a step the examples are either
    grouped by length (``by_length``, least padding) or spread so that every micro-batch has about as many tokens
    (least waiting between processes when nothing is padded).

    Raises RefusedError without examples.
    """
    n = len(lengths)
    if n == 0:
        raise RefusedError("there is no example to train on: every one was dropped, or the data set is empty")
    accumulation = math.ceil(global_batch / (micro_batch * world_size))
    groups = accumulation * world_size
    wanted = max(1, round(n * epochs)) if max_steps is None else max_steps * global_batch
    steps = math.ceil(wanted / global_batch)
    order = _shuffled_passes(n, seed)
    split = _by_length if by_length else _by_tokens
    micro_batches: list[tuple[int, ...]] = []
    tokens: list[int] = []
    for step in range(steps):
        size = max(groups, min(global_batch, wanted - step * global_batch))
        chosen = sorted((next(order) for _ in range(size)), key=lambda i: (-lengths[i], i))
        micro_batches += split(chosen, lengths, groups, micro_batch)
        tokens.append(sum(lengths[i] for i in chosen))
    return Plan(tuple(micro_batches), accumulation, world_size, tuple(tokens), wanted / n)


def _shuffled_passes(n: int, seed: int) -> Iterator[int]:
    number = 0
    while True:
        order = list(range(n))
        random.Random(f"{seed}:{number}").shuffle(order)
        yield from order
        number += 1


def _by_length(chosen: list[int], lengths: Sequence[int], groups: int, most: int) -> list[tuple[int, ...]]:
    """Cut the examples, longest first, into ``groups`` runs whose sizes differ by at most one."""
    base, extra = divmod(len(chosen), groups)
    cuts = [group * base + min(group, extra) for group in range(groups + 1)]
    return [tuple(chosen[a:b]) for a, b in itertools.pairwise(cuts)]


def _by_tokens(chosen: list[int], lengths: Sequence[int], groups: int, most: int) -> list[tuple[int, ...]]:
    """Longest first into the group with the fewest tokens so far (Graham's rule), at most ``most`` to a group."""
    members: list[list[int]] = [[] for _ in range(groups)]
    loads = [0] * groups
    for index in chosen:
        open_groups = [g for g in range(groups) if len(members[g]) < most]
        target = min(open_groups, key=lambda g: (loads[g], g))
        members[target].append(index)
        loads[target] += lengths[index]
    # Neighbours run at the same time on different processes, so they should cost the same; the largest come first,
    # where running out of memory costs least.
    members.sort(key=lambda group: -sum(lengths[i] for i in group))
    return [tuple(group) for group in members]


class MicroBatches(Dataset[Batch]):
    """The micro-batches of a plan as tensors, made when they are asked for."""

    def __init__(
        self,
        examples: Sequence[Encoded],
        micro_batches: Sequence[Sequence[int]],
        collate: Callable[[Sequence[Encoded]], Batch],
    ) -> None:
        self.examples = examples
        self.micro_batches = micro_batches
        self.collate = collate

    def __len__(self) -> int:
        return len(self.micro_batches)

    def __getitem__(self, index: int) -> Batch:
        return self.collate([self.examples[i] for i in self.micro_batches[index]])


def evaluation_batches(examples: Sequence[Encoded], micro_batch: int) -> list[tuple[int, ...]]:
    """Indices of all examples once, longest first, ``micro_batch`` to a batch."""
    order = sorted(range(len(examples)), key=lambda i: (-len(examples[i].input_ids), i))
    return [tuple(order[i : i + micro_batch]) for i in range(0, len(order), micro_batch)]


def collate_flattened(examples: Sequence[Encoded]) -> Batch:
    """The examples end to end in one row of T tokens, positions starting anew with each; no padding."""
    ids: list[int] = []
    positions: list[int] = []
    keep: list[int] = []
    labels: list[int] = []
    for example in examples:
        start, length = len(ids), len(example.input_ids)
        ids += example.input_ids
        positions += range(length)
        # The logits at place p predict the token at p + 1; nothing predicts the first token.
        first = max(1, example.prompt_tokens)
        keep += range(start + first - 1, start + length - 1)
        labels += example.input_ids[first:]
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "logits_to_keep": torch.tensor(keep),
        "labels": torch.tensor(labels),
        "sequence_lengths": [len(example.input_ids) for example in examples],
    }


class PaddedCollator:
    """The examples as rows of one rectangle, padded on the right with ``pad_id``: (B, T).

    Padding goes on the right so that every token keeps the position it has at generation.
    """

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, examples: Sequence[Encoded]) -> Batch:
        width = max(len(example.input_ids) for example in examples)
        ids = torch.full((len(examples), width), self.pad_id)
        attention = torch.zeros((len(examples), width), dtype=torch.long)
        keep = torch.zeros((len(examples), width), dtype=torch.bool)
        labels: list[int] = []
        for row, example in enumerate(examples):
            length, first = len(example.input_ids), max(1, example.prompt_tokens)
            ids[row, :length] = torch.tensor(example.input_ids)
            attention[row, :length] = 1
            keep[row, first - 1 : length - 1] = True
            labels += example.input_ids[first:]
        return {
            "input_ids": ids,
            "attention_mask": attention,
            "logits_to_keep": keep,
            "labels": torch.tensor(labels),
        }


def first_item(items: list[Batch]) -> Batch:
    """A data loader's collate function for a data set whose items are batches already."""
    return items[0]
