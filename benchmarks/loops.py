"""What ending loops saves: the same instance prompts with and without ``max_repeats``, on the embedded model.

Run: ``python benchmarks/loops.py [--prompts 24] [--batch 8]``. Greedy, so each completion is the same up to where its
loop was noticed. Prints one JSON object: tokens and seconds with and without, how many completions looped, and how many
usable instances each way gave.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "2000")

from alpaca_tui import resources
from alpaca_tui.backends.local import LocalBackend
from alpaca_tui.core.parsing import parse_input_first
from alpaca_tui.core.prompts import Pack, render
from alpaca_tui.core.records import Request
from alpaca_tui.core.seedfile import parse_seed_file
from alpaca_tui.jobs.models import ensure_embedded


def measure(backend: LocalBackend, pack: Pack, instructions: list[str], max_repeats: int) -> dict[str, Any]:
    """One pass over all instructions."""
    stage = pack.stage("input_first")
    params = replace(stage.params, max_repeats=max_repeats)
    requests = [Request(render(pack, "input_first", {"instruction": text}), params, 0) for text in instructions]
    began = time.monotonic()
    answers = backend.complete(requests)
    seconds = time.monotonic() - began
    parsed = [parse_input_first(a.text, a.finish_reason, cue=stage.cue) for a in answers]
    return {
        "tokens": sum(a.completion_tokens for a in answers),
        "seconds": round(seconds, 1),
        "loops": sum(a.finish_reason == "loop" for a in answers),
        "at_the_limit": sum(a.finish_reason == "length" for a in answers),
        "instances": sum(len(one.instances) for one in parsed),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    pack = resources.read_pack("self-instruct")
    seeds = parse_seed_file(resources.seed_tasks_path().read_bytes()).tasks
    chosen = [task.instruction for task in seeds if not task.is_classification][: options.prompts]
    backend = LocalBackend(ensure_embedded(), max_batch=options.batch)
    repeats = pack.stage("input_first").params.max_repeats
    measure(backend, pack, chosen[:2], 0)  # reads the shared prefix
    off, on = measure(backend, pack, chosen, 0), measure(backend, pack, chosen, repeats)
    saved = 1 - on["tokens"] / off["tokens"]
    print(json.dumps({"prompts": len(chosen), "max_repeats": repeats, "off": off, "on": on, "tokens_saved": saved}))


if __name__ == "__main__":
    main()
