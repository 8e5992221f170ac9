"""The filter: one list of rules for instructions, one for instances, and every rule's verdict on each text."""

from __future__ import annotations

from collections.abc import Sequence

from alpaca_tui.core.instance_rules import INSTANCE_RULES, InstanceRule, Task, instance_rules
from alpaca_tui.core.instruction_rules import INSTRUCTION_RULES, InstructionRule, instruction_rules
from alpaca_tui.core.records import ParsedInstance, Verdict
from alpaca_tui.core.rule_context import Context
from alpaca_tui.core.rule_settings import SHIPPED, RuleSettings, parameters_of, stamped

__all__ = [
    "INSTANCE_RULES",
    "INSTRUCTION_RULES",
    "SHIPPED",
    "Context",
    "InstanceRule",
    "InstructionRule",
    "RuleSettings",
    "first_failure",
    "instance_rules",
    "instruction_rules",
    "judge_instances",
    "judge_instruction",
]


def judge_instruction(text: str, rules: Sequence[InstructionRule], context: Context) -> tuple[Verdict, ...]:
    """Every rule's verdict on an instruction, also after the first failure, so that everything is explained."""
    return tuple(stamped(rule.judge(text, context), parameters_of(rule)) for rule in rules)


def judge_instances(
    instruction: str, instances: Sequence[ParsedInstance], rules: Sequence[InstanceRule], context: Context
) -> list[tuple[Verdict, ...]]:
    """Every rule's verdict on each instance of a task, in order; only instances that pass block later ones."""
    kept: tuple[ParsedInstance, ...] = ()
    judged: list[tuple[Verdict, ...]] = []
    for instance in instances:
        task = Task(instruction, tuple(instances), kept, context)
        verdicts = tuple(stamped(rule.judge(instance, task), parameters_of(rule)) for rule in rules)
        judged.append(verdicts)
        if first_failure(verdicts) is None:
            kept = (*kept, instance)
    return judged


def first_failure(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The verdict that the rejection is counted under; None if every rule passed."""
    return next((verdict for verdict in verdicts if not verdict.passed), None)
