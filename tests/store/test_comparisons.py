"""Suites that stay as they are, evaluations that grow item by item, and the journal of blind judgements."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core import answers
from alpaca_tui.core.answers import TaskLoss
from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.core.records import Completion, Instance, SeedTask
from alpaca_tui.store import comparisons, database, datasets, decisions, evaluations, jobs, seeds, suites
from alpaca_tui.store.comparisons import Comparison, Sitting, open_comparison
from alpaca_tui.store.evaluations import EvaluationRow
from store.filling import Filler

RECORDS = [("held_out" if i % 4 else "train", f"Say number {i}.", "", f"It is {i}.") for i in range(16)]


def evaluated(db: Database, suite: suites.SuiteRow, model: str, says: str, job: int | None = None) -> EvaluationRow:
    """A finished evaluation in which the model says the same on every task but the first."""
    job_id = job or jobs.enqueue(db, "evaluate", {})
    row = evaluations.begin(db, job_id, suite.id, model)
    for i, task in enumerate(suites.tasks(db, suite.id)):
        completion = Completion(says if i else "The same.", "eos", 9, 3, 0.5)
        score = answers.score_answer(task.output, completion, is_classification=False)
        evaluations.add_answer(db, row.id, task.position, f"prompt {task.position}", completion, score)
    evaluations.add_losses(db, row.id, {task.position: TaskLoss(4.0, 2) for task in suites.tasks(db, suite.id)})
    evaluations.finish(db, row.id, {"rouge_l": 0.5, "items": 12.0})
    return evaluations.get(db, row.id)


@pytest.fixture
def suite(db: Database) -> suites.SuiteRow:
    return suites.held_out(db, datasets.take(db, "numbers", RECORDS))


@pytest.fixture
def comparison(db: Database, suite: suites.SuiteRow) -> Comparison:
    base, tuned = evaluated(db, suite, "base", "Base says so."), evaluated(db, suite, "job:1", "Tuned says so.")
    return open_comparison(db, tuned, base, seed=5)


def test_a_suite_is_the_held_out_rows_and_the_same_every_time(db: Database, suite: suites.SuiteRow) -> None:
    assert suite.name == "numbers/held_out"
    assert [t.position for t in suites.tasks(db, suite.id)] == [i for i in range(16) if i % 4]
    assert suites.find(db, "numbers") == suites.find(db, "numbers/held_out") == suites.find(db, None) == suite
    with pytest.raises(UsageError, match="no data set 'other'"):
        suites.find(db, "other")
    datasets.take(db, "all", [("train", "Do.", "", "Done."), ("train", "Do.", "x", "Done.")], held_out=0.0)
    with pytest.raises(UsageError, match="holds nothing out"):
        suites.find(db, "all")


def test_a_classification_task_is_known_by_its_sample(db: Database, filler: Filler) -> None:
    ids = [filler.sample(f"Is {i} even?", "Yes") for i in range(4)]
    with database.write(db):
        db.execute("UPDATE candidates SET is_classification = 1 WHERE instruction IN ('Is 0 even?', 'Is 1 even?')")
    decisions.decide(db, "accept", ids)
    held_out = suites.held_out(db, datasets.freeze(db, "even", held_out=0.75))
    told = {t.instruction: t.is_classification for t in suites.tasks(db, held_out.id)}
    assert len(told) == 3
    assert all(known == (instruction in ("Is 0 even?", "Is 1 even?")) for instruction, known in told.items())


def test_seeds_are_a_suite_without_those_that_are_off_or_trained_on(db: Database, filler: Filler) -> None:
    first = suites.from_seeds(db)
    assert [t.instruction for t in suites.tasks(db, first.id)] == ["Explain seed number 1.", "Explain seed number 2."]
    assert suites.find(db, "seeds") == first
    seeds.add(db, [SeedTask("s3", "three", "Explain three.", (Instance("a", "b"), Instance("c", "d")), True)])
    seeds.set_enabled(db, [1], False)
    datasets.take(db, "imported", [("train", "Explain seed number 2.", "", "x"), ("held_out", "Do.", "", "y")])
    second = suites.from_seeds(db)
    assert second.id != first.id and second.name == "seeds"
    task = suites.tasks(db, second.id)
    assert [(t.position, t.input, t.output, t.is_classification) for t in task] == [(3, "a", "b", True)]
    assert len(suites.tasks(db, first.id)) == 2  # what was evaluated on stays
    seeds.set_enabled(db, [3], False)
    with pytest.raises(UsageError, match="no seed task is left"):
        suites.from_seeds(db)


def test_an_evaluation_grows_and_counts_once_it_is_finished(db: Database, suite: suites.SuiteRow) -> None:
    job = jobs.enqueue(db, "evaluate", {})
    row = evaluations.begin(db, job, suite.id, "base")
    assert not row.finished and evaluations.count(db) == 0 and evaluations.all_evaluations(db) == []
    completion = Completion(" It is 1. ", "length", 9, 7, 0.5)
    score = answers.score_answer("It is 1.", completion, is_classification=True)
    evaluations.add_answer(db, row.id, 1, "prompt", completion, score)
    evaluations.add_losses(db, row.id, {1: TaskLoss(3.5, 7)})
    assert evaluations.begin(db, job, suite.id, "base") == row  # a resumed job goes on with it
    item = evaluations.items(db, row.id)[1]
    assert (item.output, item.score, item.prompt_hash) == ("It is 1.", score, evaluations.prompt_hash("prompt"))
    assert evaluations.losses(db, row.id) == {1: TaskLoss(3.5, 7)}
    assert evaluations.tokens(db, row.id) == (7, 0.5)
    evaluations.finish(db, row.id, {"rouge_l": 1.0})
    assert evaluations.count(db) == 1
    assert evaluations.all_evaluations(db)[0].metrics == {"rouge_l": 1.0}


def test_the_newest_pair_on_one_suite_is_found(db: Database, suite: suites.SuiteRow, filler: Filler) -> None:
    with pytest.raises(UsageError, match="no two models have been scored yet; do it with: alpaca-tui evaluate"):
        evaluations.newest_pair(db)
    job = jobs.enqueue(db, "evaluate", {})
    a, b = evaluated(db, suite, "a", "x", job), evaluated(db, suite, "b", "y", job)
    other = evaluated(db, suites.from_seeds(db), "a", "z")
    assert evaluations.newest_pair(db) == (a, b)
    assert evaluations.newest_pair(db, ("b", "a")) == (b, a)
    assert evaluations.newest_pair(db, ("a", "b"), "numbers") == (a, b)
    again = evaluated(db, suite, "b", "y2")
    assert evaluations.newest_pair(db, ("a", "b")) == (a, again)
    with pytest.raises(UsageError, match="evaluate --model a --model c"):
        evaluations.newest_pair(db, ("a", "c"))
    with pytest.raises(UsageError, match="the two models are the same"):
        evaluations.newest_pair(db, ("a", "a"))
    with pytest.raises(UsageError, match="not scored on the same tasks"):
        open_comparison(db, other, a)


def test_models_that_were_asked_in_other_words_are_not_compared(db: Database, suite: suites.SuiteRow) -> None:
    a, b = evaluated(db, suite, "a", "x"), evaluated(db, suite, "b", "y")
    db.execute("UPDATE evaluation_answers SET prompt_hash = 'other' WHERE evaluation_id = ? AND position = 2", [b.id])
    with pytest.raises(AlpacaError, match="asked 1 tasks in other words"):
        comparisons.differences(db, a, b)


def test_differences_of_two_evaluations(db: Database, suite: suites.SuiteRow) -> None:
    a, b = evaluated(db, suite, "a", "Nothing."), evaluated(db, suite, "b", "It is it.")
    rows = {row.metric: row for row in comparisons.differences(db, a, b)}
    assert rows["rouge_l"].delta is not None and rows["rouge_l"].delta > 0 and rows["rouge_l"].clear
    assert rows["held_out_loss"].delta == 0


def test_a_blind_task_names_nobody_and_sides_follow_the_seed(comparison: Comparison) -> None:
    assert (comparison.first.model, comparison.second.model) == ("base", "job:1")  # the older first
    assert len(comparison.order) == 11 and 1 not in comparison.order  # both wrote the same on the first task
    lefts = [comparison.blind(position).left for position in comparison.order]
    assert set(lefts) == {"Base says so.", "Tuned says so."}
    for position in comparison.order:
        blind = comparison.blind(position)
        assert {blind.left, blind.right} == {"Base says so.", "Tuned says so."}
        assert "job:1" not in repr(blind) and "base" not in repr(blind)


def prefer(sitting: Sitting, text: str) -> None:
    blind = sitting.current
    assert blind is not None
    sitting.judge("left" if blind.left == text else "right")


def test_judgements_are_kept_counted_and_resumed(project: Path, comparison: Comparison) -> None:
    sitting = Sitting(comparison)
    for _ in range(6):
        prefer(sitting, "Tuned says so.")
    prefer(sitting, "Base says so.")
    sitting.judge("tie")
    sitting.judge("both_bad")
    standing = comparison.standing()
    assert (standing.tally.first, standing.tally.second, standing.tally.tie, standing.tally.both_bad) == (1, 6, 1, 1)
    assert (standing.left, standing.same, standing.after_reveal) == (2, 1, 0)
    shown = sitting.current
    # Another process, another day: the same seed, the same next task, nothing lost.
    again = database.open_project(project)
    reopened = open_comparison(again, *evaluations.newest_pair(again, ("base", "job:1")))
    assert reopened.seed == comparison.seed
    assert Sitting(reopened).current == shown
    assert reopened.standing() == standing
    again.close()


def test_undo_shows_the_task_blind_again_and_redo_makes_it_again(comparison: Comparison) -> None:
    sitting = Sitting(comparison)
    assert not sitting.undo() and not sitting.redo()
    first = sitting.current
    sitting.judge("left")
    second = sitting.current
    sitting.judge("tie")
    assert sitting.undo() and sitting.current == second
    assert sitting.undo() and sitting.current == first
    assert comparison.standing().tally.judged == 0
    assert sitting.redo() and sitting.redo() and not sitting.redo()
    assert [j.verdict for j in comparison.judgements()] == ["left", "tie"]
    sitting.undo()
    sitting.judge("right")  # takes the place of the tie, which cannot be redone any more
    assert not sitting.redo()
    assert [j.verdict for j in comparison.judgements()] == ["left", "right"]
    journal = list(comparison._db["judgements"].rows)
    assert [row["verdict"] for row in journal] == ["left", "tie", "right"]  # nothing is ever deleted


def test_skipped_tasks_come_again_at_the_end(comparison: Comparison) -> None:
    sitting = Sitting(comparison)
    skipped = sitting.current
    sitting.skip()
    assert sitting.current != skipped
    for _ in range(10):
        sitting.judge("tie")
    assert sitting.current == skipped
    sitting.skip()
    assert sitting.current == skipped  # the only one left
    sitting.judge("tie")
    assert sitting.current is None
    with pytest.raises(UsageError, match="no task to judge"):
        sitting.judge("tie")


def test_the_result_shows_after_a_judgement_and_later_ones_are_marked(comparison: Comparison) -> None:
    with pytest.raises(UsageError, match="after the first judgement"):
        comparison.reveal()
    sitting = Sitting(comparison)
    sitting.judge("left")
    assert not comparison.revealed
    assert comparison.reveal().tally.judged == 1 and comparison.revealed
    sitting.judge("left")
    assert comparison.standing().after_reveal == 1


def test_two_windows_do_not_judge_a_task_twice(db: Database, comparison: Comparison) -> None:
    one, other = Sitting(comparison), Sitting(open_comparison(db, comparison.first, comparison.second))
    assert one.current == other.current
    one.judge("left")
    with pytest.raises(UsageError, match="judged meanwhile"):
        other.judge("right")
    assert other.current == one.current  # it has gone on
    with pytest.raises(UsageError, match="not up for judging"):
        comparison.judge(999, "left")
    with pytest.raises(UsageError, match="unknown verdict"):
        comparison.judge(comparison.order[-1], "maybe")  # type: ignore[arg-type]


def test_evaluations_from_before_are_carried_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project made before suites existed: figures, outputs and tasks are there, and can be compared."""
    every = resources.migrations()
    with monkeypatch.context() as patched:
        patched.setattr(resources, "migrations", lambda: [file for file in every if file.stem < "0012"])
        old = database.create_project(tmp_path / "old")
    dataset = datasets.take(old, "numbers", RECORDS)
    job = jobs.enqueue(old, "evaluate", {})
    for model in ("base", "job:1"):
        row = {"job_id": job, "dataset_id": dataset.id, "suite": "numbers/held_out", "model": model, "created_at": 7.0}
        old["evaluations"].insert(row | {"metrics": '{"rouge_l": 0.25}'})
        number = old.execute("SELECT max(id) FROM evaluations").fetchone()[0]
        old["evaluation_items"].insert(
            {"evaluation_id": number, "position": 1, "output": f"{model} says two words", "rouge_l": 0.25}
        )
    old.close()
    db = database.open_project(tmp_path / "old")
    first, second = evaluations.newest_pair(db)
    assert (first.model, second.model, first.metrics, first.suite) == (
        "base", "job:1", {"rouge_l": 0.25}, "numbers/held_out",
    )  # fmt: skip
    assert evaluations.items(db, second.id)[1].score.words == 4
    made = open_comparison(db, first, second)
    assert made.order == [1] and made.blind(1).task.instruction == "Say number 1."
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    db.close()
