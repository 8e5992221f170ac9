"""A project of any size for the cockpit's benchmarks, written in bulk: every table that its screens read is filled.

python benchmarks/big_project.py DIRECTORY [--samples 50000] [--seed 7]
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.records import Completion, Request, SamplingParams
from alpaca_tui.store import completions, jobs, projects, seeds
from alpaca_tui.store.completions import Call
from alpaca_tui.store.database import now, write

WORDS = tuple(
    """the a an of to in on for with explain list name compare describe write short clear river letter recipe number
    town garden machine winter clerk teacher price reason answer question sentence poem table bread train museum harbour
    weather choose sort find rewrite count summarise translate polite plain formal""".split()  # noqa: SIM905
)
RULES = ("length", "banned_words", "duplicate", "novelty")
STEPS = 3000
STATES = ("pending",) * 6 + ("accepted",) * 2 + ("rejected", "filtered")


def fill(project: Path, count: int, seed: int = 7) -> Database:
    """Create the project with ``count`` samples and a third as many rejected instructions; return it open."""
    db, _ = projects.ensure(project)
    rng = random.Random(seed)
    pack = resources.read_pack("self-instruct")
    job = jobs.enqueue(db, "generate", {"target": count, "recipe": "self-instruct", "model": "smollm2-135m"})
    jobs.set_state(db, job, "succeeded", reason=None, exit_code=0)
    with write(db):
        completions.ensure_pack(db, pack.hash, pack.name, pack.files)
        shown = seeds.pool(db)[:6]
        request = Request("prompt", SamplingParams(), 7)
        variables = {"demonstrations": [entry.instruction for entry in shown]}
        call = Call(
            job, "instruction", "instruction", pack.hash, "smollm2-135m", variables, request, None, tuple(shown)
        )
        first_call = completions.record(db, call, Completion("answer", "stop", 400, 60, 2.5), None)
    columns = [c.name for c in db["completions"].columns]
    model = dict(
        zip(columns, db.execute("SELECT * FROM completions WHERE id = ?", [first_call]).fetchone(), strict=True)
    )
    with write(db):
        _calls(db, model, columns, count, rng)
        _candidates(db, count, rng)
        _samples(db, count, rng)
        _training(db, rng)
    return db


def text(rng: random.Random, low: int, high: int) -> str:
    """Words that make no sense together."""
    return " ".join(rng.choices(WORDS, k=rng.randint(low, high))).capitalize() + "."


def _calls(db: Database, model: dict, columns: list[str], count: int, rng: random.Random) -> None:
    def rows() -> Iterator[list]:
        for i in range(count):
            changed = {"id": 2 + i, "stage": "instance", "template": "input_first", "candidate_id": None, "seed": i}
            yield [{**model, **changed}[name] for name in columns]

    marks = ", ".join("?" * len(columns))
    db.conn.executemany(f"INSERT INTO completions ({', '.join(columns)}) VALUES ({marks})", rows())


def _candidates(db: Database, count: int, rng: random.Random) -> None:
    total = count + count // 3
    at = now()
    rows, verdicts = [], []
    for i in range(1, total + 1):
        rejected = i > count
        by = rng.choice(RULES) if rejected else None
        kind = None if rejected else int(rng.random() < 0.2)
        stage = "rejected" if rejected else "done"
        rows.append((i, 1, i, text(rng, 5, 30), stage, by, kind, rng.gauss(-1, 1), at))
        for place, rule in enumerate(RULES):
            score = round(rng.uniform(0.5, 1.0 if rule == by else 0.7), 4) if rule == "novelty" else None
            near = rng.randint(1, i - 1) if rule == "novelty" and i > 1 else None
            verdicts.append((i, rule, place, int(rule != by), score, 0.7 if score else None, near))
    db.conn.executemany(
        "INSERT INTO candidates (id, completion_id, position, instruction, stage, rejected_by, is_classification,"
        " classification_margin, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    db.conn.executemany(
        "INSERT INTO candidate_verdicts (candidate_id, rule, position, passed, score, threshold,"
        " neighbour_candidate_id) VALUES (?, ?, ?, ?, ?, ?, ?)",
        verdicts,
    )


def _training(db: Database, rng: random.Random) -> None:
    """A training that has ended, of ``STEPS`` steps."""
    job = jobs.enqueue(db, "train", {"dataset": "first", "model": "smollm2-135m", "method": "lora"})
    jobs.set_state(db, job, "succeeded", reason=None, exit_code=0)
    at = now()
    names = {"loss": 2.5, "learning_rate": 2e-4, "grad_norm": 1.0}
    db.conn.executemany(
        "INSERT INTO metrics (job_id, name, step, value, at) VALUES (?, ?, ?, ?, ?)",
        [
            (job, name, step, start * (0.3 + 0.7 / (1 + step / 200)) * rng.uniform(0.9, 1.1), at)
            for step in range(1, STEPS + 1)
            for name, start in names.items()
        ],
    )


def _samples(db: Database, count: int, rng: random.Random) -> None:
    at = now()
    samples, revisions, verdicts = [], [], []
    instructions = dict(db.execute("SELECT id, instruction FROM candidates WHERE id <= ?", [count]))
    for i in range(1, count + 1):
        state = rng.choice(STATES)
        by = "empty_output" if state == "filtered" else None
        samples.append((i, i, 1 + i, 0, state, by, at))
        revisions.append((i, instructions[i], text(rng, 0, 20) if rng.random() < 0.5 else "", text(rng, 5, 80), at))
        verdicts += [(i, "empty_output", 0, int(by is None), None, None), (i, "echo", 1, 1, rng.random() * 0.8, 0.9)]
    db.conn.executemany(
        "INSERT INTO samples (id, candidate_id, completion_id, position, state, rejected_by, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        samples,
    )
    db.conn.executemany(
        "INSERT INTO sample_revisions (sample_id, revision, author, instruction, input, output, created_at)"
        " VALUES (?, 1, 'model', ?, ?, ?, ?)",
        revisions,
    )
    db.conn.executemany(
        "INSERT INTO sample_verdicts (sample_id, rule, position, passed, score, threshold) VALUES (?, ?, ?, ?, ?, ?)",
        verdicts,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    fill(given.project, given.samples, given.seed).close()
