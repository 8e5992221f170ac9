"""How long do a file's filtering, a project's would-keep curve and a replay take at 50,000 texts?

    python benchmarks/replay.py [--texts 50000] [--redundant 0.15] [--json FILE]

The texts are those of ``benchmarks/novelty.py``. The file is filtered by the very function behind ``alpaca-tui filter
FILE``, with all rules, reading and writing included. The project is a real database in a temporary directory, its
candidates judged at 0.7 and its pairs stored as the worker stores them. The curve's figure includes reading everything
from the database; it is checked against full replays at three thresholds. All of it runs on one core; "cpu" is
processor time, which other work on the machine lengthens less.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from novelty import texts as sentences

from alpaca_tui.cli.filter_file import filter_file
from alpaca_tui.core.instance_rules import instance_rules
from alpaca_tui.core.records import Completion, Neighbour, ParsedInstance, Request, SamplingParams
from alpaca_tui.core.replay import rejudge
from alpaca_tui.core.replay_instances import Item, rejudge_instances
from alpaca_tui.core.rule_context import Context
from alpaca_tui.core.rules import first_failure, instruction_rules
from alpaca_tui.store import candidates, completions, jobs, neighbours, projects, replays, seeds
from alpaca_tui.store.completions import Call
from alpaca_tui.store.database import write

THRESHOLD = 0.7


def texts(count: int, redundant: float) -> list[str]:
    """Sentences of which a share, on top of the 15 % of ``novelty.texts``, repeats one of 40 templates but for a word.

    So many near-copies of one another are what a small model writes, and the worst case for pairs.
    """
    chance = random.Random(11)
    plain = sentences(count)
    templates = [text.split() for text in plain[:40]]
    for i in range(count):
        if chance.random() < redundant:
            words = list(chance.choice(templates))
            words[chance.randrange(len(words))] = chance.choice(plain).split()[0]
            plain[i] = " ".join(words)
    return plain


@contextmanager
def clock(figures: dict[str, Any], name: str) -> Iterator[None]:
    """Seconds of wall-clock time under ``name``, and of processor time, printed at once."""
    start, cpu = time.perf_counter(), time.process_time()
    yield
    figures[name] = time.perf_counter() - start
    figures[f"{name}, cpu"] = time.process_time() - cpu
    print(f"{name:58}{figures[name]:9.2f} s   cpu {figures[f'{name}, cpu']:7.2f} s", flush=True)


def measure_file(folder: Path, instructions: list[str], figures: dict[str, Any]) -> None:
    """Lines in, kept and rejected lines out."""
    file = folder / "in.jsonl"
    with file.open("w", encoding="utf-8") as stream:
        for text in instructions:
            stream.write(json.dumps({"instruction": text, "input": "", "output": "x"}) + "\n")
    with clock(figures, "filter FILE, all rules"):
        value = filter_file(
            file, instruction_rules(THRESHOLD), "rouge", "instruction", folder / "out.jsonl", folder / "rejects.jsonl"
        )
    print(f"  {value['total']:,} records, {value['kept']:,} kept, rejected {value['rejected']}")


def fill(folder: Path, instructions: list[str], figures: dict[str, Any]) -> Any:
    """A project with these candidates, judged and stored."""
    db, _ = projects.ensure(folder / "project")
    known = [Neighbour("seed", row.id, row.task.instruction) for row in seeds.all_seeds(db)]
    asked = [Neighbour("candidate", i, text) for i, text in enumerate(instructions, start=1)]
    with clock(figures, "judge every candidate anew (a full replay)"):
        judged = rejudge(known, asked, instruction_rules(THRESHOLD))
    completions.ensure_pack(db, "hash", "self-instruct", {})
    job = jobs.enqueue(db, "generate", {"target": 1})
    jobs.request_stop(db, job)
    call = Call(job, "instruction", "instruction", "hash", "none", {}, Request("", SamplingParams(), 0))
    for start in range(0, len(asked), 1000):
        with write(db):
            completion = completions.record(db, call, Completion("", "eos", 0, 0, 0.0), None)
            for i in range(start, min(start + 1000, len(asked))):
                candidates.add(db, completion, i - start, instructions[i], judged[i])
    with clock(figures, "find and store all pairs from 0.5 on, afterwards"):
        neighbours.complete(db)
    pairs, deciding = neighbours.load(db), neighbours.load(db, deciding=True)
    figures["pairs"] = len(pairs.candidates) + len(pairs.seeds)
    figures["deciding"] = len(deciding.candidates) + len(deciding.seeds)
    figures["kept"] = sum(first_failure(verdicts) is None for verdicts in judged)
    print(f"  {figures['pairs']:,} pairs stored, {figures['deciding']:,} of them can decide something")
    print(f"  {figures['kept']:,} candidates kept at {THRESHOLD:g}")
    return db


def measure_project(db: Any, figures: dict[str, Any], check: bool) -> None:
    """The curve and one replay, from the stored pairs."""
    with clock(figures, "curve of 51 thresholds from the database"):
        curve = dict(replays.threshold_curve(db))
    if curve[THRESHOLD] != figures["kept"]:
        sys.exit(f"the curve keeps {curve[THRESHOLD]} at {THRESHOLD:g}, the filter kept {figures['kept']}")
    with clock(figures, "replay at 0.6 from stored pairs"):
        replays.preview(db, 0.6)
    with clock(figures, "the same, applied and journalled"):
        replays.apply(db, 0.6)
    with clock(figures, "undone"):
        replays.undo(db)
    if check:
        rows = db.execute("SELECT id, instruction FROM candidates ORDER BY id").fetchall()
        known = [Neighbour("seed", row.id, row.task.instruction) for row in seeds.all_seeds(db)]
        for threshold in (0.5, 0.6, 0.85):
            judged = rejudge(known, [Neighbour("candidate", *row) for row in rows], instruction_rules(threshold))
            kept = sum(first_failure(verdicts) is None for verdicts in judged)
            if kept != curve[threshold]:
                sys.exit(f"the curve keeps {curve[threshold]} at {threshold:g}, a full replay {kept}")
        print("  the curve equals full replays at 0.5, 0.6 and 0.85")


def measure_instances(count: int, redundant: float, figures: dict[str, Any]) -> None:
    """Every sample judged anew by the rules for instances: half of them with an input, outputs of two sentences."""
    some = texts(3 * count, redundant)
    items = [
        Item(i, (i, i), some[i], ParsedInstance(0, some[-i - 1] if i % 2 else "", f"{some[count + i]} {some[i]}"))
        for i in range(count)
    ]
    with clock(figures, "judge every sample anew (changed rules for instances)"):
        judged = list(rejudge_instances(items, instance_rules(), Context()))
    print(f"  {sum(first_failure(verdicts) is None for _, verdicts in judged):,} of {count:,} samples kept")


def main() -> None:
    """Parse the flags, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=50_000, help="how many")
    parser.add_argument("--redundant", type=float, default=0.0, help="share that is near-copies of 40 templates")
    parser.add_argument("--check", action="store_true", help="compare the curve with full replays (a minute)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    flags = parser.parse_args()
    figures: dict[str, Any] = {"texts": flags.texts, "redundant": flags.redundant}
    instructions = texts(flags.texts, flags.redundant)
    with tempfile.TemporaryDirectory() as name:
        measure_file(Path(name), instructions, figures)
        db = fill(Path(name), instructions, figures)
        measure_project(db, figures, flags.check)
        db.close()
    measure_instances(flags.texts, flags.redundant, figures)
    if flags.json:
        flags.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
