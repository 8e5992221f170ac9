"""How fast is a novelty decision? rouge-score, a rapidfuzz full scan and the novelty index, side by side in one run.

    python benchmarks/novelty.py [--pools 1000,10000,50000,1000000] [--decisions 2000] [--json FILE]
    python benchmarks/novelty.py --pools 1000,5000 --decisions 200     # a try, under a minute

All three see the same generated texts: sentences of 12 to 38 words in a Zipf vocabulary of 50,000 words, half of them
opening with one of 300 common phrases as instructions do, and 15 % near-duplicates of earlier ones. Slow peers are
measured on a sample and scaled linearly; such figures carry a "~". Every decision of the index in the sample is
checked against the full scan's. One core, save for rouge-score's pool; "cpu" is processor time, which other work on
the machine does not lengthen. "pairs/s" is the pool's size times the decisions a second: what a full scan would have to
compare to keep up.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import string
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist
from rouge_score.rouge_scorer import RougeScorer

from alpaca_tui.core.novelty import NoveltyIndex
from alpaca_tui.core.overlap_bounds import f_measures
from alpaca_tui.core.rouge import tokenize

THRESHOLD = 0.7
FLOOR = 0.5
VOCABULARY = 50_000


def word(rank: int) -> str:
    """A distinct word for each rank, short for frequent ones."""
    letters = string.ascii_lowercase
    out = ""
    rank += 1
    while rank:
        rank, digit = divmod(rank - 1, len(letters))
        out = letters[digit] + out
    return out


def texts(count: int, seed: int = 7) -> list[str]:
    """``count`` instruction-like sentences; the same for the same seed."""
    draw = np.random.default_rng(seed)
    chance = random.Random(seed)
    words = [word(rank) for rank in range(VOCABULARY)]
    weights = 1 / (np.arange(VOCABULARY) + 2.7)
    stream = draw.choice(VOCABULARY, size=count * 40, p=weights / weights.sum()).tolist()
    openings = [[stream.pop() for _ in range(chance.randint(2, 6))] for _ in range(300)]
    sentences: list[list[int]] = []
    at = 0
    for _ in range(count):
        length = chance.randint(12, 38)
        fresh = stream[at : at + length]
        at += length
        if sentences and chance.random() < 0.15:
            sentence = list(sentences[chance.randrange(len(sentences))])
            for _ in range(chance.randint(0, len(sentence) // 2)):
                sentence[chance.randrange(len(sentence))] = fresh.pop() if fresh else 0
        elif chance.random() < 0.5:
            opening = openings[int(300 * chance.random() ** 3)]
            sentence = (opening + fresh)[:length]
        else:
            sentence = fresh
        sentences.append(sentence)
    return [" ".join(words[rank] for rank in sentence) for sentence in sentences]


class Clock:
    """Wall-clock and processor seconds of each decision; the latter are what an otherwise idle core would need."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    @contextmanager
    def decision(self) -> Iterator[None]:
        """Time one decision."""
        cpu, wall = time.thread_time(), time.perf_counter()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.thread_time() - cpu)

    def figures(self) -> dict[str, Any]:
        """Decisions per second of wall-clock time, and quantiles in milliseconds."""
        return {
            "decisions_per_s": len(self.wall) / sum(self.wall),
            **quantiles("", self.wall),
            **(quantiles("cpu_", self.cpu) if self.cpu else {}),
        }


