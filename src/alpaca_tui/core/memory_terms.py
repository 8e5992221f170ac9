"""The terms of a fine-tune's memory: what each part of the state and of the graph weighs, in bytes.

Sources. Parameter and optimizer state: ZeRO (Rajbhandari et al. 2020, section 3.1), 16 bytes a parameter for Adam in
mixed precision with fp32 masters. Activations: counted in PyTorch's own graph (saved tensors of transformers'
LlamaDecoderLayer under autocast, as in Korthikanti et al. 2022, section 4, but for SwiGLU, RMSNorm, rotary embeddings
and fused attention); ``tests/unit/test_memory_plan.py`` counts them again. NF4: QLoRA (Dettmers et al. 2023,
section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alpaca_tui.core.errors import UsageError

Method = Literal["lora", "qlora", "full"]
Quantization = Literal["none", "nf4", "nf4-dq"]

# A 4-bit code and one fp32 scale for 64 weights; double quantisation stores the scale in 8 bits and one fp32 for 256.
BYTES_PER_WEIGHT: dict[Quantization, float] = {"none": 2.0, "nf4": 0.5 + 4 / 64, "nf4-dq": 0.5 + 1 / 64 + 4 / 64 / 256}
# Published NF4 peaks lie this far above the sum of the terms below (docs/PLANNING.md lists them).
NF4_SURPLUS = 0.12
HALF, SINGLE = 2, 4
ADAM = 8  # two fp32 moments
LOGITS = 14  # half-precision logits, their fp32 copy, softmax and gradients, per vocabulary entry and token
CPU_LOGITS = 6  # half-precision logits and their fp32 copy, whose place the gradient takes


@dataclass(frozen=True, slots=True)
class Shape:
    """A LLaMA-like model by its sizes. ``parameters`` counts every weight once."""

    name: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    parameters: int

    @property
    def root(self) -> int:
        """Parameters outside the decoder layers: embeddings, head and the last norm."""
        return self.vocab * self.hidden * (1 if self.tied else 2) + self.hidden

    @property
    def layer(self) -> int:
        """Parameters of one decoder layer."""
        return (self.parameters - self.root) // self.layers

    def projection(self, name: str) -> tuple[int, int]:
        """Input and output features of a projection. Raises UsageError for a name that LLaMA does not have."""
        inner, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        sizes = {
            "q_proj": (self.hidden, inner),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (inner, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }
        if name not in sizes:
            raise UsageError(f"there is no projection {name!r} to put LoRA on; choose among {', '.join(sizes)}")
        return sizes[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How a model is tuned. ``gpus`` 0 is the CPU; ``seq`` is in tokens, ``micro_batch`` in examples per GPU.

    ``reduce_each_micro_batch`` False leaves accumulated gradients unsharded until the optimizer step: what
    transformers' Trainer does under FSDP unless ``sync_each_batch`` is set.
    """

    method: Method
    gpus: int
    seq: int = 512
    micro_batch: int = 1
    checkpointing: bool = True
    offload: bool = False
    lora_rank: int = 8
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    quantization: Quantization = "none"
    reduce_each_micro_batch: bool = True

    @property
    def tokens(self) -> int:
        """The most tokens of one forward pass on one device."""
        return self.seq * self.micro_batch

    @property
    def sharded(self) -> bool:
        """Whether FSDP spreads the states; LoRA's are small enough to be copied to every GPU (DDP)."""
        return self.method == "full" and (self.gpus > 1 or self.offload)

    @property
    def autocast_from_single(self) -> bool:
        """Whether fp32 weights are cast to half precision as they are used, and the residual stream stays fp32."""
        return self.method == "full" and not self.sharded


def lora_parameters(shape: Shape, rank: int, targets: tuple[str, ...]) -> int:
    """Trainable weights of the adapter: r(in + out) for each adapted projection (Hu et al. 2021, section 4.2)."""
    return shape.layers * sum(rank * sum(shape.projection(name)) for name in targets)


def trainable(shape: Shape, setup: Setup) -> int:
    """How many weights learn."""
    if setup.method == "full":
        return shape.parameters
    return lora_parameters(shape, setup.lora_rank, setup.lora_targets)


