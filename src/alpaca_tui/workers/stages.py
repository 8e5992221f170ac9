"""The three stages of generation: which calls to make next, and what becomes of an answer.

Each stage plans calls from its queue in the store and stores one answer in one transaction, queue move included: a
kill loses at most the answers in flight, and nothing is asked or stored twice.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Protocol

from sqlite_utils import Database

from alpaca_tui.core import parsing, pool, prompts
from alpaca_tui.core.records import Completion, ParsedInstances, Request, Stage
from alpaca_tui.store import candidates, completions, samples, seeds
from alpaca_tui.store.completions import Call
from alpaca_tui.store.database import write
from alpaca_tui.workers.screening import Screen


def derive_seed(run_seed: int, stage: Stage, number: int) -> int:
    """A 63-bit seed of its own for each call, the same in every repetition of the run."""
    digest = hashlib.sha256(f"{run_seed}/{stage}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class StageWorker(Protocol):
    """One stage of generation."""

    def plan(self, limit: int) -> list[Call]:
        """At most ``limit`` calls from the stage's queue; empty where it is empty."""
        ...

    def store(self, call: Call, completion: Completion) -> None:
        """Keep the answer and what was read from it, in one transaction."""
        ...


class Run:
    """What the stages of one run share."""

    def __init__(self, db: Database, job_id: int, model: str, pack: prompts.Pack, seed: int, screen: Screen) -> None:
        self.db, self.job_id, self.model, self.pack, self.seed, self.screen = db, job_id, model, pack, seed, screen
        with write(db):
            completions.ensure_pack(db, pack.hash, pack.name, pack.files)

    def call(
        self,
        stage: Stage,
        template: str,
        number: int,
        variables: dict[str, object],
        candidate_id: int | None = None,
        demonstrations: tuple[pool.PoolEntry, ...] = (),
    ) -> Call:
        """The call whose prompt is ``template`` of the pack with ``variables``."""
        prompt = self.pack.stage(template)
        request = Request(
            prompts.render(self.pack, template, variables),
            prompt.params,
            derive_seed(self.seed, stage, number),
            prompt.choices,
        )
        return Call(
            self.job_id, stage, template, self.pack.hash, self.model, variables, request, candidate_id, demonstrations
        )


class InstructionStage:
    """Invents instructions: human and machine demonstrations in, a continued list out."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._human = seeds.pool(run.db)
        used = completions.seeds_used(run.db, run.job_id, "instruction")
        self._used, self._number = used, 0

    def plan(self, limit: int) -> list[Call]:
        run, wanted = self._run, self._run.pack.demonstrations
        machine = candidates.pool(run.db)
        calls: list[Call] = []
        while len(calls) < limit:
            number, self._number = self._number, self._number + 1
            seed = derive_seed(run.seed, "instruction", number)
            if seed in self._used:
                continue  # this run asked it before it was interrupted
            shown = pool.draw_demonstrations(random.Random(seed), self._human, machine, wanted.count, wanted.machine)
            texts: dict[str, object] = {"demonstrations": [entry.instruction for entry in shown]}
            calls.append(run.call("instruction", "instruction", number, texts, demonstrations=shown))
        return calls

    def store(self, call: Call, completion: Completion) -> None:
        run, prompt = self._run, self._run.pack.stage("instruction")
        parsed = parsing.parse_instruction_list(completion.text, prompt.first_number, completion.finish_reason)
        with write(run.db):
            completion_id = completions.record(run.db, call, completion, parsed.problem)
            for position, instruction in enumerate(parsed.items):
                verdicts = run.screen.judge_instruction(instruction)
                candidate_id, passed = candidates.add(
                    run.db, completion_id, position, instruction, verdicts, run.screen.tokenizer
                )
                run.screen.note_instruction(candidate_id, instruction, verdicts)
                if passed:
                    # Known at once: the next item of the same list must differ from it.
                    run.screen.keep_instruction(candidate_id, instruction)


class ClassificationStage:
    """Decides by few-shot whether a candidate is a classification task."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def plan(self, limit: int) -> list[Call]:
        return [
            self._run.call("classification", "classification", row.id, {"instruction": row.instruction}, row.id)
            for row in candidates.waiting(self._run.db, "classification", limit)
        ]

    def store(self, call: Call, completion: Completion) -> None:
        run = self._run
        assert call.candidate_id is not None
        margin, answer = None, parsing.parse_classification(completion.text)
        if completion.choice_logprobs is not None:
            # The log-odds of the first token say more than the first sampled word.
            yes, no = completion.choice_logprobs
            margin = yes - no
            answer = margin > 0
        problem = None if answer is not None else "the answer is neither yes nor no; taken as no"
        with write(run.db):
            completions.record(run.db, call, completion, problem)
            candidates.set_classification(run.db, call.candidate_id, bool(answer), margin)


class InstanceStage:
    """Fills in inputs and outputs: label first for classification tasks, input first for the others."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def plan(self, limit: int) -> list[Call]:
        rows = candidates.waiting(self._run.db, "instance", 4 * limit)
        # One template at a time, so that the whole batch shares the prompt's long prefix.
        kind = rows[0].is_classification if rows else None
        chosen = [row for row in rows if row.is_classification == kind][:limit]
        template = "output_first" if kind else "input_first"
        return [
            self._run.call("instance", template, row.id, {"instruction": row.instruction}, row.id) for row in chosen
        ]

    def store(self, call: Call, completion: Completion) -> None:
        run = self._run
        assert call.candidate_id is not None
        instruction = str(call.variables["instruction"])
        parsed = self._parse(call.template, completion)
        verdicts = run.screen.judge_instances(instruction, parsed.instances)
        with write(run.db):
            completion_id = completions.record(run.db, call, completion, parsed.problem)
            for instance, found in zip(parsed.instances, verdicts, strict=True):
                sample_id, passed = samples.add(
                    run.db, call.candidate_id, completion_id, instruction, instance, found, run.screen.tokenizer
                )
                if passed:
                    run.screen.keep_instance(sample_id, instruction, instance)
            candidates.finish(run.db, call.candidate_id)

    def _parse(self, template: str, completion: Completion) -> ParsedInstances:
        prompt = self._run.pack.stage(template)
        read = parsing.parse_output_first if template == "output_first" else parsing.parse_input_first
        return read(completion.text, completion.finish_reason, cue=prompt.cue, max_instances=prompt.max_instances)


def stages(run: Run) -> Sequence[StageWorker]:
    """The stages, last one first: what is begun is finished before more is begun."""
    return (InstanceStage(run), ClassificationStage(run), InstructionStage(run))
