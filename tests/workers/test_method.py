"""The method, stage by stage: answers as a model could give them go in, and the project holds what a user expects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.config import RulesConfig
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.pack_options import PackOptions
from alpaca_tui.core.prompts import parse_pack, render, with_options
from alpaca_tui.core.records import Completion, FinishReason
from alpaca_tui.store import completions, decisions, jobs, outputs, projects, samples, seeds
from alpaca_tui.store.completions import Call
from alpaca_tui.workers.screening import Screen
from alpaca_tui.workers.stages import (
    ClassificationStage,
    InstanceStage,
    InstructionStage,
    OutputStage,
    Run,
    StageWorker,
    TaskStage,
    stages,
)

BEES, RIVER, TRAIN = (
    "Describe how honey bees find their way home.",
    "Write a short poem about a slow river.",
    "Is this train ticket valid on Sundays, yes or no?",
)
TASKS = f""" {BEES}
4. Input:
<none>
4. Output:
They steer by the sun and by landmarks.
###
5. Instruction: {RIVER}
5. Input:
The Danube
5. Output:
Grey and slow it rolls along.
###
6. Instruction: Draw a picture of a cat.
6. Input:
<none>
6. Output:
/\\_/\\
###
7. Instruction: {BEES}
7. Input:
<none>
7. Output:
By smell."""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened, _ = projects.ensure(tmp_path / "project")
    yield opened
    opened.close()


def answer(text: str, reason: FinishReason = "eos", logprobs: tuple[float, float] | None = None) -> Completion:
    return Completion(text, reason, 100, 10, 0.1, logprobs)


def make_run(db: Database, recipe: str = "self-instruct", output_model: str | None = None, **options: object) -> Run:
    pack = with_options(resources.read_pack(recipe), PackOptions.model_validate(options))
    job_id = jobs.enqueue(db, "generate", {"target": 5})
    return Run(db, job_id, "smollm2-135m", pack, 7, Screen(db, 0.7, RulesConfig()), output_model)


def ask(stage: StageWorker, *answers: Completion) -> list[Call]:
    calls = stage.plan(len(answers))
    for call, completion in zip(calls, answers, strict=True):
        stage.store(call, completion)
    return calls


def rows(db: Database, table: str = "current_samples") -> list[dict]:
    return list(db[table].rows_where(order_by="id"))


def invent(run: Run, *instructions: str) -> None:
    listed = "".join(f"\n{n}. {text}" for n, text in enumerate(instructions, start=9)).removeprefix("\n9.")
    ask(InstructionStage(run), answer(listed))


def to_instance(run: Run, margin: float, instruction: str = TRAIN) -> None:
    """One instruction, classified with that margin."""
    invent(run, instruction)
    ask(ClassificationStage(run), answer(" Yes" if margin > 0 else " No", "eos", (margin - 1, -1.0)))


class TestWholeTasks:
    def test_candidates_and_samples_come_with_every_verdict(self, db: Database) -> None:
        ask(TaskStage(make_run(db, "alpaca")), answer(TASKS, "stop"))
        kept = [(row["instruction"], row["stage"], row["rejected_by"]) for row in rows(db, "candidates")]
        assert kept[:2] == [(BEES, "done", None), (RIVER, "done", None)]
        assert [by for _, _, by in kept[2:]] == ["banned_words", "duplicate"]
        states = [(row["state"], row["rejected_by"], row["input"]) for row in rows(db)]
        assert states[:2] == [("pending", None, ""), ("pending", None, "The Danube")]
        # What the filter rejects takes its sample with it, as a replay would, and a replay can bring it back.
        assert [state[:2] for state in states[2:]] == [("filtered", "banned_words"), ("filtered", "duplicate")]
        for sample in rows(db):
            assert {v.rule for v in samples.verdicts(db, sample["id"])} >= {"novelty", "echo", "length"}

    def test_all_of_an_answer_is_stored_or_nothing(self, db: Database) -> None:
        stage = TaskStage(make_run(db, "alpaca"))
        (call,) = stage.plan(1)
        db.execute(
            "CREATE TRIGGER full BEFORE INSERT ON samples WHEN NEW.position = 1 BEGIN SELECT raise(ABORT, 'x'); END"
        )
        with pytest.raises(Exception, match="x"):
            stage.store(call, answer(TASKS, "stop"))
        assert not rows(db, "completions") and not rows(db, "candidates") and not rows(db)

    def test_a_resumed_run_asks_nothing_twice(self, db: Database) -> None:
        run = make_run(db, "alpaca")
        seen = [call.request.seed for call in ask(TaskStage(run), answer(TASKS), answer(""))]
        assert not set(seen) & {call.request.seed for call in TaskStage(run).plan(4)}

    def test_prompts_show_three_whole_seed_tasks(self, db: Database) -> None:
        known = {row.task.instruction: row.task for row in seeds.all_seeds(db)}
        for call in TaskStage(make_run(db, "alpaca")).plan(20):
            assert len(call.demonstrations) == 3
            for entry, task in zip(call.demonstrations, call.variables["demonstrations"], strict=True):
                assert entry.kind == "seed"
                assert (task["input"], task["output"]) in [
                    (i.input, i.output) for i in known[entry.instruction].instances
                ]

    def test_no_long_seed_is_shown(self, db: Database) -> None:
        for call in TaskStage(make_run(db, "alpaca")).plan(60):
            for task in call.variables["demonstrations"]:
                assert max(len(task["input"].split()), len(task["output"].split())) <= 100

    def test_machine_made_tasks_can_be_shown_too(self, db: Database) -> None:
        run = make_run(db, "alpaca", human=1, machine=2)
        ask(TaskStage(run), answer(TASKS, "stop"))
        (call,) = TaskStage(run).plan(1)
        assert Counter(entry.kind for entry in call.demonstrations) == {"seed": 1, "candidate": 2}
        assert "Grey and slow it rolls along." in call.request.prompt

    def test_there_is_no_stage_of_classification(self, db: Database) -> None:
        assert [type(stage) for stage in stages(make_run(db, "alpaca"))] == [TaskStage]


class TestModes:
    LIST = f" {BEES}\n10. translate this into French, not DNA code\n11. Name the"

    def test_fixed_keeps_whole_items_and_capitals(self, db: Database) -> None:
        ask(InstructionStage(make_run(db)), answer(self.LIST, "length"))
        texts = [row["instruction"] for row in rows(db, "candidates")]
        assert texts == [BEES, "Translate this into French, not DNA code"]
        assert completions.faults(db) == {}

    def test_faithful_drops_the_whole_answer_and_counts_it(self, db: Database) -> None:
        run = make_run(db, mode="faithful")
        ask(InstructionStage(run), answer(self.LIST, "length"))
        assert rows(db, "candidates") == []
        assert completions.faults(db, run.job_id) == {"items_lost_by_length": 2}

    def test_faithful_lowers_capitals_and_counts_them(self, db: Database) -> None:
        ask(InstructionStage(make_run(db, mode="faithful")), answer(self.LIST, "stop"))
        assert rows(db, "candidates")[1]["instruction"] == "Translate this into french, not dna code"
        assert completions.faults(db) == {"items_lowercased": 1}

    def test_faithful_draws_as_the_reference_does(self, db: Database) -> None:
        (call,) = InstructionStage(make_run(db, mode="faithful")).plan(1)
        assert "16." in call.request.params.stop
        assert call.request.params.top_p == 0.5
        assert call.request.params.max_repeats == 0

    def test_the_stored_pack_renders_the_prompt_again(self, db: Database) -> None:
        run = make_run(db, "alpaca", mode="faithful", human=2, per_request=3)
        (call,) = ask(TaskStage(run), answer("x"))
        template, variables, files = completions.pack_files(db, 1)
        assert render(parse_pack(files), template, variables) == call.request.prompt

    def test_fixed_asks_a_failed_call_again_and_gives_up_in_the_end(self, db: Database) -> None:
        run = make_run(db)
        to_instance(run, -3.0)
        stage = InstanceStage(run)
        tried = [ask(stage, answer("", "error"))[0].request.seed for _ in range(3)]
        assert len(set(tried)) == 3
        assert stage.plan(1) == []
        assert rows(db, "candidates")[0]["stage"] == "done"
        problems = [row["problem"] for row in rows(db, "completions") if row["finish_reason"] == "error"]
        assert problems == ["the call failed (try 1 of 3)", "the call failed (try 2 of 3)", "the call failed"]

    def test_faithful_takes_a_failed_call_for_an_empty_answer(self, db: Database) -> None:
        run = make_run(db, mode="faithful")
        invent(run, TRAIN)
        ask(ClassificationStage(run), answer("", "error"))
        ask(InstanceStage(run), answer("", "error"))
        assert rows(db, "candidates")[0]["stage"] == "done"
        assert completions.faults(db)["failed_calls_kept_empty"] == 2

    def test_classification_only_shows_no_other_seeds(self, db: Database) -> None:
        kinds = {row.task.instruction: row.task.is_classification for row in seeds.all_seeds(db)}
        for call in InstructionStage(make_run(db, classification_only=True)).plan(5):
            assert all(kinds[entry.instruction] for entry in call.demonstrations)


class TestClassification:
    def test_the_log_odds_decide_and_the_margin_is_kept(self, db: Database) -> None:
        run = make_run(db)
        invent(run, TRAIN, BEES)
        ask(ClassificationStage(run), answer(" No", "eos", (-0.2, -2.2)), answer(" No", "eos", (-1.4, -0.9)))
        first, second = rows(db, "candidates")
        assert (first["is_classification"], first["low_margin"]) == (1, 0)
        assert first["classification_margin"] == pytest.approx(2.0)
        assert (second["is_classification"], second["low_margin"]) == (0, 1)

    def test_without_log_odds_the_text_decides_and_there_is_no_margin(self, db: Database) -> None:
        run = make_run(db)
        invent(run, TRAIN, BEES)
        ask(ClassificationStage(run), answer(" Yes"), answer(" perhaps"))
        first, second = rows(db, "candidates")
        assert (first["is_classification"], first["classification_margin"], first["low_margin"]) == (1, None, 0)
        assert (second["is_classification"], second["low_margin"]) == (0, 1)

    def test_calibration_takes_the_bias_off_and_keeps_it(self, db: Database) -> None:
        run = make_run(db, calibrate=True)
        invent(run, TRAIN)
        stage = ClassificationStage(run)
        subjects = [call.variables["instruction"] for call in ask(stage, *[answer(" No", "eos", (-3.0, -1.0))] * 3)]
        assert subjects == ["N/A", "[MASK]", "..."]
        ask(stage, answer(" No", "eos", (-2.0, -0.5)))
        (row,) = rows(db, "candidates")
        assert row["classification_bias"] == pytest.approx(-2.0)
        assert (row["is_classification"], row["classification_margin"]) == (1, pytest.approx(0.5))
        # Another worker, or the resumed run, finds the bias in the store.
        invent(run, BEES)
        assert ClassificationStage(run).plan(4)[0].candidate_id == 2

    def test_nothing_is_decided_while_the_bias_is_still_asked_for(self, db: Database) -> None:
        run = make_run(db, calibrate=True)
        invent(run, TRAIN)
        stage = ClassificationStage(run)
        assert [call.candidate_id for call in stage.plan(8)] == [None] * 3

    def test_where_no_log_odds_are_told_calibration_changes_nothing(self, db: Database) -> None:
        run = make_run(db, calibrate=True)
        invent(run, TRAIN)
        stage = ClassificationStage(run)
        ask(stage, *[answer(" No")] * 3)
        ask(stage, answer(" Yes"))
        (row,) = rows(db, "candidates")
        assert (row["is_classification"], row["classification_bias"]) == (1, None)


class TestFlip:
    CLASSES = " Yes\nInput: Monday to Sunday\n\nClass label: No\nInput: weekdays only"
    FREE = " a day ticket\nOutput: It depends."

    def flipped(self, db: Database) -> Run:
        run = make_run(db)
        to_instance(run, -0.4)
        ask(InstanceStage(run), answer(self.FREE))
        decisions.flip_classification(db, 1)
        return run

    def test_old_samples_leave_the_queue_and_new_ones_are_asked_for(self, db: Database) -> None:
        run = self.flipped(db)
        assert [(row["state"], row["rejected_by"]) for row in rows(db)] == [("filtered", "reclassified")]
        (call,) = ask(InstanceStage(run), answer(self.CLASSES))
        assert call.template == "output_first"
        assert [(row["state"], row["output"]) for row in rows(db)[1:]] == [("pending", "Yes"), ("pending", "No")]

    def test_undo_before_anything_new_was_made(self, db: Database) -> None:
        run = self.flipped(db)
        assert [made.action for made in decisions.undo(db)] == ["flip"]
        assert [(row["state"], row["rejected_by"]) for row in rows(db)] == [("pending", None)]
        assert InstanceStage(run).plan(1) == []

    def test_undo_and_redo_after_new_samples_were_made(self, db: Database) -> None:
        run = self.flipped(db)
        ask(InstanceStage(run), answer(self.CLASSES))
        decisions.undo(db)
        assert [row["state"] for row in rows(db)] == ["pending", "filtered", "filtered"]
        decisions.redo(db)
        assert [row["state"] for row in rows(db)] == ["filtered", "pending", "pending"]
        assert InstanceStage(run).plan(1) == []
        decisions.undo(db)
        assert [row["state"] for row in rows(db)] == ["pending", "filtered", "filtered"]

    def test_redo_asks_again_where_nothing_was_made(self, db: Database) -> None:
        run = self.flipped(db)
        decisions.undo(db)
        decisions.redo(db)
        assert [call.template for call in InstanceStage(run).plan(1)] == ["output_first"]

    def test_what_a_person_has_judged_stays(self, db: Database) -> None:
        run = make_run(db)
        to_instance(run, -0.4)
        ask(InstanceStage(run), answer(self.FREE))
        decisions.decide(db, "accept", [1])
        decisions.flip_classification(db, 1)
        assert rows(db)[0]["state"] == "accepted"
        decisions.undo(db)
        assert rows(db)[0]["state"] == "accepted"

    def test_an_answer_in_flight_when_it_was_flipped_is_no_use_and_is_not_the_last(self, db: Database) -> None:
        run = make_run(db)
        to_instance(run, -0.4)
        ask(InstanceStage(run), answer(self.FREE))
        decisions.flip_classification(db, 1)
        stage = InstanceStage(run)
        (call,) = stage.plan(1)
        decisions.undo(db)
        stage.store(call, answer(self.CLASSES))
        assert [row["state"] for row in rows(db)] == ["pending", "filtered", "filtered"]
        assert stage.plan(1) == []

    def test_what_was_never_classified_cannot_be_flipped(self, db: Database) -> None:
        ask(TaskStage(make_run(db, "alpaca")), answer(TASKS, "stop"))
        with pytest.raises(UsageError, match="has not been classified"):
            decisions.flip_classification(db, 1)
        with pytest.raises(UsageError, match="no candidate 99"):
            decisions.flip_classification(db, 99)


class TestOutputModel:
    MODEL = "openai:stronger@http://localhost:1/v1"

    def waiting(self, db: Database) -> Run:
        run = make_run(db, output_model=self.MODEL)
        to_instance(run, -3.0, BEES)
        ask(InstanceStage(run), answer(" none\nOutput: By luck, by luck, by luck."))
        return run

    def test_a_sample_waits_and_then_has_both_models_in_its_history(self, db: Database) -> None:
        run = self.waiting(db)
        assert [row["state"] for row in rows(db)] == ["waiting"]
        (call,) = ask(OutputStage(run), answer(" They steer by the sun.\n"))
        assert call.model == self.MODEL
        assert BEES in call.request.prompt
        (row,) = rows(db)
        assert (row["state"], row["revision"], row["output"]) == ("pending", 2, "They steer by the sun.")
        texts = db.execute("SELECT output, author, completion_id FROM sample_revisions ORDER BY revision").fetchall()
        assert texts == [("By luck, by luck, by luck.", "model", None), ("They steer by the sun.", "model", 4)]
        wrote = completions.get(db, 4)
        assert (wrote["model"], wrote["sample_id"], wrote["candidate_id"]) == (self.MODEL, 1, 1)
        assert OutputStage(run).plan(1) == []

    def test_the_rules_judge_the_new_output(self, db: Database) -> None:
        run = self.waiting(db)
        ask(OutputStage(run), answer(" As follows:"))
        assert [(row["state"], row["rejected_by"]) for row in rows(db)] == [("filtered", "trailing_colon")]

    def test_a_poor_output_of_the_first_model_does_not_cost_the_sample(self, db: Database) -> None:
        run = make_run(db, output_model=self.MODEL)
        to_instance(run, -3.0, RIVER)
        ask(InstanceStage(run), answer(" The Danube\nOutput: The Danube"))
        assert [row["state"] for row in rows(db)] == ["waiting"]

    def test_what_was_in_flight_at_a_kill_is_asked_again(self, db: Database) -> None:
        run = self.waiting(db)
        assert [call.sample_id for call in OutputStage(run).plan(4)] == [1]
        assert [call.sample_id for call in OutputStage(run).plan(4)] == [1]

    def test_no_usable_output_is_a_reason_and_the_text_can_be_rescued(self, db: Database) -> None:
        run = self.waiting(db)
        ask(OutputStage(run), answer(" ", "eos"))
        assert [(row["state"], row["rejected_by"]) for row in rows(db)] == [("filtered", outputs.NO_OUTPUT)]
        assert rows(db, "completions")[-1]["problem"] == "the output is empty"
        decisions.decide(db, "rescue", [1])
        assert rows(db)[0]["state"] == "pending"

    def test_a_failed_call_is_made_again(self, db: Database) -> None:
        run = self.waiting(db)
        stage = OutputStage(run)
        for _ in range(2):
            ask(stage, answer("", "error"))
        assert [row["state"] for row in rows(db)] == ["waiting"]
        ask(stage, answer("", "error"))
        assert [row["state"] for row in rows(db)] == ["filtered"]

    def test_outputs_can_wait_until_it_is_time(self, db: Database) -> None:
        run = self.waiting(db)
        due = False
        stage = OutputStage(run, due=lambda: due)
        assert stage.plan(4) == []
        due = True
        assert len(stage.plan(4)) == 1

    def test_a_waiting_sample_cannot_be_accepted_unseen(self, db: Database) -> None:
        self.waiting(db)
        with pytest.raises(UsageError, match="waits for another model's output"):
            decisions.decide(db, "accept", [1])

    def test_whole_tasks_wait_too(self, db: Database) -> None:
        run = make_run(db, "alpaca", output_model=self.MODEL)
        ask(TaskStage(run), answer(TASKS, "stop"))
        assert Counter(row["state"] for row in rows(db)) == {"waiting": 2, "filtered": 2}
        assert [type(stage) for stage in stages(run)] == [OutputStage, TaskStage]
        ask(OutputStage(run), answer(" By sun."), answer(" It flows."))
        assert [row["output"] for row in rows(db)[:2]] == ["By sun.", "It flows."]

    def pending(self, db: Database) -> Run:
        """Three samples of the first model, and a run that lets the other one answer them."""
        run = make_run(db, "alpaca")
        other = "\n###\n8. Instruction: Name two rivers in Spain.\n8. Output:\nEbro, Tajo"
        ask(TaskStage(run), answer(TASKS + other, "stop"))
        return make_run(db, "alpaca", output_model=self.MODEL)

    def test_pending_samples_are_answered_anew_and_the_old_outputs_stay(self, db: Database) -> None:
        run = self.pending(db)
        stage = OutputStage(run, regenerate=True)
        assert len(ask(stage, answer(" One."), answer(" "), answer(" Two rivers."))) == 3
        current = [(row["state"], row["revision"], row["output"]) for row in rows(db) if row["state"] == "pending"]
        assert current == [
            ("pending", 2, "One."),
            ("pending", 1, "Grey and slow it rolls along."),
            ("pending", 2, "Two rivers."),
        ]
        # Resumed, it asks for none of them once more: neither the answered ones nor the one without an answer.
        assert OutputStage(run, regenerate=True).plan(9) == []

    def test_what_a_person_wrote_or_decided_is_left_alone(self, db: Database) -> None:
        run = self.pending(db)
        decisions.edit(db, 1, BEES, "", "By the sun, I say.")
        stage = OutputStage(run, regenerate=True)
        calls = stage.plan(9)
        assert [call.sample_id for call in calls] == [2, 5]
        decisions.decide(db, "accept", [2])
        for call in calls:
            stage.store(call, answer(" New."))
        assert [row["output"] for row in rows(db) if row["id"] in (1, 2, 5)] == [
            "By the sun, I say.",
            "Grey and slow it rolls along.",
            "New.",
        ]
        assert rows(db, "completions")[-2]["problem"].startswith("the sample has been changed")
