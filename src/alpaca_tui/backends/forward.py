"""One pass through a language model over the tokens of a ``RowCache``: from token ids to logits.

``LlamaForward`` computes models built as LLaMA is by itself: projections that read the same input are one product, and
no module is called, which on a CPU halves a decoding step. Every other model goes through transformers' own code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from alpaca_tui.backends import kernels, operations
from alpaca_tui.backends.attention import ATTENTION, attend
from alpaca_tui.backends.kvcache import RowCache
from alpaca_tui.backends.packed import PackedLinear, can_pack, pack_linears

_LIKE_LLAMA = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM"}


class Forward(Protocol):
    """A model, ready to decode."""

    def __call__(
        self, tokens: torch.Tensor, positions: torch.Tensor, cache: RowCache, last: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits (B, V) in the model's type for ``tokens`` at ``positions``, both (N,).

        Where ``cache`` is reading prompts, ``last`` (B,) are the places of the rows' last tokens; in a step every token
        is a row's. What is computed on the way is added to ``cache``.
        """
        ...


def ready(model: Any) -> Forward:
    """The fastest way through ``model``, which is on its device already and is not trained any more."""
    own = is_like_llama(model)
    packs = can_pack(model.dtype, model.device)
    if kernels.can_fuse(model.dtype, model.device):
        kernels.prepare(model.dtype)
    if own:
        return LlamaForward(model, packs)
    if packs:
        pack_linears(model)
    return TransformersForward(model)


class TransformersForward:
    """Transformers' own model code, with our attention."""

    def __init__(self, model: Any) -> None:
        model.set_attn_implementation(ATTENTION)
        self.model = model

    def __call__(
        self, tokens: torch.Tensor, positions: torch.Tensor, cache: RowCache, last: torch.Tensor | None = None
    ) -> torch.Tensor:
        # Prompts are one long row, of which the last places are kept; a step is one column.
        reading = last is not None
        out = self.model(
            input_ids=tokens[None] if reading else tokens[:, None],
            position_ids=positions[None] if reading else positions[:, None],
            cache=cache,
            use_cache=True,
            logits_to_keep=last if reading else 1,
            kv=cache,
        )
        logits: torch.Tensor = out.logits[0] if reading else out.logits[:, -1]
        return logits


@dataclass(slots=True)
class _Layer:
    attention_norm: torch.Tensor
    query_key_value: nn.Module
    out: nn.Module
    mlp_norm: torch.Tensor
    gate_up: nn.Module
    down: nn.Module


class LlamaForward:
    """RMSNorm, rotary positions, grouped queries and SwiGLU (Touvron et al., arXiv 2302.13971, section 2.2).

    The joined projections hold the model's weights: the parameters of ``model`` become views of them or, where they are
    packed, are gone.
    """

    def __init__(self, model: Any, packs: bool) -> None:
        config = model.config
        self.heads = int(config.num_attention_heads)
        self.kv_heads = int(config.num_key_value_heads)
        self.eps = float(config.rms_norm_eps)
        body = model.model
        self._embedding = body.embed_tokens.weight
        self._rotary = body.rotary_emb
        self._norm = body.norm.weight
        self._layers = [self._layer(layer, packs) for layer in body.layers]
        if packs:
            model.lm_head = PackedLinear(model.lm_head)
        self._head = model.lm_head
        self._between: Any = kernels if kernels.can_fuse(model.dtype, model.device) else operations

    @staticmethod
    def _layer(layer: Any, packs: bool) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp

        def joined(parent: nn.Module, *names: str) -> nn.Module:
            linear = _join([getattr(parent, name) for name in names])
            if not packs:
                return linear
            for name in names:
                setattr(parent, name, None)
            return PackedLinear(linear)

        return _Layer(
            layer.input_layernorm.weight,
            joined(attention, "q_proj", "k_proj", "v_proj"),
            joined(attention, "o_proj"),
            layer.post_attention_layernorm.weight,
            joined(mlp, "gate_proj", "up_proj"),
            joined(mlp, "down_proj"),
        )

    def __call__(
        self, tokens: torch.Tensor, positions: torch.Tensor, cache: RowCache, last: torch.Tensor | None = None
    ) -> torch.Tensor:
        between = self._between
        hidden, more = F.embedding(tokens, self._embedding), None
        cos, sin = (angles[0].contiguous() for angles in self._rotary(hidden, positions[None]))
        turning = self.heads + self.kv_heads
        for at, layer in enumerate(self._layers):
            hidden, normed = between.add_norm(hidden, more, layer.attention_norm, self.eps)
            states = layer.query_key_value(normed).view(len(tokens), turning + self.kv_heads, -1)
            between.turn(states, cos, sin, turning)
            query, key, value = states.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
            cache.store(at, key, value)
            seen = attend(query, key, value, cache, at, query.shape[-1] ** -0.5)
            hidden, normed = between.add_norm(hidden, layer.out(seen.flatten(1)), layer.mlp_norm, self.eps)
            more = layer.down(between.gated(layer.gate_up(normed)))
        hidden, normed = between.add_norm(hidden, more, self._norm, self.eps)
        logits: torch.Tensor = self._head(normed if last is None else normed[last])
        return logits


def is_like_llama(model: Any) -> bool:
    """Whether ``model`` computes what ``LlamaForward`` does, in layers that are plain."""
    config = model.config
    if _LIKE_LLAMA.get(config.model_type) != type(model).__name__ or config.hidden_act != "silu":
        return False
    if (getattr(config, "head_dim", None) or 0) % 2:
        return False
    if (getattr(config, "rope_parameters", None) or {}).get("partial_rotary_factor", 1) != 1:
        return False
    for layer in model.model.layers:
        for parent, names in (
            (layer.self_attn, ("q_proj", "k_proj", "v_proj")),
            (layer.self_attn, ("o_proj",)),
            (layer.mlp, ("gate_proj", "up_proj")),
            (layer.mlp, ("down_proj",)),
        ):
            linears: list[Any] = [getattr(parent, name, None) for name in names]
            # What is joined has a bias altogether or not at all.
            if not all(type(each) is nn.Linear for each in linears) or len({each.bias is None for each in linears}) > 1:
                return False
    return type(model.lm_head) is nn.Linear


def _join(linears: list[nn.Linear]) -> nn.Linear:
    """One linear layer that computes all of ``linears``, whose parameters become views of its own."""
    if len(linears) == 1:
        return linears[0]
    weight = torch.cat([linear.weight.data for linear in linears])
    biases = [linear.bias.data for linear in linears if linear.bias is not None]
    joined = nn.Linear(weight.shape[1], weight.shape[0], bias=bool(biases), device="meta", dtype=weight.dtype)
    joined.weight = nn.Parameter(weight, requires_grad=False)
    if biases:
        joined.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
    begin = 0
    for linear in linears:
        end = begin + linear.out_features
        linear.weight.data = weight[begin:end]
        if biases:
            linear.bias.data = joined.bias.data[begin:end]
        begin = end
    return joined
