"""The filter as the worker uses it: the rules of core, fed with what the store knows already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlite_utils import Database

from alpaca_tui.config import RulesConfig
from alpaca_tui.core import rules
from alpaca_tui.core.records import Neighbour, ParsedInstance, Verdict
from alpaca_tui.core.replay import ORDER_DEPENDENT
from alpaca_tui.store import candidates, neighbours, samples, seeds

_NEEDS_OUTPUT = frozenset({"empty_output", "echo", "conflicting_outputs"})
_SETTLED_BY_INPUT = frozenset({"duplicate_input", "conflicting_outputs"})
_COMPARES_OUTPUT = frozenset({"duplicate_instance", "near_duplicate_instance"})


class Screen:
    """Judges new instructions and instances, and remembers those that pass.

    Seeds (disabled ones too: a person knows them) and every kept candidate count as known.
    """

    def __init__(self, db: Database, threshold: float, config: RulesConfig) -> None:
        self.tokenizer = config.tokenizer
        """The project's, for every score."""
        self._instruction_rules = rules.instruction_rules(threshold, config.tokenizer, config.settings())
        self._instance_rules = rules.instance_rules(config.settings())
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

    def judge_drafts(self, instruction: str, instances: Sequence[ParsedInstance]) -> list[tuple[Verdict, ...]]:
        """The verdicts on instances whose outputs another model is to write: what their inputs are judged by."""
        drafts = [replace(instance, output="") for instance in instances]
        chosen = [rule for rule in self._instance_rules if rule.name not in _NEEDS_OUTPUT]
        return rules.judge_instances(instruction, drafts, chosen, self._context)

    def judge_output(self, instruction: str, instance: ParsedInstance, *, known: bool) -> tuple[Verdict, ...]:
        """The verdicts on another model's output to an instruction and input that are known already.

        ``known`` tells that the sample with its former output is known too: it must not be its own near duplicate.
        """
        left_out = _SETTLED_BY_INPUT | (_COMPARES_OUTPUT if known else frozenset())
        chosen = [rule for rule in self._instance_rules if rule.name not in left_out]
        return rules.judge_instances(instruction, [instance], chosen, self._context)[0]

    def keep_instance(self, sample_id: int, instruction: str, instance: ParsedInstance, *, draft: bool = False) -> None:
        """From now on the instance is known; of a ``draft`` the input only."""
        self._context.know_instance(sample_id, instruction, instance.input, "" if draft else instance.output)
