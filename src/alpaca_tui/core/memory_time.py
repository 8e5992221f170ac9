"""How long a fine-tune takes: from a rate measured here, or from the hardware's peak and an assumed share of it."""

from __future__ import annotations

from dataclasses import dataclass

from alpaca_tui.core.memory_terms import Setup, Shape

# Alpaca's 52,002 examples hold about 19 million tokens over three epochs.
ALPACA_EXAMPLES = 52_002
ALPACA_TOKENS_PER_EXAMPLE = 122

UTILISATION = (0.30, 0.40)
"""The share of the peak that unpadded training of LLaMA is assumed to reach."""

_PCIE = 12e9  # bytes/s in one direction, assumed for PCIe 3.0 x16
_HOST = 50e9  # bytes/s of memory traffic, assumed for the optimizer of the whole host

# Dense half-precision tensor-core peaks in FLOP/s, from NVIDIA's data sheets; the first name that occurs applies.
_PEAKS: tuple[tuple[str, float], ...] = (
    ("V100", 125e12),
    ("A100", 312e12),
    ("A800", 312e12),
    ("H100 PCIe", 756e12),
    ("H100", 989e12),
    ("H200", 989e12),
    ("H800", 989e12),
    ("A6000", 155e12),
    ("A40", 150e12),
    ("A10", 125e12),
    ("A30", 165e12),
    ("L40", 181e12),
    ("L4", 121e12),
    ("T4", 65e12),
    ("4090", 165e12),
    ("3090", 71e12),
)
V100_PEAK = 125e12


@dataclass(frozen=True, slots=True)
class Workload:
    """What is trained on. ``tokens_per_example`` counts prompt and response."""

    examples: int = ALPACA_EXAMPLES
    tokens_per_example: float = ALPACA_TOKENS_PER_EXAMPLE
    epochs: float = 3.0
    global_batch: int = 128

    @property
    def tokens(self) -> float:
        """Tokens of the whole run."""
        return self.examples * self.tokens_per_example * self.epochs

    @property
    def steps(self) -> float:
        """Optimizer steps of the whole run."""
        return self.examples * self.epochs / self.global_batch


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """Seconds from best to worst, tokens of the run, and what the figure rests on."""

    seconds_low: float
    seconds_high: float
    tokens: float
    basis: str


def peak_flops(gpu_name: str) -> float | None:
    """The GPU's half-precision peak in FLOP/s; None for one that is not in the table."""
    return next((peak for name, peak in _PEAKS if name.lower() in gpu_name.lower()), None)


def flops_per_token(shape: Shape, setup: Setup) -> float:
    """Floating-point operations to train on one token: 2N forward, 2N for the inputs' gradients, 2N for the weights'.

    Kaplan et al. 2020, section 2.1. LoRA computes no gradient of the base's weights; checkpointing repeats the
    forward pass. Attention itself is left out: under 1 % at Alpaca's lengths. The embedding is a look-up.
    """
    active = shape.parameters - (0 if shape.tied else shape.vocab * shape.hidden)
    return active * ((6 if setup.method == "full" else 4) + (2 if setup.checkpointing else 0))


def estimate_time(
    shape: Shape, setup: Setup, workload: Workload, peak: float, measured: float | None = None
) -> TimeEstimate | None:
    """The run's duration, with ``measured`` in tokens/s over all devices where there is one.

    ``peak`` is one GPU's, in FLOP/s. None on a CPU without a measurement: no peak to go by.
    """
    if measured:
        seconds = workload.tokens / measured
        return TimeEstimate(seconds, seconds, workload.tokens, f"measured here: {measured:,.0f} tokens/s")
    if setup.gpus == 0:
        return None
    compute = workload.tokens * flops_per_token(shape, setup) / (setup.gpus * peak)
    low, high = compute / UTILISATION[1], compute / UTILISATION[0]
    basis = (
        f"assumed: {UTILISATION[0]:.0%} to {UTILISATION[1]:.0%} of {peak / 1e12:.0f} TFLOP/s on {setup.gpus} GPUs, "
        f"{workload.tokens / 1e6:.1f} M tokens"
    )
    if setup.offload:
        transfer = offload_seconds(shape, setup, workload)
        low, high = low + transfer, high + transfer
        basis += f"; {_PCIE / 1e9:.0f} GB/s over PCIe for each GPU, {_HOST / 1e9:.0f} GB/s in the host's memory"
    if setup.quantization != "none":
        # LitGPT's tables: 3.68 against 2.36 minutes for 7B, 6.38 against 3.19 for 13B.
        high *= 2.0
        basis += "; up to twice as long for unpacking 4-bit weights"
    return TimeEstimate(low, high, workload.tokens, basis)


def offload_seconds(shape: Shape, setup: Setup, workload: Workload) -> float:
    """Seconds that a run with CPU offload moves data: fp32 shards up twice and gradients down at every micro-batch
    (12N/W bytes a GPU), and 28 bytes a parameter through the CPU's optimizer at every step.
    """
    per_step = max(1.0, workload.global_batch / (setup.micro_batch * setup.gpus))
    moved = per_step * 12 * shape.parameters / setup.gpus / _PCIE
    return workload.steps * (moved + 28 * shape.parameters / _HOST)
