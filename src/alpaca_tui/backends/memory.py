"""What the machine offers a model: the number type that is fast and safe on it, and how many rows fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import torch

from alpaca_tui.core.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_EXPECTED_TOKENS = 1024  # a row's own tokens, the shared prefix aside: the paper's longest prompts and answers
_LOGITS_COPIES = 6  # fp32 logits, penalised, scaled, exponentiated, sorted, and their order
_MOST_ROWS = {"cpu": 32, "cuda": 128}  # more rows wait longer for their text and gain little


def choose_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """The type called ``name``, or the one for ``device`` where it is None. Raises UsageError for an
    unknown name.

    bfloat16 on GPUs of compute capability 8.0 and up (below, torch only emulates it), else float16; on CPUs
    bfloat16 where the processor computes it in hardware, else float32.
    """
    if name is not None:
        if name not in DTYPES:
            raise UsageError(f"unknown dtype {name!r}: choose {', '.join(DTYPES)}")
        return DTYPES[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    return torch.bfloat16 if _cpu_has_fast_bf16() else torch.float32


def _cpu_has_fast_bf16() -> bool:
    """Whether the CPU has bf16 dot products: the flags that training goes by.

    A flag, not a timing: all models of an evaluation must be scored in the same type, or rounding is measured.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16"))


def fitting_rows(config: Any, dtype: torch.dtype, device: torch.device) -> int:
    """How many rows to decode at once, from the memory that is free beside the loaded weights; at least 1."""
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv_bytes = 2 * config.num_hidden_layers * kv_heads * width * dtype.itemsize * _EXPECTED_TOKENS
    row_bytes = kv_bytes + config.vocab_size * 4 * _LOGITS_COPIES
    on_gpu = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else psutil.virtual_memory().available
    # Half is left for the prefix, activations and fragments, and, on a CPU, for everybody else.
    return max(1, min(_MOST_ROWS.get(device.type, 16), free // 2 // row_bytes))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is a failed allocation, on a GPU or in the CPU's allocator."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
