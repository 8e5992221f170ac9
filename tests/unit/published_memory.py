"""Memory that others have published, beside what the planner says: the source of the tables in docs/PLANNING.md."""

from __future__ import annotations

from dataclasses import dataclass

from alpaca_tui.core.memory_plan import FRAGMENTATION, GIB, Bytes, estimate, zero3_states
from alpaca_tui.core.memory_terms import NF4_SURPLUS, Quantization, Setup, Shape
from alpaca_tui.jobs.shapes import shape

GB = 1e9
LLAMA_7B, LLAMA_13B = shape("llama-7b"), shape("llama-13b")


@dataclass(frozen=True, slots=True)
class Case:
    """One published figure and the planner's for the same thing, both in ``unit`` ("GB" is 10^9 bytes)."""

    source: str
    what: str
    unit: str
    published: float
    planned: float
    remark: str = ""

    @property
    def error(self) -> float:
        """Relative, positive where the planner says more."""
        return self.planned / self.published - 1


def _litgpt(model: Shape, micro_batch: int, quantization: Quantization, published: float) -> Case:
    """LitGPT's resource tables: LoRA r8 on query and value, bf16, no checkpointing, 1,304 tokens, one A100."""
    setup = Setup(
        method="lora" if quantization == "none" else "qlora",
        gpus=1,
        seq=1304,
        micro_batch=micro_batch,
        checkpointing=False,
        quantization=quantization,
    )
    planned = estimate(model, setup).allocated / GB
    size = "7B" if model is LLAMA_7B else "13B"
    kind = "bf16" if quantization == "none" else quantization
    bare = planned / (1 + NF4_SURPLUS) / published - 1
    remark = "" if quantization == "none" else f"{bare:+.1%} without the surplus of {NF4_SURPLUS:.0%}"
    return Case(
        "LitGPT resource tables", f"{size} LoRA, {kind}, micro-batch {micro_batch}", "GB", published, planned, remark
    )


def _full(gpus: int, **settings: int) -> Bytes:
    return estimate(LLAMA_7B, Setup(method="full", gpus=gpus, **settings))  # type: ignore[arg-type]


def _deepspeed() -> list[Case]:
    """The table in DeepSpeed's memory documentation: 2,851 M parameters, largest layer 32 M, 8 GPUs."""
    n, layer = 2_851_000_000, 32_000_000
    whole = zero3_states(n, layer, 8)
    half = zero3_states(n, layer, 8, offload_optimizer=True)
    none = zero3_states(n, layer, 8, offload_optimizer=True, offload_weights=True)
    rows = (
        ("per GPU, nothing offloaded", 6.09, whole.gpu),
        ("per GPU, optimizer offloaded", 0.78, half.gpu),
        ("per GPU, all offloaded", 0.12, none.gpu),
        ("host, all offloaded", 71.69, none.host),
    )
    return [Case("DeepSpeed's estimator", f"ZeRO-3, 2.85 G: {name}", "GiB", said, b / GIB) for name, said, b in rows]


CASES: tuple[Case, ...] = (
    _litgpt(LLAMA_7B, 1, "none", 21.30),
    _litgpt(LLAMA_7B, 2, "none", 29.07),
    _litgpt(LLAMA_13B, 1, "none", 38.12),
    _litgpt(LLAMA_7B, 1, "nf4", 14.14),
    _litgpt(LLAMA_7B, 1, "nf4-dq", 13.84),
    _litgpt(LLAMA_13B, 1, "nf4", 23.14),
    _litgpt(LLAMA_13B, 1, "nf4-dq", 22.55),
    Case(
        "stanford_alpaca#223",
        "7B full, FSDP, 5 × V100, micro-batch 1, no checkpointing: out of memory, allocated until then",
        "GiB",
        28.42,
        _full(5, checkpointing=False, reduce_each_micro_batch=False).allocated / GIB,
        "a lower bound: it died asking for more; gradients unsharded over 8 accumulated micro-batches",
    ),
    Case(
        "llama-cookbook#100",
        "7B full, FSDP, 4 × A100-40: reserved",
        "GiB",
        29.0,
        _full(4).allocated * (1 + FRAGMENTATION) / GIB,
        "batch and length were not said; 1 × 512 with checkpointing assumed (8 × 512: "
        f"{_full(4, micro_batch=8).allocated * (1 + FRAGMENTATION) / GIB:.1f})",
    ),
    Case(
        "stanford_alpaca README",
        "7B full, states on one device",
        "GB",
        112.0,
        16 * LLAMA_7B.parameters / GB,
        "it rounds to 7 G parameters",
    ),
    *_deepspeed(),
)

# Not measurements: allocations simulated operator by operator for 4 GPUs, 512 tokens, checkpointing; process totals.
SIMULATED: tuple[Case, ...] = tuple(
    Case("simulated", what, "GiB", said, estimate(model, setup).total / GIB, remark)
    for what, model, setup, said, remark in (
        *(
            (f"7B full, FSDP2, micro-batch {mb}", LLAMA_7B, Setup(method="full", gpus=4, micro_batch=mb), said, "")
            for mb, said in ((1, 29.7), (2, 29.8), (4, 30.2), (8, 31.2))
        ),
        ("7B LoRA, micro-batch 4", LLAMA_7B, Setup(method="lora", gpus=4, micro_batch=4), 16.3, ""),
        ("13B LoRA, micro-batch 1", LLAMA_13B, Setup(method="lora", gpus=4, micro_batch=1), 27.6, ""),
        ("13B LoRA, micro-batch 4", LLAMA_13B, Setup(method="lora", gpus=4, micro_batch=4), 29.3, ""),
        *(
            (
                f"{size} QLoRA, micro-batch 4",
                model,
                Setup(method="qlora", gpus=4, micro_batch=4, quantization="nf4-dq"),
                said,
                "the simulation knows no surplus",
            )
            for size, model, said in (("7B", LLAMA_7B, 6.7), ("13B", LLAMA_13B, 10.5))
        ),
    )
)


def table(cases: tuple[Case, ...]) -> str:
    """The cases as a Markdown table, as docs/PLANNING.md holds it."""
    rows = ["| source | case | published | planned | error | remark |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for case in cases:
        rows.append(
            f"| {case.source} | {case.what} | {case.published:.2f} {case.unit} | {case.planned:.2f} {case.unit} "
            f"| {case.error:+.1%} | {case.remark} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    print(table(CASES), table(SIMULATED), sep="\n\n")