def weights(shape: Shape, setup: Setup) -> float:
    """Bytes of the weights on one device, the adapter's fp32 ones included."""
    if setup.method == "full":
        return 0.0 if setup.offload else SINGLE * shape.parameters / (setup.gpus if setup.sharded else 1)
    adapter = SINGLE * trainable(shape, setup)
    if setup.gpus == 0:
        return SINGLE * shape.parameters + adapter
    norms = 2 * shape.hidden * shape.layers
    linear = shape.parameters - shape.root - norms
    # Embeddings, head and norms are never quantised.
    return BYTES_PER_WEIGHT[setup.quantization] * linear + HALF * (shape.root + norms) + adapter


def gradients(shape: Shape, setup: Setup) -> float:
    """Bytes of the gradients on one device."""
    if setup.method != "full":
        # DDP holds its communication buckets beside the gradients.
        return SINGLE * trainable(shape, setup) * (2 if setup.gpus > 1 else 1)
    if setup.sharded and not setup.reduce_each_micro_batch:
        return HALF * shape.parameters
    return 0.0 if setup.offload else SINGLE * shape.parameters / (setup.gpus if setup.sharded else 1)


def optimizer(shape: Shape, setup: Setup) -> float:
    """Bytes of Adam's two moments on one device; the fused optimizer needs no temporaries."""
    if setup.method != "full":
        return ADAM * trainable(shape, setup)
    return 0.0 if setup.offload else ADAM * shape.parameters / (setup.gpus if setup.sharded else 1)


def layer_activations(shape: Shape, setup: Setup) -> float:
    """Bytes that one decoder layer saves for its backward pass, per token.

    Full tuning 24h + 8I; a frozen base 16h + 6I; every adapted projection 6 bytes per input feature (an fp32 copy
    and the dropout's output and mask) and 2 per rank. All counted in half precision with fused attention, where
    attention itself keeps one number per head. Grouped keys are repeated for the kernel, so they save nothing.

    On a CPU the lean layers (``training/lean.py``) keep 36h + 12I whatever learns, in fp32 at worst, and an adapter
    adds its inner activations and the places that dropout at 5 % names, 0.2 bytes for each input feature.
    """
    h, i = shape.hidden, shape.intermediate
    small = 1_100  # log-sum-exp, norms' scales and the kernel's padding
    if setup.gpus == 0:
        adapters = 0.0
        if setup.method != "full":
            adapters = sum(0.2 * shape.projection(name)[0] + SINGLE * setup.lora_rank for name in setup.lora_targets)
        return 36 * h + 12 * i + adapters + small
    if setup.method == "full":
        return (34 if setup.autocast_from_single else 24) * h + 8 * i + small
    adapters = sum(6 * shape.projection(name)[0] + 2 * setup.lora_rank for name in setup.lora_targets)
    return 16 * h + 6 * i + adapters + small


def activations(shape: Shape, setup: Setup) -> float:
    """Bytes of all that is saved between forward and backward on one device, logits aside.

    With checkpointing, each layer's input (2hL bytes a token; 4hL where the residual stream is fp32) and one layer
    being computed again.
    """
    layer = layer_activations(shape, setup)
    if not setup.checkpointing:
        return layer * shape.layers * setup.tokens
    stream = SINGLE if setup.autocast_from_single or setup.gpus == 0 else HALF
    return (stream * shape.hidden * shape.layers + layer) * setup.tokens


def logits(shape: Shape, setup: Setup) -> float:
    """Bytes of logits, softmax and their gradients: 14V a token, 6V on a CPU, where they share a place."""
    return float((LOGITS if setup.gpus else CPU_LOGITS) * shape.vocab * setup.tokens)


def transients(shape: Shape, setup: Setup) -> float:
    """Bytes that come and go within a step beside the graph.

    FSDP2 with prefetching holds two gathered layers, one unsharded gradient and its reduce-scatter copy in half
    precision (8 bytes a parameter of the layer), and for embeddings and head one gathered copy instead of two (6).
    Autocast from fp32 weights keeps a half-precision copy of each.
    """
    if setup.sharded:
        return float(max(8 * shape.layer, 6 * shape.root))
    return float(HALF * shape.parameters) if setup.autocast_from_single else 0.0
