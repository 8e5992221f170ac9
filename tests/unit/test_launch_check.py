"""A training that cannot fit is refused before it is launched, with its numbers and a way that fits."""

from __future__ import annotations

import pytest

from alpaca_tui.core.launch_check import needed, refusal
from alpaca_tui.core.memory_plan import GIB, usable
from alpaca_tui.core.memory_terms import Setup
from alpaca_tui.jobs.shapes import shape

V100 = usable(32)
LLAMA_7B = shape("llama-7b")


def test_full_tuning_of_7b_on_four_gpus_of_32_gb_is_refused() -> None:
    said = refusal(LLAMA_7B, Setup(method="full", gpus=4, micro_batch=4), V100, shards=False)
    assert said is not None and "31.8 GiB" in said and "a whole copy; --method full needs" in said
    # fp32 weights, gradients and two moments, and DDP's buckets: 20 bytes a parameter at the least.
    assert needed(LLAMA_7B, Setup(method="full", gpus=4), shards=False) > 20 * LLAMA_7B.parameters
    # Sharded over the four it is far less, and goes ahead.
    assert needed(LLAMA_7B, Setup(method="full", gpus=4), shards=True) < 0.5 * 20 * LLAMA_7B.parameters
    assert refusal(LLAMA_7B, Setup(method="full", gpus=4, micro_batch=4), V100, shards=True) is None


def test_full_tuning_of_13b_is_sent_to_the_hosts_memory() -> None:
    said = refusal(shape("llama-13b"), Setup(method="full", gpus=4), V100, shards=True)
    assert said is not None and "its share of what is sharded; --method full-offload needs" in said


@pytest.mark.parametrize("gpus", [1, 4])
def test_lora_of_7b_on_gpus_of_32_gb_goes_ahead(gpus: int) -> None:
    assert refusal(LLAMA_7B, Setup(method="lora", gpus=gpus, micro_batch=4), V100, shards=False) is None


def test_full_tuning_of_a_small_model_goes_ahead() -> None:
    assert (
        refusal(
            shape("smollm2-135m"), Setup(method="full", gpus=4, micro_batch=8, checkpointing=False), V100, shards=False
        )
        is None
    )


def test_a_smaller_micro_batch_is_named_where_it_suffices() -> None:
    setup = Setup(method="lora", gpus=1, micro_batch=64, seq=2048, checkpointing=False)
    said = refusal(LLAMA_7B, setup, V100, shards=False)
    assert said is not None and "; --micro-batch 1 --set gradient_checkpointing=true needs" in said


def test_where_nothing_fits_another_model_is_advised() -> None:
    said = refusal(shape("llama-65b"), Setup(method="qlora", gpus=4, quantization="nf4-dq"), 16 * GIB, shards=False)
    assert said is not None and "choose a smaller model" in said
