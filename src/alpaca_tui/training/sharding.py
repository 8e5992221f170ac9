"""What a launch over several processes needs beside the Trainer: who shards, when processes meet, whole weights."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from alpaca_tui.core.errors import RefusedError
from alpaca_tui.training.config import TrainConfig

MEET_TIMEOUT_S = 7200
"""How long processes wait for one another: hashing a checkpoint of 81 GB takes longer than NCCL's ten minutes."""


def world() -> tuple[int, int]:
    """(number of processes, this one's rank), as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))


def shards_by_fsdp() -> bool:
    """Whether the accelerate recipe spreads the states over the processes (FSDP2)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def shards_by_deepspeed() -> bool:
    """Whether the accelerate recipe hands the states to DeepSpeed."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true"


def prepare(config: TrainConfig, *, cpu: bool) -> None:
    """Let the processes meet before the model is read, and give the recipe the training's own settings.

    transformers reads the weights in process 0 alone only where the processes have met already; otherwise the host
    would hold a copy for each. Raises RefusedError for a combination that does not work.
    """
    if shards_by_fsdp():
        if config.method != "full":
            raise RefusedError(
                f"{config.method} is copied to every GPU, not sharded: use the recipe v100x4-lora (or single-gpu); "
                "v100x4-full and v100x4-offload are for --method full"
            )
        if config.optimizer != "adamw_torch_fused":
            raise RefusedError(f"{config.optimizer} cannot update sharded weights (DTensor); use adamw_torch_fused")
        # FSDP wraps the layers for checkpointing itself; the configuration says whether.
        layer = _layer_class(config.model)
        if layer:
            os.environ["FSDP_TRANSFORMER_CLS_TO_WRAP"] = layer
        os.environ["FSDP_ACTIVATION_CHECKPOINTING"] = str(config.gradient_checkpointing).lower()
    size, _ = world()
    if size > 1 and not shards_by_deepspeed():
        PartialState(cpu=cpu, timeout=timedelta(seconds=MEET_TIMEOUT_S))


def _layer_class(model: Path) -> str | None:
    """The class of a decoder layer by transformers' naming: LlamaForCausalLM has LlamaDecoderLayer."""
    try:
        names = json.loads((model / "config.json").read_text("utf-8")).get("architectures") or []
    except (OSError, ValueError):
        return None
    return f"{names[0].removesuffix('ForCausalLM')}DecoderLayer" if names else None


def whole_state(trainer: Any) -> dict[str, torch.Tensor] | None:
    """All weights by name on process 0, gathered from the shards; None where no process holds only a part.

    Every process must call it; the others get an empty dictionary.
    """
    if trainer.is_deepspeed_enabled:
        return trainer.accelerator.get_state_dict(trainer.model_wrapped) or {}
    if not trainer.is_fsdp_enabled:
        return None
    # accelerate's own gathering broadcasts from process 0, for loading; here it only has to arrive there.
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return dict(get_model_state_dict(trainer.model_wrapped, options=options))
