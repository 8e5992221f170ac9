"""Linear layers whose weights lie as the CPU's matrix kernels want them, instead of being rearranged at every call.

oneDNN multiplies blocks of a weight, and torch hands it a plain matrix, which it has to block anew for each of the few
rows of a decoding step. Blocked once, the same kernel gives the same numbers in 0.6 to 0.8 of the time (bfloat16, 1 to
64 rows; ``benchmarks/packed.py``). The two operators are those that torch's own compiler emits for frozen weights.
"""

from __future__ import annotations

import torch
from torch import nn

_PACK = "_reorder_linear_weight"
_APPLY = "_linear_pointwise"


class PackedLinear(nn.Module):
    """Stands in for a bfloat16 ``nn.Linear`` of an inference on the CPU; its weight can be neither read nor trained."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self._weight, self._bias, "none", [], "")
        return out


def can_pack(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this torch, on this processor, has the operators for ``dtype``."""
    if device.type != "cpu" or dtype is not torch.bfloat16 or not torch.backends.mkldnn.is_available():
        return False
    return all(hasattr(torch.ops.mkldnn, name) for name in (_PACK, _APPLY))


def pack_linears(model: nn.Module) -> int:
    """Replace every linear layer of ``model``, freeing the plain weight; how many were replaced."""
    replaced = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, PackedLinear(child))
                replaced += 1
    return replaced
