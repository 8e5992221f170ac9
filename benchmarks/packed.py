"""One decoding step's matrix products: plain linear layers beside packed ones, on the embedded model's own weights.

Run: ``python benchmarks/packed.py [--rows 1,8,32,64] [--repeats 9]`` (half a minute). For each number of rows: the
milliseconds of all linear layers of the model once, as torch multiplies bfloat16 matrices, and packed as the local
backend holds them on a CPU; their ratio; and the largest difference between the two results, which should be 0. The
best of ``--repeats``, in turns, so that a drift of the machine favours neither. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as the workers are started

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from alpaca_tui.backends.packed import PackedLinear, can_pack
from alpaca_tui.jobs.models import ensure_embedded


def once(layers: Sequence[nn.Module], inputs: list[torch.Tensor]) -> float:
    """Seconds of one pass over all layers."""
    began = time.perf_counter()
    for layer, value in zip(layers, inputs, strict=True):
        layer(value)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1,8,32,64")
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    if not can_pack(torch.bfloat16, torch.device("cpu")):
        raise SystemExit("this torch has no packed linear layers for this processor")
    model = AutoModelForCausalLM.from_pretrained(ensure_embedded(), dtype=torch.bfloat16)
    plain = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    found: dict[str, Any] = {"layers": len(plain), "threads": torch.get_num_threads()}
    with torch.inference_mode():
        packed = [PackedLinear(layer) for layer in plain]
        for rows in map(int, args.rows.split(",")):
            inputs = [torch.randn(rows, layer.in_features).bfloat16() for layer in plain]
            best = {"plain": float("inf"), "packed": float("inf")}
            for _ in range(args.repeats):
                best["plain"] = min(best["plain"], once(plain, inputs))
                best["packed"] = min(best["packed"], once(packed, inputs))
            pairs = zip(plain, packed, inputs, strict=True)
            difference = max(float((one(x) - two(x)).abs().max()) for one, two, x in pairs)
            found[f"rows_{rows}"] = {
                "plain_ms": round(1e3 * best["plain"], 1),
                "packed_ms": round(1e3 * best["packed"], 1),
                "times": round(best["plain"] / best["packed"], 2),
                "largest_difference": difference,
            }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
