"""Will a training fit as it is really launched: a whole copy of the model on every GPU, whatever a plan could shard."""

from __future__ import annotations

from dataclasses import replace

from alpaca_tui.core import memory_terms as terms
from alpaca_tui.core.memory_plan import GIB, estimate, verdict
from alpaca_tui.core.memory_terms import Setup, Shape


def needed(shape: Shape, setup: Setup) -> float:
    """Bytes on each GPU under DDP, which copies the weights, gradients and moments instead of spreading them."""
    if setup.method != "full":
        return estimate(shape, setup).total
    alone = estimate(shape, replace(setup, gpus=1, offload=False)).total
    # DDP holds its communication buckets beside the gradients.
    return alone + (terms.SINGLE * shape.parameters if setup.gpus > 1 else 0.0)


def refusal(shape: Shape, setup: Setup, capacity: float) -> str | None:
    """Why the training won't fit on GPUs that leave ``capacity`` bytes each to a process, and what would; else None.

    ``setup`` holds the settings that the training would run with.
    """
    bytes_needed = needed(shape, setup)
    if verdict(bytes_needed, capacity) != "no":
        return None
    smallest = replace(setup, micro_batch=1, checkpointing=True)
    mends = [
        ("--micro-batch 1 --set gradient_checkpointing=true", smallest),
        ("--method lora", replace(setup, method="lora")),
        ("--method lora --micro-batch 1 --set gradient_checkpointing=true", replace(smallest, method="lora")),
    ]
    fitting = ((way, needed(shape, other)) for way, other in mends)
    mend = next((item for item in fitting if verdict(item[1], capacity) != "no"), None)
    advice = (
        f"{mend[0]} needs {mend[1] / GIB:.1f} GiB" if mend else "choose a smaller model; alpaca-tui plan compares them"
    )
    return (
        f"{shape.name} by {setup.method} needs {bytes_needed / GIB:.1f} GiB on each GPU, which has "
        f"{capacity / GIB:.1f} GiB: every GPU holds a whole copy; {advice}"
    )
