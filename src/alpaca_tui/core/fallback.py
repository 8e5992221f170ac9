"""What to try next when a training runs out of memory: the next method down, as an option to type."""

from __future__ import annotations

from alpaca_tui.core.presets import Method


def next_down(method: Method, *, micro_batch: int, checkpointing: bool, sharded: bool, offload: bool, gpus: int) -> str:
    """The least change that needs less memory than the training that did not fit, in a clause.

    First what changes nothing of the result (a smaller micro-batch, checkpointing), then the next method down: full
    tuning in shards, full tuning with its states in the host's memory, LoRA, QLoRA.
    """
    if micro_batch > 1:
        return f"--micro-batch {max(1, micro_batch // 2)} (the batch of a step stays the same)"
    if not checkpointing:
        return "--set gradient_checkpointing=true (each activation is computed twice)"
    if method == "full":
        if gpus > 1 and not sharded:
            return "--method full --recipe v100x4-full (weights, gradients and moments in shards)"
        if gpus and not offload:
            return "--method full-offload (weights, gradients and moments in the host's memory)"
        return "--method lora"
    if method == "lora" and gpus:
        return "--method qlora (the base in 4 bits)"
    return "--set max_length=256 (longer examples are cut), or a smaller model"
