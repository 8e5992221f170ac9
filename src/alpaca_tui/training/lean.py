"""LLaMA's layers with their gradients written out, for the CPU: the same numbers, less kept and less computed.

Autograd keeps what each elementary operation saves: of one RMSNorm four tensors, of one adapted projection its input
twice in fp32 and a mask. Written as one function each, they keep their input and compute the rest again. On a CPU,
where memory traffic and the random numbers of dropout take as long as the products, that is also the faster way. A
GPU hides both, so its layers stay as transformers and PEFT wrote them, and as the memory plan counts them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm


def make_lean(model: torch.nn.Module) -> int:
    """Give the layers that are known here their lean forward pass, in place; returns how many were changed.

    Parameters, their names and what is saved stay as they are. A layer of another kind is left alone.
    """
    changed = 0
    for module in model.modules():
        forward = _lean_forward(module)
        if forward is not None:
            module.forward = forward.__get__(module)
            changed += 1
    return changed


def _lean_forward(module: torch.nn.Module) -> Any:
    # Exact types: a subclass may mean another function.
    if type(module) is LlamaRMSNorm:
        return _norm_forward
    if type(module) is LlamaMLP and module.config.hidden_act in ("silu", "swish"):
        return _mlp_forward
    if type(module) is LoraLinear and _is_plain(module):
        return _lora_forward
    return None


def _is_plain(module: LoraLinear) -> bool:
    """Whether it is LoRA as published, on a projection without bias: no DoRA, one adapter."""
    base = module.base_layer
    return (
        type(base) is torch.nn.Linear
        and base.bias is None
        and len(module.lora_A) == 1
        and not module.lora_variant
        and all(layer.bias is None for layer in module.lora_B.values())
    )


def _norm_forward(self: LlamaRMSNorm, hidden_states: torch.Tensor) -> torch.Tensor:
    return _RMSNorm.apply(hidden_states, self.weight, self.variance_epsilon)


def _mlp_forward(self: LlamaMLP, x: torch.Tensor) -> torch.Tensor:
    return self.down_proj(_SwiGLU.apply(self.gate_proj(x), self.up_proj(x)))


def _lora_forward(self: LoraLinear, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    (name,) = self.lora_A
    base = self.base_layer.weight
    if self.disable_adapters or self.merged or name not in self.active_adapters:
        return self.base_layer(x)
    dropout = self.lora_dropout[name]
    rate = dropout.p if self.training and isinstance(dropout, torch.nn.Dropout) else 0.0
    a, b = self.lora_A[name].weight, self.lora_B[name].weight
    # The frozen base decides the precision: under autocast it was loaded in it.
    return _LoraProduct.apply(x.to(base.dtype), base, a, b, self.scaling[name], rate)


class _RMSNorm(torch.autograd.Function):
    """``weight * (x / rms(x))``, squared in fp32 (Zhang and Sennrich 2019); keeps x and one number a row."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        wide = x.float()
        scale = wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return weight * (wide * scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        normed = x.float() * scale
        arriving = gradients[0].float()
        for_weight = None
        if ctx.needs_input_grad[1]:
            for_weight = (arriving * normed).reshape(-1, weight.numel()).sum(0).to(weight.dtype)
        inner = arriving * weight.float()
        along = (inner * normed).mean(-1, keepdim=True)
        for_x = inner.addcmul_(normed, along, value=-1).mul_(scale)
        return for_x.to(x.dtype), for_weight, None


class _SwiGLU(torch.autograd.Function):
    """``silu(gate) * up`` (Shazeer 2020); keeps the two and not the product's parts."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        for_up = torch.nn.functional.silu(gate).mul_(gradients[0])
        for_gate = torch.ops.aten.silu_backward(gradients[0] * up, gate)
        return for_gate, for_up


class _LoraProduct(torch.autograd.Function):
    """``x W' + s drop(x) A' B'`` with W frozen (Hu et al. 2021); keeps x, which its neighbours share, and drop(x) A'.

    The gradient of W is never asked for, and drop(x) is made again from the places that were dropped.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, base: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scaling: float, rate: float
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        dropped = dropped_places(rows.numel(), rate) if rate else None
        scaling /= 1 - rate
        inner = _drop(rows, dropped) @ a.to(x.dtype).t()
        out = torch.nn.functional.linear(rows, base)
        out.addmm_(inner, b.to(x.dtype).t(), alpha=scaling)
        ctx.save_for_backward(rows, base, a, b, inner, dropped)
        ctx.scaling = scaling
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, base, a, b, inner, dropped = ctx.saved_tensors
        (gradient,) = gradients
        arriving = gradient.reshape(-1, gradient.shape[-1])
        for_b = (arriving.t() @ inner).mul_(ctx.scaling).to(b.dtype)
        for_inner = (arriving @ b.to(rows.dtype)).mul_(ctx.scaling)
        for_a = (for_inner.t() @ _drop(rows, dropped)).to(a.dtype)
        for_x = None
        if ctx.needs_input_grad[0]:
            through_adapter = for_inner @ a.to(rows.dtype)
            if dropped is not None:
                through_adapter.view(-1).index_fill_(0, dropped.long(), 0)
            for_x = through_adapter.addmm_(arriving, base).view(*gradient.shape[:-1], -1)
        return for_x, None, for_a, for_b, None, None


def dropped_places(count: int, rate: float) -> torch.Tensor:
    """Which of ``count`` places dropout at ``rate`` sets to zero, as int32 indices; a place may be named twice.

    Every place is dropped independently and with exactly this probability: places drawn with replacement, as many as a
    Poisson number of mean -count ln(1 - rate) says, fall on each place a Poisson number of times of its own, and none
    of them with probability 1 - rate. At the usual 5 % that takes one random number for every twentieth place, where
    drawing for each place takes a fifth of the whole step's time.
    """
    draws = int(torch.poisson(torch.tensor(-count * math.log1p(-rate), dtype=torch.float64)))
    return torch.randint(count, (draws,), dtype=torch.int32 if count < 2**31 else torch.int64)


def _drop(rows: torch.Tensor, places: torch.Tensor | None) -> torch.Tensor:
    if places is None:
        return rows
    kept = rows.clone(memory_format=torch.contiguous_format)
    kept.view(-1).index_fill_(0, places.long(), 0)
    return kept
