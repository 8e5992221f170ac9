"""The stages that invent: instructions from a list that goes on, or whole tasks in one completion."""

from __future__ import annotations

import random

from alpaca_tui.core import parsing, parsing_tasks, pool
from alpaca_tui.core.faults import cost
from alpaca_tui.core.records import Completion, Instance, ParsedInstance, ParsedTask, PoolEntry
from alpaca_tui.store import candidates, completions, leases, samples, seeds
from alpaca_tui.store.completions import Call
from alpaca_tui.store.database import write
from alpaca_tui.workers.growing_pool import Found, GrowingPool
from alpaca_tui.workers.stage_run import Run, derive_seed

SHOWN_WORDS = 100
"""Words that an input or output of a whole task that is shown may have: what the recipe's requirements ask for."""


class InstructionStage:
    """Invents instructions: human and machine demonstrations in, a continued list out."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._only = run.pack.options.classification_only
        rows = [
            row for row in seeds.all_seeds(run.db, enabled_only=True) if not self._only or row.task.is_classification
        ]
        self._human = [PoolEntry("seed", row.id, row.task.instruction) for row in rows]
        self._instances = {row.id: row.task.instances for row in rows}
        self._used, self._last_call = completions.seeds_used(run.db, run.job_id, "instruction")
        self._number = 0
        """All calls with a lower number are stored."""
        self._pool = GrowingPool(self._machine, settles_late=self._only)

    def plan(self, limit: int) -> list[Call]:
        run, wanted = self._run, self._run.pack.demonstrations
        machine = self._pool.entries() if wanted.machine else ()
        taken = leases.held(run.db, "instruction")
        new, self._last_call = completions.seeds_used(run.db, run.job_id, "instruction", self._last_call)
        self._used |= new
        while derive_seed(run.seed, "instruction", self._number) in self._used:
            self._number += 1
        number = self._number - 1
        calls: list[Call] = []
        while len(calls) < limit:
            number += 1
            seed = derive_seed(run.seed, "instruction", number)
            if number in taken or seed in self._used:
                continue
            rng = random.Random(seed)
            shown = pool.draw_demonstrations(rng, self._human, machine, wanted.count, wanted.machine)
            variables: dict[str, object] = {"demonstrations": [self._show(entry, rng) for entry in shown]}
            calls.append(run.call("instruction", "instruction", number, variables, demonstrations=shown))
        return calls

    def store(self, call: Call, completion: Completion) -> None:
        run = self._run
        parsed = self._parse(completion, run.pack.mode)
        faults = cost(completion, parsed.items, self._parse(completion, "fixed").items) if run.faithful else None
        with write(run.db):
            completion_id = completions.record(run.db, call, completion, parsed.problem, faults)
            for position, instruction in enumerate(parsed.items):
                verdicts = run.screen.judge_instruction(instruction)
                candidate_id, passed = candidates.add(
                    run.db, completion_id, position, instruction, verdicts, run.screen.tokenizer
                )
                run.screen.note_instruction(candidate_id, instruction, verdicts)
                if passed:
                    # Known at once: the next item of the same list must differ from it.
                    run.screen.keep_instruction(candidate_id, instruction)

    def _parse(self, completion: Completion, mode: parsing.Mode) -> parsing.ParsedList:
        first = self._run.pack.stage("instruction").first_number
        return parsing.parse_instruction_list(completion.text, first, completion.finish_reason, mode)

    def _machine(self, after: int) -> Found:
        found = candidates.pool(self._run.db, classification_only=self._only, after=after)
        return [(entry, None) for entry in found]

    def _show(self, entry: PoolEntry, rng: random.Random) -> object:
        return entry.instruction


class TaskStage(InstructionStage):
    """Invents whole tasks: one completion carries instructions with their inputs and outputs (Alpaca).

    There is no classification: a candidate and its sample are stored together, and have no further stage.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        if not run.faithful:
            # What the requirements ask for is shown, and three long ones would fill a short context.
            short = {seed: tuple(filter(_is_short, given)) for seed, given in self._instances.items()}
            self._instances = {seed: given for seed, given in short.items() if given}
            self._human = [entry for entry in self._human if entry.id in self._instances]

    def store(self, call: Call, completion: Completion) -> None:
        run = self._run
        parsed = self._read(completion, run.pack.mode)
        faults = None
        if run.faithful:
            fixed = self._read(completion, "fixed")
            faults = cost(completion, [task.instruction for task in parsed.tasks], [t.instruction for t in fixed.tasks])
        with write(run.db):
            completion_id = completions.record(run.db, call, completion, parsed.problem, faults)
            for task in parsed.tasks:
                self._keep(completion_id, task)

    def _keep(self, completion_id: int, task: ParsedTask) -> None:
        """One task through the rules for instructions and those for instances; both rows stay, whatever they say."""
        run = self._run
        verdicts = run.screen.judge_instruction(task.instruction)
        candidate_id, passed = candidates.add(
            run.db, completion_id, task.position, task.instruction, verdicts, run.screen.tokenizer, queue="done"
        )
        run.screen.note_instruction(candidate_id, task.instruction, verdicts)
        if passed:
            run.screen.keep_instruction(candidate_id, task.instruction)
        refused_by = next((verdict.rule for verdict in verdicts if not verdict.passed), None)
        instance = ParsedInstance(task.position, task.input, task.output)
        keep_instances(run, candidate_id, completion_id, task.instruction, [instance], refused_by)

    def _read(self, completion: Completion, mode: parsing.Mode) -> parsing_tasks.ParsedTasks:
        first = self._run.pack.stage("instruction").first_number
        return parsing_tasks.parse_tasks(completion.text, first, completion.finish_reason, mode)

    def _machine(self, after: int) -> Found:
        return samples.whole_tasks(self._run.db, after)

    def _show(self, entry: PoolEntry, rng: random.Random) -> object:
        instance = self._pool.instances[entry.id] if entry.kind == "candidate" else self._of_seed(entry.id, rng)
        return {"instruction": entry.instruction, "input": instance.input, "output": instance.output}

    def _of_seed(self, seed_id: int, rng: random.Random) -> Instance:
        """Alpaca's script always shows a seed's first instance; here each has its turn."""
        instances = self._instances[seed_id]
        return instances[0] if self._run.faithful else rng.choice(instances)


def _is_short(instance: Instance) -> bool:
    return max(len(instance.input.split()), len(instance.output.split())) <= SHOWN_WORDS


def keep_instances(
    run: Run,
    candidate_id: int,
    completion_id: int,
    instruction: str,
    instances: list[ParsedInstance],
    refused_by: str | None = None,
) -> None:
    """Judge and store the instances read from one completion, in the caller's transaction.

    Where another model writes the outputs, what passes waits for it, judged by its input so far. ``refused_by`` is what
    filters all of them out, whatever their own rules say.
    """
    waits = run.output_model is not None
    judged = run.screen.judge_drafts(instruction, instances) if waits else None
    for instance, found in zip(instances, judged or run.screen.judge_instances(instruction, instances), strict=True):
        sample_id, passed = samples.add(
            run.db,
            candidate_id,
            completion_id,
            instruction,
            instance,
            found,
            run.screen.tokenizer,
            state="waiting" if waits else "pending",
            refused_by=refused_by,
        )
        if passed:
            run.screen.keep_instance(sample_id, instruction, instance, draft=waits)
