"""Peak memory against the plan, tokens a second and model FLOPs utilisation of a LLaMA-7B shape on this machine's GPUs.

    python benchmarks/gpu_training.py [--model llama-7b] [--methods lora,qlora,full,full-offload] [--steps 6] [--json F]

The model has random weights in the shape of ``--model`` (a name that ``alpaca-tui plan`` knows), written to a temporary
directory once; examples fill the maximal length, so that the plan is for what is run. Every method is launched through
accelerate by the recipe that ``train`` would choose, and skipped, with its figure, where the plan says that it does not
fit. The measured peak is the highest that torch allocated on any GPU during the probe, beside the plan's figure without
overhead. Utilisation: tokens/s times the operations a token takes (6N, for LoRA 4N, and 2N for checkpointing), over the
GPUs' peaks from NVIDIA's data sheets.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from alpaca_tui.core.memory_plan import GIB
from alpaca_tui.core.memory_terms import Shape
from alpaca_tui.core.memory_time import flops_per_token, peak_flops
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.jobs import hardware, launching, shapes
from alpaca_tui.jobs.specs import TrainSpec, recipe_path
from alpaca_tui.training import folder as folders
from alpaca_tui.workers import preflight

MAX_LENGTH = 512


def write_model(shape: Shape, target: Path) -> None:
    """Random half-precision weights in this shape, with a tokenizer of one token a byte."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    config = LlamaConfig(
        vocab_size=shape.vocab, hidden_size=shape.hidden, intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim, tie_word_embeddings=shape.tied, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        max_position_embeddings=2048, dtype=torch.float16,
    )  # fmt: skip
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        with torch.device("cuda"):
            LlamaForCausalLM(config).save_pretrained(target)
    finally:
        torch.set_default_dtype(before)
        torch.cuda.empty_cache()
    words = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytewise = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytewise, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.save_pretrained(target)


def measure(method: str, shape: Shape, model: Path, place: Path, steps: int) -> dict[str, Any]:
    """One method: its plan, its real peak, its rate."""
    found = hardware.visible_gpus()
    overrides = {"max_steps": steps, "save_every": 10_000, "max_truncated": 1.0, "warmup_ratio": 0.0}
    spec = TrainSpec.model_validate({"dataset": "-", "model": shape.name, "method": method, "overrides": overrides})
    launch = preflight.settle(spec)
    config = preflight.training_config(spec, shape.parameters, model, place / "output", launch)
    planned = preflight.planned_bytes(shape, config, launch)(config.micro_batch * MAX_LENGTH)
    value: dict[str, Any] = {"method": method, "recipe": launch.recipe, "micro_batch": config.micro_batch}
    value |= {"planned_bytes": planned, "verdict": launch.option.verdict if launch.option else "unknown"}
    if value["verdict"] == "no":
        return value
    # Exactly MAX_LENGTH tokens: <s>, the bytes of prompt and answer, </s>.
    example = TrainingExample("p" * 100, "a" * (MAX_LENGTH - 102))
    folders.write(place, config, [example] * 256, [], {})
    argv = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(recipe_path(launch.recipe))]
    argv += [*launching.launch_arguments(launch, found), "-m", "alpaca_tui.training.main", str(place)]
    done = subprocess.run(argv, env={**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, stdout=sys.stderr)
    lines = [json.loads(line) for line in (place / "metrics.jsonl").read_text("utf-8").splitlines()]
    if not any("tokens_per_s" in line for line in lines):
        return {**value, "verdict": f"failed with code {done.returncode}"}
    rate = median([line["tokens_per_s"] for line in lines if "tokens_per_s" in line][1:] or [float("nan")])
    setup = preflight.setup_of(config, launch)
    peak = min((peak_flops(gpu.name) or float("nan")) for gpu in found) * max(1, launch.gpus)
    probe = next(line for line in lines if "probe_peak_bytes" in line)
    return {
        **value,
        "peak_bytes": probe["probe_peak_bytes"],
        "reserved_bytes": probe["probe_reserved_bytes"],
        "tokens_per_s": rate,
        "utilisation": rate * flops_per_token(shape, setup) / peak,
    }


def main() -> None:
    """Measure each method; without a GPU, one sentence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="llama-7b", choices=shapes.BUILT_IN)
    parser.add_argument("--methods", default="lora,qlora,full,full-offload")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = hardware.visible_gpus()
    if not found:
        sys.exit("no GPU is here: this benchmark measures one")
    shape = shapes.shape(arguments.model)
    print(f"{arguments.model} on {len(found)} x {found[0].name}, {MAX_LENGTH} tokens")
    results = []
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / arguments.model
        write_model(shape, model)
        for method in arguments.methods.split(","):
            value = measure(method, shape, model, Path(name) / method, arguments.steps)
            results.append(value)
            said = f"{method:13} {value['recipe']:15} micro-batch {value['micro_batch']:<3} planned "
            said += f"{value['planned_bytes'] / GIB:6.2f} GiB"
            if "peak_bytes" in value:
                error = value["planned_bytes"] / value["peak_bytes"] - 1
                said += f", measured {value['peak_bytes'] / GIB:6.2f} ({error:+.1%}), "
                said += f"{value['tokens_per_s']:,.0f} tokens/s, {value['utilisation']:.0%} of the peak"
            else:
                said += f": {value['verdict']}"
            print(said, flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1), "utf-8")


if __name__ == "__main__":
    main()
