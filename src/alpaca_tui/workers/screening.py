"""The filter as the worker uses it: the rules of core, fed with what the store knows already."""

from __future__ import annotations

from collections.abc import Sequence

from sqlite_utils import Database

from alpaca_tui.config import RulesConfig
from alpaca_tui.core import rules
from alpaca_tui.core.records import Neighbour, ParsedInstance, Verdict
from alpaca_tui.core.replay import ORDER_DEPENDENT
from alpaca_tui.store import candidates, neighbours, samples, seeds


class Screen:
    """Judges new instructions and instances, and remembers those that pass.

    Seeds (disabled ones too: a person knows them) and every kept candidate count as known.
    """

    def __init__(self, db: Database, threshold: float, config: RulesConfig) -> None:
        self.tokenizer = config.tokenizer
        """The project's, for every score."""
        instruction_rules = rules.instruction_rules(threshold, config.tokenizer)
        self._instruction_rules = [r for r in instruction_rules if r.name not in config.disabled]
        self._instance_rules = [r for r in rules.instance_rules() if r.name not in config.disabled]
        self._context = rules.Context(config.tokenizer)
        self._history = neighbours.History(db, config.tokenizer)
        known = [Neighbour("seed", seed.id, seed.task.instruction) for seed in seeds.all_seeds(db)]
        known += [Neighbour("candidate", entry.id, entry.instruction) for entry in candidates.kept(db)]
        self._context.know_instructions(known)
        for sample_id, instruction, input, output in samples.known_texts(db):
            self._context.know_instance(sample_id, instruction, input, output)

    def judge_instruction(self, instruction: str) -> tuple[Verdict, ...]:
        """Every rule's verdict on a new instruction."""
        return rules.judge_instruction(instruction, self._instruction_rules, self._context)

    def note_instruction(self, candidate_id: int, instruction: str, verdicts: Sequence[Verdict]) -> None:
        """Store which earlier texts a new candidate, kept or not, is alike to; in the caller's transaction."""
        passed = all(verdict.passed for verdict in verdicts if verdict.rule not in ORDER_DEPENDENT)
        self._history.note(candidate_id, instruction, passed)

    def keep_instruction(self, candidate_id: int, instruction: str) -> None:
        """From now on the instruction is known."""
        self._context.know_instruction("candidate", candidate_id, instruction)

    def judge_instances(self, instruction: str, instances: Sequence[ParsedInstance]) -> list[tuple[Verdict, ...]]:
        """Every rule's verdicts on the instances of one instruction."""
        return rules.judge_instances(instruction, instances, self._instance_rules, self._context)

    def keep_instance(self, sample_id: int, instruction: str, instance: ParsedInstance) -> None:
        """From now on the instance is known."""
        self._context.know_instance(sample_id, instruction, instance.input, instance.output)
