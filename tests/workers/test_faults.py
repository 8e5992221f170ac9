"""Each known fault of the public codebases bites in mode faithful and is counted; fixed has none of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.config import RulesConfig
from alpaca_tui.core.faults import FAULTS
from alpaca_tui.core.pack_options import PackOptions
from alpaca_tui.core.parsing import Mode
from alpaca_tui.core.prompts import with_options
from alpaca_tui.core.records import Completion, FinishReason
from alpaca_tui.jobs.status import status
from alpaca_tui.store import jobs, projects
from alpaca_tui.workers.screening import Screen
from alpaca_tui.workers.stages import InstanceStage, InstructionStage, Run, StageWorker, TaskStage

BEES, RIVER, COST = (
    "Describe how honey bees find their way home.",
    "Write a short poem about a slow river in France.",
    "Say what a loaf of bread costs today.",
)
TASKS = f""" {BEES}
4. Input:
<none>
4. Output:
By the sun.
###
6. Instruction: {RIVER}
6. Input:
<none>
6. Output:
Grey."""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened, _ = projects.ensure(tmp_path / "project")
    yield opened
    opened.close()


def answer(text: str, reason: FinishReason = "eos", stopped_by: str | None = None) -> Completion:
    return Completion(text, reason, 100, 10, 0.1, stopped_by=stopped_by)


def instances(run: Run) -> StageWorker:
    """The stage of instances with one candidate in its queue."""
    stage = InstructionStage(run)
    (call,) = stage.plan(1)
    stage.store(call, answer(f" {BEES}"))
    run.db.execute("UPDATE candidates SET stage = 'instance', is_classification = 0")
    return InstanceStage(run)


CASES = {
    "items_lost_by_length": ("self-instruct", InstructionStage, answer(f" {BEES}\n10. {RIVER}\n11. Na", "length"), 2),
    "items_misread": ("alpaca", TaskStage, answer(TASKS, "stop"), 1),
    "items_torn_by_stop": ("self-instruct", InstructionStage, answer(f" {COST[:-1]}, about ", "stop", "16."), 1),
    "items_lowercased": ("self-instruct", InstructionStage, answer(f" {BEES}\n10. {RIVER}"), 1),
    "failed_calls_kept_empty": ("self-instruct", instances, answer("", "error"), 1),
}


def made(db: Database, project: Path, mode: Mode, fault: str) -> dict:
    """What ``status`` says of the job after that one answer."""
    recipe, stage_of, completion, _ = CASES[fault]
    options = PackOptions(mode=mode)
    job = jobs.enqueue(db, "generate", {"target": 5, "options": options.model_dump(mode="json")})
    pack = with_options(resources.read_pack(recipe), options)
    stage: StageWorker = stage_of(Run(db, job, "smollm2-135m", pack, 7, Screen(db, 0.7, RulesConfig())))  # type: ignore[operator]
    (call,) = stage.plan(1)
    stage.store(call, completion)
    return next(one for one in status(db, project)["jobs"] if one["id"] == job)


def test_every_fault_has_its_case() -> None:
    assert set(CASES) == set(FAULTS)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_counted_where_it_bites(db: Database, tmp_path: Path, fault: str) -> None:
    assert made(db, tmp_path / "project", "faithful", fault)["faults"] == {fault: CASES[fault][3]}


@pytest.mark.parametrize("fault", FAULTS)
def test_fixed_has_none_of_them(db: Database, tmp_path: Path, fault: str) -> None:
    assert made(db, tmp_path / "project", "fixed", fault)["faults"] is None
    assert db["completions"].count_where("faults IS NOT NULL") == 0
    kept = {row["instruction"] for row in db["candidates"].rows}
    wanted = {"items_lost_by_length": {BEES, RIVER}, "items_misread": {BEES, RIVER}, "items_lowercased": {BEES, RIVER}}
    assert kept >= wanted.get(fault, set())
