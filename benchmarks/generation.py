"""Generation on the embedded model: a plain port, batches without prefix reuse, and this project's worker.

Run: ``python benchmarks/generation.py [--seconds 300] [--rounds 2] [--batch 32] [--dtype bfloat16] [--profile]``. Every
way gets the same recipe, the same seed, the same rules and the same time, in ``--rounds`` runs of ``--seconds`` each;
the order of the ways is turned round from one round to the next, so that a drift of the machine favours none. Wall
time: ways x rounds x seconds, and a minute for loading. A candidate counts as accepted when every rule passes it and
it has an instance that passes every rule. Prints one JSON object; the narration is on stderr.

- ``plain``: one request at a time through transformers' ``generate``: what the method's scripts do, ported.
- ``batched``: the worker, without a shared prefix; ``ours``: the worker; ``ours_silent``: without streaming.
  ``streaming_costs`` is the share of tokens/s that streaming takes, over all rounds, and ``streaming_costs_by_round``:
  a rough figure, for answers still in flight at the end do not count. ``benchmarks/streaming.py`` has the fine one.
``benchmarks/llamacpp.py`` has llama.cpp beside ours.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as the workers are started

import torch

from alpaca_tui.backends.base import Backend, IsCancelled, More, OnDone, OnText, never
from alpaca_tui.backends.detokenize import StreamText
from alpaca_tui.backends.local import LocalBackend
from alpaca_tui.core.errors import Cancelled
from alpaca_tui.core.records import Completion, Request
from alpaca_tui.jobs.live import LiveWriter, live_dir
from alpaca_tui.jobs.models import ensure_embedded
from alpaca_tui.jobs.specs import GenerateSpec
from alpaca_tui.store import jobs, projects
from alpaca_tui.workers import backends, generate
from alpaca_tui.workers.base import WorkerContext


class Plain:
    """One ``model.generate`` a request. Presence penalty and stops as the recipe has them, checked token by token."""

    name = "plain"
    max_batch = 1

    def __init__(self, inner: LocalBackend) -> None:
        from transformers import AutoModelForCausalLM

        self._inner = inner
        self._model = AutoModelForCausalLM.from_pretrained(inner.path, dtype=inner.dtype).eval()

    def complete(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        cancelled: IsCancelled = never,
        *,
        on_done: OnDone | None = None,
        more: More | None = None,
    ) -> list[Completion]:
        done = []
        for request in requests:
            if cancelled():
                raise Cancelled
            done.append(self._one(request))
            if on_done is not None:
                on_done(len(done) - 1, done[-1])
        return done

    def _one(self, request: Request) -> Completion:
        from transformers import LogitsProcessorList, StoppingCriteriaList

        began, params = time.monotonic(), request.params
        ids = self._inner._encode(request.prompt)
        stream = StreamText(self._inner._decode, ids, params.stop)
        taken = len(ids)

        def penalise(seen: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            for row, tokens in enumerate(seen[:, len(ids) :]):
                scores[row, tokens.unique()] -= params.presence_penalty
            return scores

        def stop(seen: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            nonlocal taken
            while taken < seen.shape[1] and not stream.stopped:
                stream.push(int(seen[0, taken]))
                taken += 1
            return torch.tensor([stream.stopped])

        torch.manual_seed(request.seed % 2**63)
        sampling: dict[str, Any] = {"do_sample": False}
        if params.temperature > 0:
            sampling = {"do_sample": True, "temperature": params.temperature, "top_p": params.top_p, "top_k": 0}
        with torch.inference_mode():
            out = self._model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=params.max_new_tokens,
                pad_token_id=self._inner.tokenizer.pad_token_id,
                logits_processor=LogitsProcessorList([penalise]),
                stopping_criteria=StoppingCriteriaList([stop]),
                **sampling,
            )
        made = out.shape[1] - len(ids)
        finish = "stop" if stream.stopped else "length" if made >= params.max_new_tokens else "eos"
        return Completion(stream.finish(), finish, len(ids), made, time.monotonic() - began, None, stream.stopped_by)

    def count_tokens(self, text: str) -> int:
        return self._inner.count_tokens(text)

    def close(self) -> None:
        del self._model


class Silent(LiveWriter):
    """Never due: nothing is written while text comes."""

    def due(self) -> bool:
        return False


def run_for(seconds: float, backend: Backend, batch: int, *, silent: bool = False) -> dict[str, float]:
    """Let the generation worker run on ``backend`` for so long, in a new project; what it achieved."""
    backends.open_backend = lambda spec, size, **_: backend
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        db, _ = projects.ensure(project)
        spec = GenerateSpec(target=10**6, batch=batch, seed=1)
        job = jobs.get(db, jobs.enqueue(db, "generate", spec.model_dump(mode="json")))
        live_dir(project, job.id).mkdir(parents=True)
        writer = (Silent if silent else LiveWriter)(project, job.id)
        began = time.monotonic()
        context = WorkerContext(project, job, db, 0, writer, lambda: time.monotonic() - began > seconds)
        closing, backend.close = backend.close, lambda: None
        try:
            generate.run(context)
        except Cancelled:
            pass
        finally:
            backend.close = closing
        spent = time.monotonic() - began
        tokens = db.execute("SELECT coalesce(sum(completion_tokens), 0) FROM completions").fetchone()[0]
        accepted = db.execute(
            "SELECT count(DISTINCT candidate_id) FROM samples WHERE state IN ('pending', 'accepted')"
        ).fetchone()[0]
        kept = db.execute("SELECT count(*) FROM candidates WHERE stage <> 'rejected'").fetchone()[0]
    return {
        "seconds": round(spent, 1),
        "tokens": tokens,
        "accepted": accepted,
        "kept": kept,
        "tokens_per_s": round(tokens / spent, 1),
        "kept_per_minute": round(60 * kept / spent, 2),
        "accepted_per_minute": round(60 * accepted / spent, 2),
    }


def together(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The figures of one way over all its rounds."""
    sums = {name: sum(found[name] for found in rounds) for name in ("seconds", "tokens", "accepted", "kept")}
    spent = sums["seconds"]
    return {
        **sums,
        "tokens_per_s": round(sums["tokens"] / spent, 1),
        "kept_per_minute": round(60 * sums["kept"] / spent, 2),
        "accepted_per_minute": round(60 * sums["accepted"] / spent, 2),
    }


