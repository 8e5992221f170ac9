"""What the compiled kernels of a CPU save: passes of the embedded model with them, and with torch's operations.

Run: ``python benchmarks/fused.py [--repeats 15]`` (half a minute). The same packed weights in bfloat16 for both: a
decoding step of one row and of 30 (12 with prompts of their own, 18 behind a shared prefix of 957 tokens, as a
generation has them), five prompts of 300 tokens read, and eight of 25 behind the prefix. Milliseconds a pass, the
median of ``--repeats`` in turns, their ratio, and the largest Kullback-Leibler divergence between their next tokens.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as the workers are started

import torch

from alpaca_tui.backends import kernels, operations
from alpaca_tui.backends.decode import Decoder
from alpaca_tui.backends.kvcache import Group, Prefix, RowCache
from alpaca_tui.backends.local import LocalBackend
from alpaca_tui.jobs.models import ensure_embedded

PREFIX = 957


@contextmanager
def way(fused: bool) -> Iterator[None]:
    """With the kernels, or as a number type goes for which there are none."""
    with patch.object(kernels, "can_fuse", lambda dtype, device: fused):
        yield


def ids(rng: random.Random, tokens: int) -> list[int]:
    return [rng.randrange(1_000, 40_000) for _ in range(tokens)]


def reading(decoder: Decoder, prompts: list[list[int]], prefix: Prefix | None) -> Callable[[], torch.Tensor]:
    return lambda: decoder._read(prompts, prefix)[1]


def stepping(decoder: Decoder, groups: list[Group], rows: int) -> Callable[[], torch.Tensor]:
    cache = RowCache(decoder.layers, groups)
    rng = random.Random(2)

    def step() -> torch.Tensor:
        positions = cache.begin_step()
        return decoder._logits(torch.tensor(ids(rng, rows)), positions, cache)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    decoder = LocalBackend(ensure_embedded(), dtype="bfloat16", device="cpu")._decoder
    forward: Any = decoder.forward
    rng = random.Random(1)
    bare, suffixes = [ids(rng, rng.randrange(400, 560)) for _ in range(12)], [ids(rng, 60) for _ in range(18)]
    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    with torch.inference_mode():
        prefix = decoder._extend(None, tuple(ids(rng, PREFIX)))

        def groups(own: int, behind: int) -> list[Group]:
            parts = [(None, bare[:own]), (prefix, suffixes[:behind])]
            return [decoder._read(prompts, head)[0].groups[0] for head, prompts in parts if prompts]

        passes = {
            "step of 1 row": lambda: stepping(decoder, groups(1, 0), 1),
            "step of 30 rows": lambda: stepping(decoder, groups(12, 18), 30),
            "read 5 x 300": lambda: reading(decoder, [prompt[:300] for prompt in bare[:5]], None),
            "read 8 x 25 behind a prefix": lambda: reading(decoder, [prompt[:25] for prompt in suffixes[:8]], prefix),
        }
        for name, make in passes.items():
            # Each way has a cache of its own, which grows by the same tokens.
            runs = {fused: make() for fused in (True, False)}
            took: dict[bool, list[float]] = {True: [], False: []}
            apart = 0.0
            for _ in range(args.repeats + 2):
                told = {}
                for fused, run in runs.items():
                    forward._between = kernels if fused else operations
                    with way(fused):
                        began = time.perf_counter()
                        logits = run()
                        took[fused].append(1e3 * (time.perf_counter() - began))
                    told[fused] = logits.log_softmax(dim=-1)
                apart = max(apart, float((told[True].exp() * (told[True] - told[False])).sum(dim=-1).max()))
            ours, torchs = (statistics.median(took[fused][2:]) for fused in (True, False))
            found[name] = {
                "kernels_ms": round(ours, 1),
                "torch_ms": round(torchs, 1),
                "times": round(torchs / ours, 2),
                "largest_divergence": round(apart, 4),
            }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
