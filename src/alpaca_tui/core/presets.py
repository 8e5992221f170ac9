"""Training settings known to work, by method and size of the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

Method = Literal["lora", "qlora", "full"]
ATTENTION_PROJECTIONS = ("q_proj", "v_proj")
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings known to work for one method up to a size, and where they come from."""

    method: Method
    up_to_parameters: float
    settings: dict[str, Any]
    source: str


# In order: the first preset of the method that is large enough applies.
PRESETS: tuple[Preset, ...] = (
    Preset(
        "lora",
        1e9,
        {"learning_rate": 5e-4, "epochs": 3.0, "global_batch": 8, "micro_batch": 8, "lora_rank": 16,
         "lora_alpha": 32, "lora_targets": ALL_LINEAR},
        "ours: a small model on a few hundred examples needs many small steps and every projection",
    ),
    Preset(
        "lora",
        10e9,
        {"learning_rate": 3e-4, "epochs": 3.0, "global_batch": 128, "micro_batch": 4,
         "gradient_checkpointing": True},
        "alpaca-lora's recipe for LLaMA-7B: rank 8 on q and v, 3e-4, three epochs, batch 128",
    ),
    Preset(
        "lora",
        math.inf,
        {"learning_rate": 2e-4, "epochs": 3.0, "global_batch": 128, "micro_batch": 1,
         "gradient_checkpointing": True},
        "the 7B recipe with a smaller step; micro-batch 1 keeps 13B in fp16 within 32 GB",
    ),
    Preset(
        "full",
        1e9,
        {"learning_rate": 5e-5, "epochs": 3.0, "global_batch": 8, "micro_batch": 8},
        "ours: as for LoRA at this size, with a step fit for all weights",
    ),
    Preset(
        "full",
        10e9,
        {"learning_rate": 2e-5, "epochs": 3.0, "global_batch": 128, "micro_batch": 4,
         "gradient_checkpointing": True},
        "Stanford Alpaca's README, LLaMA-7B",
    ),
    Preset(
        "full",
        math.inf,
        {"learning_rate": 1e-5, "epochs": 5.0, "global_batch": 128, "micro_batch": 1,
         "gradient_checkpointing": True},
        "Stanford Alpaca's README, LLaMA-13B",
    ),
)  # fmt: skip


def preset_for(parameters: int, method: Method) -> Preset:
    """The first preset of ``method`` that covers a model of ``parameters`` weights; QLoRA takes LoRA's."""
    wanted = "lora" if method == "qlora" else method
    return next(item for item in PRESETS if item.method == wanted and parameters <= item.up_to_parameters)