def quantiles(prefix: str, seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p99 in milliseconds."""
    return {f"{prefix}p{q}_ms": float(np.quantile(seconds, q / 100)) * 1e3 for q in (50, 99)}


def measure_rouge_score(known: list[str], asked: list[str], sample: int) -> dict[str, Any]:
    """rouge-score as the reference code uses it: for each candidate a process pool of 4 over the known texts."""
    scorer = RougeScorer(["rougeL"], use_stemmer=False)

    def seconds(text: str, some: list[str]) -> float:
        start = time.perf_counter()
        with Pool(4) as pool:
            max(score["rougeL"].fmeasure for score in pool.map(partial(scorer.score, text), some))
        return time.perf_counter() - start

    clock = Clock()
    if sample >= len(known):
        clock.wall = [seconds(text, known) for text in asked[:5]]
        return clock.figures()
    for text in asked[:5]:
        fixed = seconds(text, known[:4])
        clock.wall.append(fixed + (seconds(text, known[:sample]) - fixed) * len(known) / sample)
    return {**clock.figures(), "extrapolated": True}


def measure_full_scan(known: list[str], asked: list[str]) -> tuple[dict[str, Any], list[float]]:
    """rapidfuzz on token-id strings encoded beforehand; also the exact highest score of each text asked about."""
    vocabulary: dict[str, int] = {}

    def encode(text: str) -> str:
        return "".join(chr(0xE000 + vocabulary.setdefault(t, len(vocabulary))) for t in tokenize(text))

    encoded = [encode(text) for text in known]
    lengths = np.array([len(text) for text in encoded])
    clock, best = Clock(), []
    for text in asked:
        with clock.decision():
            query = encode(text)
            common = cdist([query], encoded, scorer=LCSseq.similarity, dtype=np.int64)[0]
            best.append(float(f_measures(common, len(query), lengths).max()))
    return clock.figures(), best


def measure_index(index: NoveltyIndex, asked: list[str], floor: float, best: list[float]) -> dict[str, Any]:
    """The index asked for the nearest text above ``floor``; stops with an error if it disagrees with the scan."""
    clock = Clock()
    for i, text in enumerate(asked):
        with clock.decision():
            match = index.nearest(text, floor)
        if i < len(best) and (match.score if match else None) != (best[i] if best[i] > floor else None):
            sys.exit(f"the index disagrees with the full scan on {text!r}: {match} against {best[i]}")
    return clock.figures()


def measure_batch(index: NoveltyIndex, asked: list[str], floor: float) -> dict[str, Any]:
    """The index asked about all texts in one call, as in filtering a file; checked against single questions."""
    clock = Clock()
    with clock.decision():
        matches = index.nearest_each(asked, floor)
    for i in range(0, len(asked), 50):
        if matches[i] != index.nearest(asked[i], floor):
            sys.exit(f"asked about many texts, the index answers differently on {asked[i]!r}")
    return {"decisions_per_s": len(asked) / clock.wall[0]}


def milliseconds(ask: Callable[[str], object], asked: list[str]) -> float:
    """Of wall-clock time for each text."""
    start = time.perf_counter()
    for text in asked:
        ask(text)
    return (time.perf_counter() - start) / len(asked) * 1e3


def measure_pool(size: int, everything: list[str], decisions: int, scans: int) -> dict[str, Any]:
    """All contenders at one pool size."""
    known, asked = everything[:size], everything[size : size + decisions]
    result: dict[str, Any] = {"pool": size}
    process = psutil.Process()
    start = time.perf_counter()
    index = NoveltyIndex()
    index.extend(enumerate(known), lambda done: print(f"\r{done:,} texts indexed", end="", file=sys.stderr, flush=True))
    print("\r", end="", file=sys.stderr)
    result["build_s"] = time.perf_counter() - start
    result["arrays_mb"] = index.nbytes / 1e6
    result["full scan"], best = measure_full_scan(known, asked[:scans])
    result["index, decision at 0.7"] = measure_index(index, asked, THRESHOLD, best)
    result["index, neighbour above 0.5"] = measure_index(index, asked, FLOOR, best)
    result["index, many at once at 0.7"] = measure_batch(index, asked, THRESHOLD)
    result["index, many at once above 0.5"] = measure_batch(index, asked, FLOOR)
    result["on_demand_ms"] = {
        "ten most similar": milliseconds(partial(index.top, k=10), asked[:3]),
        "mean similarity": milliseconds(index.mean_similarity, asked[:3]),
    }
    clock = Clock()
    for i, text in enumerate(asked):
        with clock.decision():
            match = index.nearest(text)
            if match is None or match.score <= THRESHOLD:
                index.add(size + i, text)
    result["index, filter and add"] = clock.figures()
    result["rss_mb"] = process.memory_info().rss / 1e6
    result["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    del index
    gc.collect()
    result["rouge-score"] = measure_rouge_score(known, asked, 4_000)
    return result


def report(result: dict[str, Any]) -> None:
    """One pool size as a table."""
    keys = ("p50_ms", "p99_ms", "cpu_p50_ms", "cpu_p99_ms")
    size, build, arrays = result["pool"], result["build_s"], result["arrays_mb"]
    print(f"\npool {size:,}: index built in {build:.2f} s, {arrays:.0f} MB of arrays")
    print(f"{'':30}{'pairs/s':>16}{'decisions/s':>12}{'p50 ms':>13}{'p99 ms':>13}", end="")
    print(f"{'cpu p50':>9}{'cpu p99':>9}{'ratio':>11}")
    base = result["rouge-score"]["decisions_per_s"]
    for name in ("rouge-score", "full scan", *(name for name in result if name.startswith("index, "))):
        row = result[name]
        sign = "~" if row.get("extrapolated") else ""
        rate = row["decisions_per_s"]
        cells = [f"{sign}{row[key]:,.3f}" if key in row else "-" for key in keys]
        print(f"{name:30}{f'{sign}{size * rate:,.0f}':>16}{f'{sign}{rate:,.3f}':>12}", end="")
        print(f"{cells[0]:>13}{cells[1]:>13}{cells[2]:>9}{cells[3]:>9}{rate / base:>10,.0f}x")
    demand = "; ".join(f"{name} {ms:.1f} ms" for name, ms in result["on_demand_ms"].items())
    print(f"exact, on demand: {demand}; ", end="")
    print(f"resident memory of the process: {result['rss_mb']:,.0f} MB, at its peak {result['peak_rss_mb']:,.0f} MB")


def main() -> None:
    """Parse the flags, run every pool size, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", default="1000,10000,50000", help="pool sizes, comma-separated")
    parser.add_argument("--decisions", type=int, default=2000, help="texts asked about at each size")
    parser.add_argument("--scans", type=int, default=200, help="of these, how many are checked by a full scan")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    flags = parser.parse_args()
    sizes = [int(size) for size in flags.pools.split(",")]
    everything = texts(max(sizes) + flags.decisions)
    results = []
    for size in sizes:
        scans = max(5, min(flags.scans, 20_000_000 // size))
        results.append(measure_pool(size, everything, flags.decisions, scans))
        report(results[-1])
    if flags.json:
        flags.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
