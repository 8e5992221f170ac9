"""Runs a training folder with FSDP2 on the CPU: ``torch.distributed.run … -m training.sharded FOLDER``.

accelerate takes a launch on CPUs for plain data parallel whatever the recipe says. Here its state is told that these
processes are GPUs while it decides, so that everything after that decision (its own ``fully_shard`` wrapping,
checkpoint wrappers, sharded checkpoints, gathering) is what runs on GPUs, over gloo.
"""

from __future__ import annotations

import sys
from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from alpaca_tui.training.main import main

_decide = AcceleratorState.__init__


def _decide_as_on_gpus(self: AcceleratorState, *args: Any, **kwargs: Any) -> None:
    shared = PartialState._shared_state
    if shared.get("distributed_type") != DistributedType.MULTI_CPU:
        return _decide(self, *args, **kwargs)
    shared["distributed_type"] = DistributedType.MULTI_GPU
    try:
        _decide(self, *args, **kwargs)
    finally:
        shared["distributed_type"] = DistributedType.MULTI_CPU


if __name__ == "__main__":
    AcceleratorState.__init__ = _decide_as_on_gpus  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
