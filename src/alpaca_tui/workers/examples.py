"""Frozen data-set rows as supervised examples, in the prompt pack's training format."""

from __future__ import annotations

from collections.abc import Iterable

from alpaca_tui.core.prompts import Pack, render_training
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.store.datasets import Example
from alpaca_tui.store.suites import SuiteTask

TRAINING_PACK = "self-instruct"
"""The pack whose training template is used; evaluation must render the same."""


def training_examples(pack: Pack, rows: Iterable[Example | SuiteTask]) -> list[TrainingExample]:
    """(prompt, response) of each row, in order."""
    return [TrainingExample(render_training(pack, row.instruction, row.input), row.output) for row in rows]
