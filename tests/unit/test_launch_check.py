"""A training that cannot fit is refused before it is launched, with its numbers and a way that fits."""

from __future__ import annotations

import pytest

from alpaca_tui.core.launch_check import needed, refusal
from alpaca_tui.core.memory_plan import GIB, estimate, usable
from alpaca_tui.core.memory_terms import Setup
from alpaca_tui.jobs.shapes import shape

V100 = usable(32)
LLAMA_7B = shape("llama-7b")


def test_full_tuning_of_7b_on_four_gpus_of_32_gb_is_refused() -> None:
    said = refusal(LLAMA_7B, Setup(method="full", gpus=4, micro_batch=4), V100)
    assert said is not None and "31.8 GiB" in said and "--method lora needs" in said
    # fp32 weights, gradients and two moments, and DDP's buckets: 20 bytes a parameter at the least.
    assert needed(LLAMA_7B, Setup(method="full", gpus=4)) > 20 * LLAMA_7B.parameters
    # Sharded over the four it would be far less: the planner's answer is to another launch.
    assert estimate(LLAMA_7B, Setup(method="full", gpus=4)).total < 0.5 * 20 * LLAMA_7B.parameters


@pytest.mark.parametrize("gpus", [1, 4])
def test_lora_of_7b_on_gpus_of_32_gb_goes_ahead(gpus: int) -> None:
    assert refusal(LLAMA_7B, Setup(method="lora", gpus=gpus, micro_batch=4), V100) is None


def test_full_tuning_of_a_small_model_goes_ahead() -> None:
    assert (
        refusal(shape("smollm2-135m"), Setup(method="full", gpus=4, micro_batch=8, checkpointing=False), V100) is None
    )


def test_a_smaller_micro_batch_is_named_where_it_suffices() -> None:
    setup = Setup(method="lora", gpus=1, micro_batch=64, seq=2048, checkpointing=False)
    said = refusal(LLAMA_7B, setup, V100)
    assert said is not None and "; --micro-batch 1 --set gradient_checkpointing=true needs" in said


def test_where_nothing_fits_another_model_is_advised() -> None:
    said = refusal(shape("llama-65b"), Setup(method="full", gpus=4), 16 * GIB)
    assert said is not None and "choose a smaller model" in said
