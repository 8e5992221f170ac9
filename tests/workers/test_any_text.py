"""Whatever a model writes, in whatever stage: the call is stored, and leads to candidates, samples or a reason."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.config import RulesConfig
from alpaca_tui.core.pack_options import PackOptions
from alpaca_tui.core.prompts import with_options
from alpaca_tui.core.records import Completion
from alpaca_tui.core.text import mended
from alpaca_tui.store import jobs, projects
from alpaca_tui.store.completions import Call
from alpaca_tui.workers.screening import Screen
from alpaca_tui.workers.stages import ClassificationStage, InstanceStage, InstructionStage, OutputStage, Run, TaskStage

WORDS = st.sampled_from(
    [
        *(
            "Describe a red fox.",
            "Translate to French:",
            "Do the following:",
            "日本語の文を書いてください。",
            "اكتب قصيدة",
        ),
        *("Напиши стих.", "Übersetze das.", "คำสั่ง", "हिन्दी", "👩‍👩‍👧", "It costs 16. Why?", "none", "N/A", "Yes", "no"),
        *("x" * 500, "word " * 300, "a\tb", "", " "),
    ]
)
CONTROLS = st.sampled_from(
    ["\x00", "\x1b[2J", "\x1b]52;c;Zm9v\x07", "\x85", "\u2028", "\u202e", "\ud800", "\udfff", "\r", "\x7f", "\ufeff"]
)


@st.composite
def numbered(draw: st.DrawFn) -> str:
    """A numbered list gone wrong: numbers that jump, repeat, run back, nest, or carry another mark."""
    lines = []
    number = draw(st.sampled_from([1, 9, 10, 16, 17, 999, 1000]))
    for _ in range(draw(st.integers(0, 12))):
        number += draw(st.sampled_from([1, 1, 1, 1, 0, 2, -1, -8, 5]))
        indent = draw(st.sampled_from(["", "", "", "   ", "\t", "  - "]))
        mark = draw(st.sampled_from([".", ".", ")", ":", " .", "", ".)", "．"]))
        lines.append(f"{indent}{number}{mark}{draw(st.sampled_from([' ', '  ', '', chr(160)]))}{draw(WORDS)}")
        for nested in range(draw(st.sampled_from([0, 0, 0, 3]))):
            deep = "   " * draw(st.integers(0, 2))
            lines.append(f"{deep}{nested + 1}. {draw(WORDS)}")
    return draw(st.sampled_from(["\n", "\n", "\n\n", "\r\n", " "])).join(lines)


@st.composite
def labelled(draw: st.DrawFn) -> str:
    """Instances or whole tasks of which labels are missing, doubled, misspelt or out of order."""
    labels = ["Input:", "Output:", "Class label:", "Example 1", "Example 2:", "Instruction:", "4. Instruction:", "###"]
    labels += ["4. Input:", "4. Output:", "input :", "OUTPUT", "Class Label 1:", "Task:", "", "Eingabe:", "输出："]
    parts = []
    for _ in range(draw(st.integers(0, 14))):
        parts.append(draw(st.sampled_from(labels)) + draw(st.sampled_from([" ", "\n", ""])) + draw(WORDS))
    return draw(st.sampled_from(["\n", "\n", " "])).join(parts)


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """Any of these, with control characters and half surrogates strewn in."""
    text = draw(st.one_of(numbered(), labelled(), st.text(max_size=60)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(CONTROLS) + text[at:]
    return text


ANSWERS = st.builds(
    Completion,
    text=spoilt(),
    finish_reason=st.sampled_from(["eos", "stop", "length", "loop", "error"]),
    prompt_tokens=st.just(9),
    completion_tokens=st.just(9),
    seconds=st.just(0.1),
)


class Project:
    """A project with a run of each recipe in each mode, and a candidate for each later stage."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.job = jobs.enqueue(db, "generate", {"target": 5})
        screen = Screen(db, 0.7, RulesConfig())
        self.runs = {
            (recipe, mode): Run(
                db,
                self.job,
                "smollm2-135m",
                with_options(resources.read_pack(recipe), PackOptions.model_validate({"mode": mode})),
                7,
                screen,
                "openai:other" if mode == "fixed" else None,
            )
            for recipe in ("self-instruct", "alpaca")
            for mode in ("fixed", "faithful")
        }

    def answered(self, call: Call) -> dict:
        """The row of the only call that is not known yet."""
        (row,) = self.db["completions"].rows_where("seed = ?", [call.request.seed])
        return row


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    db, _ = projects.ensure(tmp_path_factory.mktemp("any") / "project")
    yield Project(db)
    db.close()


