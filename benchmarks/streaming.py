"""What streaming costs: the same requests with every text shown as it comes, and without.

Run: ``python benchmarks/streaming.py [--pairs 6] [--batch 8] [--tokens 128] [--dtype bfloat16]``. Both ways decode the
same requests with the same seeds, hence the same number of tokens; with streaming the worker's own display writes its
snapshot file at its usual pace. The ways take turns, on-off, off-on, so that a drift of the machine favours none.
Prints one JSON object; about 2 x pairs x batch x tokens / (tokens/s) seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from alpaca_tui import resources
from alpaca_tui.backends.local import LocalBackend
from alpaca_tui.core import pool, prompts
from alpaca_tui.core.records import Request, SamplingParams
from alpaca_tui.jobs.live import LiveWriter, live_dir
from alpaca_tui.jobs.models import ensure_embedded
from alpaca_tui.store import projects, seeds
from alpaca_tui.store.completions import Call
from alpaca_tui.workers.display import Display


def calls(project: Path, count: int, tokens: int) -> list[Call]:
    """Instruction calls as the worker makes them, save that none ends before ``tokens`` tokens."""
    db, _ = projects.ensure(project)
    pack, human, rng = resources.read_pack("self-instruct"), seeds.pool(db), random.Random(7)
    made = []
    for number in range(count):
        shown = pool.draw_demonstrations(rng, human, ())
        variables = {"demonstrations": [entry.instruction for entry in shown]}
        sampled = pack.sampling("instruction")
        params = SamplingParams(
            max_new_tokens=tokens,
            temperature=sampled.temperature,
            top_p=sampled.top_p,
            presence_penalty=sampled.presence_penalty,
        )
        request = Request(prompts.render(pack, "instruction", variables), params, number)
        made.append(Call(1, "instruction", "instruction", pack.hash, "benchmark", variables, request, None, shown))
    return made


def timed(backend: LocalBackend, asked: list[Call], display: Display | None) -> tuple[float, int]:
    """(seconds, tokens) of one pass."""
    began = time.perf_counter()
    if display is not None:
        display.begin()
        display.add(asked)
    done = backend.complete([call.request for call in asked], display.text if display is not None else None)
    return time.perf_counter() - began, sum(completion.completion_tokens for completion in done)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--dtype", help="default: what the machine does best")
    args = parser.parse_args()
    backend = LocalBackend(ensure_embedded(), dtype=args.dtype, max_batch=args.batch)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        asked = calls(project, args.batch, args.tokens)
        live_dir(project, 1).mkdir(parents=True)
        display = Display(LiveWriter(project, 1), 1)
        # A prompt that is read alone may share what an earlier pass has left: only then are two passes the same.
        for _ in range(3):
            _, tokens = timed(backend, asked, display)
        for number in range(args.pairs):
            for streaming in (True, False) if number % 2 == 0 else (False, True):
                spent, made = timed(backend, asked, display if streaming else None)
                if made != tokens:
                    raise SystemExit(f"{made} tokens instead of {tokens}: the two ways are not comparable")
                seconds[streaming].append(spent)
                print(f"pair {number + 1}, streaming {streaming}: {spent:.2f} s", file=sys.stderr, flush=True)
    costs = [1 - off / on for on, off in zip(seconds[True], seconds[False], strict=True)]
    found = {
        "dtype": str(backend.dtype),
        "batch": args.batch,
        "threads": torch.get_num_threads(),
        "tokens": tokens,
        "tokens_per_s_streaming": round(tokens / statistics.median(seconds[True]), 1),
        "tokens_per_s_silent": round(tokens / statistics.median(seconds[False]), 1),
        "streaming_costs_median": round(statistics.median(costs), 4),
        "streaming_costs_by_pair": [round(cost, 4) for cost in costs],
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
