"""Useful tokens a second and peak memory of a fine-tune: a stanford_alpaca-style loop beside ours, in one run.

    python benchmarks/training.py [--model smollm2-135m] [--method lora] [--samples 96] [--micro-batch 8] [--json FILE]

The peer is the loop of the public code: examples drawn at random into batches, each padded to its longest, fp32, logits
and the model's own loss at every place. Ours runs twice: in fp32 as well (equal precision) and in what this machine
multiplies best. All three see the same examples (the seed tasks of this project, rendered for training), the same batch
of a step, the same optimizer and learning rate, and each has a process of its own, so that its peak of resident memory
is its own. "Useful" tokens are those of the examples; padding is not counted. The first step is a warm-up and left out
of the rate. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LOOPS = ("padded fp32", "ours fp32", "ours best")
LEARNING_RATE = 2e-4
MAX_LENGTH = 512


def examples(count: int) -> list[Any]:
    """Seed tasks as training examples, the same for the same count."""
    from alpaca_tui import resources
    from alpaca_tui.core.prompts import render_training
    from alpaca_tui.core.records import TrainingExample
    from alpaca_tui.core.seedfile import parse_seed_file
    from alpaca_tui.workers.examples import TRAINING_PACK

    pack = resources.read_pack(TRAINING_PACK)
    rows = [
        TrainingExample(render_training(pack, task.instruction, instance.input), instance.output)
        for task in parse_seed_file(resources.seed_tasks_path().read_bytes()).tasks
        for instance in task.instances
    ]
    random.Random(5).shuffle(rows)
    return (rows * (1 + count // len(rows)))[:count]


def padded(arguments: argparse.Namespace, rows: list[Any], folder: Path) -> dict[str, Any]:
    """The loop of the public code."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from alpaca_tui.core.masking import IGNORED
    from alpaca_tui.core.presets import ALL_LINEAR
    from alpaca_tui.training.model import encode, load_tokenizer, special_tokens

    torch.manual_seed(0)
    tokenizer = load_tokenizer(arguments.path)
    model = AutoModelForCausalLM.from_pretrained(arguments.path, dtype=torch.float32, local_files_only=True)
    tokens = special_tokens(tokenizer, model.config)
    encoded = encode(tokenizer, tokens, rows, MAX_LENGTH)
    if arguments.method == "lora":
        targets = list(ALL_LINEAR)
        lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=targets, task_type="CAUSAL_LM")
        model = get_peft_model(model, lora)
    model.train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    order = list(range(len(encoded)))
    random.Random("0:0").shuffle(order)  # the first pass of training/data.py, so that the steps see the same examples
    useful = processed = 0
    seconds, losses = 0.0, []
    for first in range(0, len(order), arguments.micro_batch):
        batch = [encoded[i] for i in order[first : first + arguments.micro_batch]]
        began = time.perf_counter()
        width = max(len(item.input_ids) for item in batch)
        ids = torch.full((len(batch), width), tokens.pad)
        labels = torch.full((len(batch), width), IGNORED)
        for row, item in enumerate(batch):
            ids[row, : len(item.input_ids)] = torch.tensor(item.input_ids)
            labels[row, : len(item.input_ids)] = torch.tensor(item.labels)
        mask = torch.arange(width) < torch.tensor([[len(item.input_ids)] for item in batch])
        loss = model(input_ids=ids, attention_mask=mask.long(), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if first:
            seconds += time.perf_counter() - began
            useful += sum(len(item.input_ids) for item in batch)
            processed += ids.numel()
    return {"tokens": useful, "processed": processed, "seconds": seconds, "loss_last": losses[-1]}


def ours(arguments: argparse.Namespace, rows: list[Any], folder: Path, precision: str) -> dict[str, Any]:
    """The recipe."""
    from alpaca_tui.core.presets import ALL_LINEAR
    from alpaca_tui.training.config import TrainConfig
    from alpaca_tui.training.run import run

    steps: list[dict[str, float]] = []
    config = TrainConfig.parse(
        {
            "model": arguments.path, "output_dir": folder / "output", "method": arguments.method,
            "learning_rate": LEARNING_RATE, "epochs": 1.0, "micro_batch": arguments.micro_batch,
            "global_batch": arguments.micro_batch, "max_length": MAX_LENGTH, "lora_rank": 16, "lora_alpha": 32,
            "lora_targets": ALL_LINEAR, "precision": precision, "save_every": 10_000, "probe": False,
            "max_truncated": 1.0,
        }
    )  # fmt: skip
    run(config, rows, (), lambda step, values: steps.append(values) if "loss" in values else None)
    tokens = steps[-1]["tokens_seen"] - steps[0]["tokens_seen"]
    before, seconds = steps[0]["tokens_seen"], 0.0
    for values in steps[1:]:
        seconds += (values["tokens_seen"] - before) / values["tokens_per_s"]
        before = values["tokens_seen"]
    return {"tokens": tokens, "processed": tokens, "seconds": seconds, "loss_last": steps[-1]["loss"]}


def one(arguments: argparse.Namespace) -> dict[str, Any]:
    """One loop in this process, with its peak."""
    from alpaca_tui.training.probe import resident_peak

    rows = examples(arguments.samples)
    with tempfile.TemporaryDirectory() as name:
        if arguments.loop == LOOPS[0]:
            value = padded(arguments, rows, Path(name))
        else:
            value = ours(arguments, rows, Path(name), "fp32" if arguments.loop == LOOPS[1] else "auto")
    return {**value, "peak_bytes": resident_peak()}


def main() -> None:
    """Run the three loops one after another, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--method", choices=("lora", "full"), default="lora")
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.loop:
        print(json.dumps(one(arguments)))
        return
    from alpaca_tui.jobs import models

    path = models.resolve(arguments.model).path
    if path is None:
        sys.exit(f"{arguments.model} is an endpoint; name a local model")
    found: dict[str, dict[str, Any]] = {}
    for loop in LOOPS:
        command = [sys.executable, __file__, "--loop", loop, "--path", str(path), "--method", arguments.method,
                   "--samples", str(arguments.samples), "--micro-batch", str(arguments.micro_batch)]  # fmt: skip
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[loop] = json.loads(done.stdout.splitlines()[-1])
    peer = found[LOOPS[0]]
    print(f"{arguments.method}, {arguments.samples} samples, batch {arguments.micro_batch}")
    print(f"{'':14}{'useful tok/s':>13}{'':>8}{'useful share':>14}{'peak':>10}{'':>7}{'last loss':>11}")
    for loop, value in found.items():
        rate, base = value["tokens"] / value["seconds"], peer["tokens"] / peer["seconds"]
        share, peak = value["tokens"] / value["processed"], value["peak_bytes"]
        times, memory = f"x{rate / base:.2f}", f"x{peak / peer['peak_bytes']:.2f}"
        size, last = f"{peak / 2**30:6.2f} GiB", value["loss_last"]
        print(f"{loop:14}{rate:13.0f}{times:>8}{share:14.0%}{size}{memory:>7}{last:11.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main()
