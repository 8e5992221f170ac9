"""What the rules for instances would say today of the instances of a project, in order of arrival, without a model.

As with instructions, decisions depend on order: an instance that is rejected no longer blocks later ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from alpaca_tui.core.instance_rules import InstanceRule, Task, as_draft, draft_rules
from alpaca_tui.core.records import ParsedInstance, Verdict
from alpaca_tui.core.rule_context import Context
from alpaca_tui.core.rule_settings import parameters_of, stamped
from alpaca_tui.core.rules import first_failure


@dataclass(frozen=True, slots=True)
class Item:
    """An instance as a replay sees it."""

    id: int
    task: tuple[int, int]
    """Candidate and completion: instances of the same task were read from one completion and judged together."""
    instruction: str
    instance: ParsedInstance
    draft: bool = False
    """Another model is to write its output: only its input is judged."""
    stands: bool | None = None
    """Not judged: it is kept (True) or left out (False) whatever the rules say. None: the rules decide."""


def rejudge_instances(
    items: Iterable[Item], rules: Sequence[InstanceRule], context: Context
) -> Iterator[tuple[Item, tuple[Verdict, ...]]]:
    """Every rule's verdict on each of ``items``, in order of arrival, as the filter would give it today.

    Items of one task follow each other. Those that stand have no verdicts. ``context`` begins empty.
    """
    for_drafts = draft_rules(rules)
    for _, members in groupby(items, key=lambda item: item.task):
        group = [replace(item, instance=as_draft(item.instance)) if item.draft else item for item in members]
        every = tuple(item.instance for item in group)
        kept: list[Item] = []
        for item in group:
            verdicts: tuple[Verdict, ...] = ()
            if item.stands is None:
                task = Task(item.instruction, every, tuple(one.instance for one in kept), context)
                chosen = for_drafts if item.draft else rules
                verdicts = tuple(stamped(rule.judge(item.instance, task), parameters_of(rule)) for rule in chosen)
            if item.stands or (item.stands is None and first_failure(verdicts) is None):
                kept.append(item)
            yield item, verdicts
        for item in kept:
            context.know_instance(item.id, item.instruction, item.instance.input, item.instance.output)
