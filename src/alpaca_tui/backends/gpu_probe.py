"""What torch really does on this machine's GPUs: ``python -m alpaca_tui.backends.gpu_probe`` prints JSON lines.

A process of its own, because a wrong build can end it: each line is printed as soon as it is known, and a line
``{"stage": …}`` before each trial says where it ended. Nothing but the standard library is imported before the first
stage.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any


def tell(**values: Any) -> None:
    """Print one line at once: the next step may be the last."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def tried(trial: Callable[[], bool]) -> str:
    """``ok``, or in one line why not."""
    try:
        return "ok" if trial() else "wrong result"
    except Exception as error:  # whatever a driver or a library raises is the answer
        text = " ".join(str(error).split())
        return f"{type(error).__name__}: {text}"[:300]


def architectures(torch: Any) -> list[str]:
    """The GPU architectures that this build carries kernels for, also where the driver is too old to start CUDA."""
    flags = getattr(torch._C, "_cuda_getArchFlags", lambda: None)()
    return list(torch.cuda.get_arch_list()) or (flags or "").split()


def matmul(torch: Any, device: str) -> bool:
    """An fp16 product whose every entry is exactly 256."""
    ones = torch.ones(256, 256, dtype=torch.float16, device=device)
    return bool((ones @ ones == 256).all().item())


def attention(torch: Any, device: str) -> bool:
    """Fused causal attention in fp16 at LLaMA's head size, forward and backward, with finite gradients."""
    query, key, value = (
        torch.randn(1, 4, 128, 128, dtype=torch.float16, device=device, requires_grad=True) for _ in range(3)
    )
    out = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    out.float().sum().backward()
    return all(bool(torch.isfinite(x.grad).all().item()) for x in (query, key, value))


def collective(torch: Any, count: int) -> bool:
    """A sum over all GPUs through NCCL."""
    parts = [torch.full((1024,), float(rank + 1), device=f"cuda:{rank}") for rank in range(count)]
    torch.cuda.nccl.all_reduce(parts)
    expected = count * (count + 1) / 2
    return all(bool((part == expected).all().item()) for part in parts)


def nf4(torch: Any) -> bool:
    """A matrix to 4 bits and back within NF4's coarseness."""
    functional = importlib.import_module("bitsandbytes.functional")
    matrix = torch.randn(256, 256, dtype=torch.float16, device="cuda:0")
    codes, state = functional.quantize_4bit(matrix, quant_type="nf4")
    error = (functional.dequantize_4bit(codes, state) - matrix).abs().mean().item()
    return bool(error < 0.15)


def main() -> int:
    """Ask torch, each GPU, NCCL and bitsandbytes in turn."""
    tell(stage="importing torch")
    try:
        import torch
    except Exception as error:
        text = " ".join(str(error).split())
        tell(error=f"{type(error).__name__}: {text}"[:300])
        return 0
    tell(version=str(torch.__version__), cuda=torch.version.cuda)
    tell(stage="starting CUDA")
    tell(architectures=architectures(torch))
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        device = f"cuda:{index}"
        properties = torch.cuda.get_device_properties(index)
        gpu = {"name": properties.name, "capability": [properties.major, properties.minor]}
        tell(stage=f"the matrix product on GPU {index}")
        gpu["matmul"] = tried(lambda device=device: matmul(torch, device))  # type: ignore[misc]
        tell(stage=f"attention on GPU {index}")
        gpu["attention"] = tried(lambda device=device: attention(torch, device))  # type: ignore[misc]
        tell(gpu=gpu)
    if torch.distributed.is_available() and torch.distributed.is_nccl_available():
        tell(nccl=".".join(map(str, torch.cuda.nccl.version())))
        if count > 1:
            tell(stage="the sum over all GPUs (NCCL)")
            tell(collective=tried(lambda: collective(torch, count)))
    _ask_bitsandbytes(torch, count)
    tell(stage="done")
    return 0


def _ask_bitsandbytes(torch: Any, count: int) -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        tell(bitsandbytes=version("bitsandbytes"))
    except PackageNotFoundError:
        return
    if count:
        tell(stage="4-bit weights (bitsandbytes)")
        tell(nf4=tried(lambda: nf4(torch)))


if __name__ == "__main__":
    sys.exit(main())