def ratios(rounds: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """How the ways compare, as far as they were run."""
    total = {name: together(found) for name, found in rounds.items() if found}
    made: dict[str, Any] = {}
    for other in ("plain", "batched"):
        if {other, "ours"} <= total.keys():
            made[f"times_{other}"] = ratio(total["ours"]["accepted_per_minute"], total[other]["accepted_per_minute"])
            made[f"times_{other}_tokens"] = ratio(total["ours"]["tokens_per_s"], total[other]["tokens_per_s"])
    if {"ours", "ours_silent"} <= total.keys():
        pairs = [(total["ours"], total["ours_silent"]), *zip(rounds["ours"], rounds["ours_silent"], strict=True)]
        shares = [
            round(1 - loud["tokens"] / loud["seconds"] * silent["seconds"] / silent["tokens"], 4)
            if silent["tokens"]
            else None
            for loud, silent in pairs
        ]
        made |= {"streaming_costs": shares[0], "streaming_costs_by_round": shares[1:]}
    return made


def ratio(one: float, other: float) -> float | None:
    return round(one / other, 2) if other else None


def profiled(way: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Run it with a profile on stderr."""
    profile = cProfile.Profile()
    found = profile.runcall(way)
    pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="for each way; shorter ones finish no instance")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dtype", help="default: what the machine does best")
    parser.add_argument("--ways", default="plain,batched,ours,ours_silent")
    parser.add_argument("--profile", action="store_true", help="where our worker's time goes, on stderr")
    args = parser.parse_args()
    model = ensure_embedded()
    ours = LocalBackend(model, dtype=args.dtype, max_batch=args.batch)
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "plain": lambda: run_for(args.seconds, Plain(ours), 1),
        "batched": lambda: run_for(
            args.seconds, LocalBackend(model, dtype=args.dtype, max_batch=args.batch, share_prefix=False), args.batch
        ),
        "ours": lambda: run_for(args.seconds, ours, args.batch),
        "ours_silent": lambda: run_for(args.seconds, ours, args.batch, silent=True),
    }
    found: dict[str, Any] = {"dtype": str(ours.dtype), "batch": args.batch, "threads": torch.get_num_threads()}
    names = args.ways.split(",")
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(args.rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            print(f"round {number + 1}, {name}: {args.seconds:.0f} s", file=sys.stderr, flush=True)
            rounds[name].append(profiled(ways[name]) if args.profile and name == "ours" else ways[name]())
    found |= {name: together(runs) for name, runs in rounds.items()} | ratios(rounds)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