def check(project: Project, call: Call, answer: Completion) -> dict:
    """The call's row: its text as it came (what no file can hold replaced), its reason where nothing came of it."""
    row = project.answered(call)
    assert row["text"] == mended(answer.text)
    assert row["finish_reason"] == answer.finish_reason
    made = project.db["candidates"].count_where("completion_id = ?", [row["id"]])
    made += project.db["samples"].count_where("completion_id = ?", [row["id"]])
    assert made or row["problem"], "what led to nothing says why"
    return row


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


LONG_LINE = Completion("x" * 100_000, "length", 9, 9, 0.1)
LONG_LIST = Completion("\n".join(f"{n}. {'日本' * 20_000}" for n in range(9, 12)), "eos", 9, 9, 0.1)


@FUZZ
@example(answer=LONG_LINE, mode="fixed", recipe="alpaca")
@example(answer=LONG_LIST, mode="fixed", recipe="self-instruct")
@given(answer=ANSWERS, mode=st.sampled_from(["fixed", "faithful"]), recipe=st.sampled_from(["self-instruct", "alpaca"]))
def test_any_answer_to_the_stages_that_invent(project: Project, answer: Completion, mode: str, recipe: str) -> None:
    stage = (TaskStage if recipe == "alpaca" else InstructionStage)(project.runs[recipe, mode])
    (call,) = stage.plan(1)
    stage.store(call, answer)
    check(project, call, answer)


@FUZZ
@example(answer=LONG_LINE, mode="fixed", kind=True)
@example(answer=LONG_LIST, mode="faithful", kind=False)
@given(answer=ANSWERS, mode=st.sampled_from(["fixed", "faithful"]), kind=st.booleans())
def test_any_answer_to_the_stages_that_complete(project: Project, answer: Completion, mode: str, kind: bool) -> None:
    run = project.runs["self-instruct", mode]
    with_candidate(project, kind)
    for stage in (ClassificationStage(run), InstanceStage(run)):
        for _ in range(4):  # a failed call is asked again, three times at most
            calls = stage.plan(1)
            if not calls:
                break
            stage.store(calls[0], answer)
            row = project.answered(calls[0])
            assert row["text"] == mended(answer.text)
            if isinstance(stage, InstanceStage):
                check(project, calls[0], answer)
        assert not stage.plan(1), "it goes on, whatever was answered"


@FUZZ
@given(answer=ANSWERS)
def test_any_output_of_another_model(project: Project, answer: Completion) -> None:
    stage = OutputStage(project.runs["self-instruct", "fixed"])
    with_waiting_sample(project)
    for _ in range(4):
        calls = stage.plan(1)
        if not calls:
            break
        stage.store(calls[0], answer)
        row = project.answered(calls[0])
        revised = project.db["sample_revisions"].count_where("completion_id = ?", [row["id"]])
        assert revised or row["problem"]
    assert not stage.plan(1)


def with_candidate(project: Project, kind: bool) -> None:
    """One candidate that waits to be classified, and none else."""
    db = project.db
    db.execute("UPDATE candidates SET stage = 'done' WHERE stage IN ('classification', 'instance')")
    stage = InstructionStage(project.runs["self-instruct", "fixed"])
    (call,) = stage.plan(1)
    stage.store(call, Completion(f" {unlike(call.number)}", "eos", 1, 1, 0.1))
    assert db["candidates"].count_where("stage = 'classification'") == 1
    if kind:
        db.execute("UPDATE candidates SET is_classification = 1, stage = 'instance' WHERE stage = 'classification'")


def with_waiting_sample(project: Project) -> None:
    """One sample that waits for another model's output, and none else."""
    db, run = project.db, project.runs["self-instruct", "fixed"]
    db.execute("UPDATE samples SET state = 'filtered', rejected_by = 'output_model' WHERE state = 'waiting'")
    with_candidate(project, kind=False)
    db.execute("UPDATE candidates SET is_classification = 0, stage = 'instance' WHERE stage = 'classification'")
    stage = InstanceStage(run)
    (call,) = stage.plan(1)
    stage.store(call, Completion(f" town {call.number}\nOutput: {unlike(call.number + 1)}", "eos", 1, 1, 0.1))
    assert db["samples"].count_where("state = 'waiting'") == 1


def unlike(number: int) -> str:
    """A sentence that no other number's is like."""
    rng = random.Random(number)
    return (
        "Explain "
        + " ".join("".join(rng.choice("bdfglmnrst") + rng.choice("aeiou") for _ in "123") for _ in "123456")
        + "."
    )
