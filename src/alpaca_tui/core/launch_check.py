"""Will a training fit as it is launched, and what would fit where it does not."""

from __future__ import annotations

from dataclasses import replace

from alpaca_tui.core import memory_terms as terms
from alpaca_tui.core.memory_plan import GIB, estimate, verdict
from alpaca_tui.core.memory_terms import Setup, Shape


def needed(shape: Shape, setup: Setup, *, shards: bool) -> float:
    """Bytes on each GPU. Full tuning whose recipe does not shard runs under DDP, which copies weights, gradients and
    moments to every GPU instead of spreading them.
    """
    if setup.method != "full" or shards:
        return estimate(shape, setup).total
    alone = estimate(shape, replace(setup, gpus=1, offload=False)).total
    # DDP holds its communication buckets beside the gradients.
    return alone + (terms.SINGLE * shape.parameters if setup.gpus > 1 else 0.0)


def refusal(shape: Shape, setup: Setup, capacity: float, *, shards: bool) -> str | None:
    """Why the training won't fit on GPUs that leave ``capacity`` bytes each to a process, and what would; else None.

    ``setup`` holds the settings that the training would run with; ``shards`` says whether its recipe spreads states.
    """
    bytes_needed = needed(shape, setup, shards=shards)
    if verdict(bytes_needed, capacity) != "no":
        return None
    small = "--micro-batch 1 --set gradient_checkpointing=true"
    smallest = replace(setup, micro_batch=1, checkpointing=True)
    mends = [(small, smallest, shards)]
    if setup.method == "full" and not setup.offload:
        mends += [("--method full", replace(smallest, offload=False), True)] * (not shards and setup.gpus > 1)
        mends += [("--method full-offload", replace(smallest, offload=True), True)]
    if setup.method != "qlora":
        lora = replace(setup, method="lora", offload=False)
        mends += [("--method lora", lora, False), (f"--method lora {small}", replace(smallest, method="lora"), False)]
        qlora = replace(smallest, method="qlora", offload=False, quantization="nf4-dq")
        mends += [(f"--method qlora {small}", qlora, False)]
    fitting = ((way, needed(shape, other, shards=spread)) for way, other, spread in mends)
    mend = next((item for item in fitting if verdict(item[1], capacity) != "no"), None)
    advice = (
        f"{mend[0]} needs {mend[1] / GIB:.1f} GiB" if mend else "choose a smaller model; alpaca-tui plan compares them"
    )
    how = "its share of what is sharded" if setup.method == "full" and shards else "a whole copy"
    return (
        f"{shape.name} by {setup.method} needs {bytes_needed / GIB:.1f} GiB on each GPU, which has "
        f"{capacity / GIB:.1f} GiB: every GPU holds {how}; {advice}"
    )
