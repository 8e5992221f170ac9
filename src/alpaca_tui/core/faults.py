"""What mode ``faithful`` costs: counted completion by completion, by reading each also in mode ``fixed``.

The names are those of the known faults of the two public codebases (Self-Instruct, Stanford Alpaca).
"""

from __future__ import annotations

from collections.abc import Sequence

from alpaca_tui.core.records import Completion

CUT_ITEMS = "items_lost_by_length"
MISREAD_ITEMS = "items_misread"
TORN_ITEMS = "items_torn_by_stop"
LOWERED = "items_lowercased"
FAILED_CALLS = "failed_calls_kept_empty"

FAULTS = (CUT_ITEMS, MISREAD_ITEMS, TORN_ITEMS, LOWERED, FAILED_CALLS)
"""Every name that ``cost`` may give."""


def cost(completion: Completion, faithful: Sequence[str], fixed: Sequence[str]) -> dict[str, int]:
    """How often each fault bit in this completion; what didn't is left out.

    ``faithful`` and ``fixed`` are the items (instructions, outputs) that each mode read from it. An item counts as
    lost by length where fixed keeps it from a completion that was cut, and as misread where it was not cut. A stop
    string found in the midst of a line tore an item, which is kept as if it were whole.
    """
    if completion.finish_reason == "error":
        return {FAILED_CALLS: 1}
    lost = max(0, len(fixed) - len(faithful))
    plain = {item.casefold(): item for item in fixed}
    found = {
        CUT_ITEMS: lost if completion.finish_reason == "length" else 0,
        MISREAD_ITEMS: 0 if completion.finish_reason == "length" else lost,
        TORN_ITEMS: int(torn_by_stop(completion)),
        LOWERED: sum(plain.get(item.casefold(), item) != item for item in faithful),
    }
    return {fault: count for fault, count in found.items() if count}


def torn_by_stop(completion: Completion) -> bool:
    """Whether the stop string that ended it stood in the midst of a line: "it costs 16." and no item 16."""
    stop = completion.stopped_by
    if stop is None or stop.startswith("\n"):
        return False
    return bool(completion.text.rpartition("\n")[2].strip())
