"""The stages of generation: which calls to make next, and what becomes of an answer.

Each stage plans calls from its queue in the store and stores one answer in one transaction, queue move included: a
kill loses at most the answers in flight, and nothing is asked or stored twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alpaca_tui.workers.stage_instances import ClassificationStage, InstanceStage
from alpaca_tui.workers.stage_instructions import InstructionStage, TaskStage
from alpaca_tui.workers.stage_outputs import OutputStage, at_once
from alpaca_tui.workers.stage_run import Run, StageWorker, derive_seed

__all__ = [
    "ClassificationStage",
    "InstanceStage",
    "InstructionStage",
    "OutputStage",
    "Run",
    "StageWorker",
    "TaskStage",
    "derive_seed",
    "stages",
]


def stages(run: Run, outputs_due: Callable[[], bool] = at_once) -> Sequence[StageWorker]:
    """The stages of the run's recipe, last one first: what is begun is finished before more is begun.

    The last of the sequence invents, and never runs out of calls. ``outputs_due``: see ``OutputStage``.
    """
    if run.pack.stage("instruction").style == "tasks":
        order: list[StageWorker] = [TaskStage(run)]
    else:
        order = [InstanceStage(run), ClassificationStage(run), InstructionStage(run)]
    if run.output_model is not None:
        order.insert(0, OutputStage(run, due=outputs_due))
    return order
