"""Drawing the demonstrations that a prompt shows, from what people and the model have written so far."""

from __future__ import annotations

import random
from collections.abc import Sequence

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.records import PoolEntry


def draw_demonstrations(
    rng: random.Random,
    human: Sequence[PoolEntry],
    machine: Sequence[PoolEntry],
    count: int = 8,
    machine_count: int = 2,
) -> tuple[PoolEntry, ...]:
    """``count`` different entries in random order, up to ``machine_count`` of them written by the model.

    Where the model has not yet written that many, human-written ones take their place (Self-Instruct, arXiv
    2212.10560, section 2.2: 8 shown, 6 human and 2 machine). The draw depends on the state of ``rng`` and on the
    order of the two sequences alone, and costs O(count), however large they are.

    Raises UsageError where the numbers make no sense or where there are too few human-written entries.
    """
    if count < 1 or not 0 <= machine_count <= count:
        raise UsageError(
            f"demonstrations: {machine_count} machine-written of {count} shown cannot be drawn; "
            "give a count of 1 or more and a machine count between 0 and it"
        )
    from_machine = min(machine_count, len(machine))
    from_human = count - from_machine
    if from_human > len(human):
        raise UsageError(
            f"demonstrations: {from_human} human-written instructions are needed and {len(human)} are in the "
            "pool; add or enable seed tasks, or show fewer demonstrations"
        )
    drawn = [*rng.sample(machine, from_machine), *rng.sample(human, from_human)]
    rng.shuffle(drawn)
    return tuple(drawn)
