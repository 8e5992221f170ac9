"""Rows as a generation worker would store them."""

from __future__ import annotations

from sqlite_utils import Database

from alpaca_tui.core.records import Completion, Instance, ParsedInstance, PoolEntry, Request, SamplingParams, SeedTask
from alpaca_tui.core.records import Verdict as V
from alpaca_tui.store import candidates, completions, jobs, samples, seeds
from alpaca_tui.store.completions import Call
from alpaca_tui.store.database import write


class Filler:
    """Adds jobs, calls, candidates and samples to a project."""

    def __init__(self, db: Database) -> None:
        self.db = db
        seeds.add(
            db,
            [SeedTask(f"s{i}", f"seed {i}", f"Explain seed number {i}.", (Instance("", "x"),), False) for i in (1, 2)],
        )
        completions.ensure_pack(db, "hash", "self-instruct", {"pack.toml": ""})
        self.job_id = jobs.enqueue(db, "generate", {"target": 10})

    def completion(self, text: str = "text", candidate_id: int | None = None, problem: str | None = None) -> int:
        call = Call(
            self.job_id,
            "instruction" if candidate_id is None else "instance",
            "instruction" if candidate_id is None else "input_first",
            "hash",
            "smollm2-135m",
            {"demonstrations": []},
            Request("prompt", SamplingParams(), 7),
            candidate_id,
            () if candidate_id else (PoolEntry("seed", 1, "Explain seed number 1."),),
        )
        with write(self.db):
            return completions.record(self.db, call, Completion(text, "eos", 10, 5, 0.5), problem)

    def candidate(self, instruction: str, *verdicts: V) -> int:
        with write(self.db):
            return candidates.add(self.db, self.completion(), 0, instruction, verdicts or (V("length", True),))[0]

    def sample(self, instruction: str = "Name a fruit.", output: str = "A pear.", *verdicts: V) -> int:
        candidate_id = self.candidate(instruction)
        with write(self.db):
            candidates.set_classification(self.db, candidate_id, False, -2.0)
            completion_id = self.completion(candidate_id=candidate_id)
            instance = ParsedInstance(0, "", output)
            sample_id, _ = samples.add(
                self.db, candidate_id, completion_id, instruction, instance, verdicts or (V("empty_output", True),)
            )
            candidates.finish(self.db, candidate_id)
        return sample_id
