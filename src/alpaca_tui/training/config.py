"""What a fine-tune is told to do, checked before anything is loaded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.presets import ALL_LINEAR, ATTENTION_PROJECTIONS, PRESETS, Method, Preset, preset_for

__all__ = ["ALL_LINEAR", "ATTENTION_PROJECTIONS", "PRESETS", "Method", "Preset", "TrainConfig", "preset_for"]

Precision = Literal["auto", "fp32", "bf16", "fp16"]


class TrainConfig(BaseModel):
    """One fine-tune. Lengths are in tokens, batches in examples, intervals in optimiser steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path
    """A directory with a causal language model and its tokenizer in safetensors."""
    output_dir: Path
    """Where checkpoints and the result are written."""
    method: Method = "lora"
    learning_rate: float = Field(default=3e-4, gt=0)
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the training examples; ignored where ``max_steps`` is set."""
    max_steps: int | None = Field(default=None, ge=1)
    micro_batch: int = Field(default=4, ge=1)
    """The most examples in one forward pass on one device."""
    global_batch: int = Field(default=128, ge=1)
    """Examples per optimiser step over all devices; accumulation follows from it."""
    max_length: int = Field(default=512, ge=8)
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    lora_rank: int = Field(default=8, ge=1)
    lora_alpha: int = Field(default=16, ge=1)
    lora_dropout: float = Field(default=0.05, ge=0, lt=1)
    lora_targets: tuple[str, ...] = Field(default=ATTENTION_PROJECTIONS, min_length=1)
    seed: int = Field(default=0, ge=0)
    precision: Precision = "auto"
    device: Literal["auto", "cpu"] = "auto"
    """``auto`` takes the GPU where there is one."""
    quantization: Literal["nf4", "nf4-dq"] = "nf4-dq"
    """How QLoRA holds the frozen base: 4-bit NormalFloat, with ``-dq`` its scales quantised as well."""
    optimizer: Literal["adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"] = "adamw_torch_fused"
    """All but the first come from bitsandbytes: 8-bit moments, or such as move to the host when memory is short."""
    probe: bool = True
    """Before the first step, run three passes over the longest micro-batch to see the real peak of memory."""
    max_truncated: float = Field(default=0.5, ge=0, le=1)
    """Refuse to train where more than this share of the examples is cut at ``max_length``."""
    flatten: bool = True
    """Concatenate the examples of a micro-batch instead of padding them."""
    gradient_checkpointing: bool = False
    save_every: int = Field(default=50, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    eval_every: int = Field(default=25, ge=1)
    resume: bool = True
    """Go on from the newest verified checkpoint in ``output_dir``, if there is one."""
    report_to: tuple[str, ...] = ()
    """Trackers of the Hugging Face Trainer (``tensorboard``, ``trackio``, ``wandb``) to report to as well."""

    @model_validator(mode="after")
    def _batches_fit(self) -> Self:
        if self.micro_batch > self.global_batch:
            raise ValueError(f"micro_batch is {self.micro_batch}, more than the global_batch of {self.global_batch}")
        return self

    @classmethod
    def parse(cls, values: dict[str, Any]) -> TrainConfig:
        """The configuration from plain values. Raises UsageError that names every setting at fault."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}" for item in error.errors()
            )
            raise UsageError(f"the training settings are not usable: {faults}") from error

    @classmethod
    def for_model(cls, parameters: int, method: Method, **values: Any) -> TrainConfig:
        """The preset for a model of this many parameters, with ``values`` (None means: not said) over it."""
        said = {name: value for name, value in values.items() if value is not None}
        settings = {"method": method, **preset_for(parameters, method).settings, **said}
        if "micro_batch" not in said and isinstance(settings["global_batch"], int):
            # The preset's micro-batch is a ceiling; a smaller global batch that was asked for lowers it.
            settings["micro_batch"] = max(1, min(settings["micro_batch"], settings["global_batch"]))
        return cls.parse(settings)

    def accumulation(self, world_size: int) -> int:
        """Micro-batches per optimiser step and device so that ``global_batch`` examples make one step.

        Raises UsageError where there are more devices than examples in a step.
        """
        if world_size > self.global_batch:
            raise UsageError(
                f"a global_batch of {self.global_batch} cannot be spread over {world_size} processes; "
                f"set global_batch to at least {world_size}"
            )
        return math.ceil(self.global_batch / (self.micro_batch * world_size))
