"""Seeds in the store: import all or none, revisions, what may be drawn, what each led to, export."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.core.records import Completion, Instance, ParsedInstance, PoolEntry, Request, SamplingParams, SeedTask
from alpaca_tui.core.records import Verdict as V
from alpaca_tui.core.seedfile import parse_seed_file
from alpaca_tui.store import candidates, completions, decisions, jobs, samples, seeds
from alpaca_tui.store.completions import Call
from alpaca_tui.store.database import write
from alpaca_tui.store.seeds import ImportResult, SeedUsage


def task(number: int, instruction: str = "Name a fruit.") -> SeedTask:
    return SeedTask(f"t{number}", "fruit", instruction, (Instance("", "A pear."), Instance("x", "y")), False)


def test_a_file_is_taken_in_once(db: Database) -> None:
    tasks = [task(1), task(2)]
    assert seeds.import_tasks(db, tasks) == ImportResult(2, 0, 0)
    assert seeds.import_tasks(db, tasks) == ImportResult(0, 0, 2)
    assert [row.task for row in seeds.all_seeds(db)] == tasks
    assert seeds.count(db) == 2


def test_the_shipped_file_comes_out_byte_for_byte(db: Database) -> None:
    data = resources.seed_tasks_path().read_bytes()
    seeds.import_tasks(db, parse_seed_file(data).tasks)
    assert seeds.export(db).encode("utf-8") == data


TEXT = st.text(max_size=30)
TASK = st.builds(
    SeedTask,
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1).filter(str.strip),
    TEXT,
    TEXT.map(lambda text: "Say: " + text),
    st.lists(st.builds(Instance, TEXT, TEXT), min_size=1, max_size=2).map(tuple),
    st.booleans(),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(TASK, max_size=4, unique_by=lambda t: t.task_id))
def test_export_import_export_is_stable(db: Database, tasks: list[SeedTask]) -> None:
    with write(db):
        for table in ("seed_revisions", "seeds"):
            db.execute(f"DELETE FROM {table}")
    seeds.import_tasks(db, tasks)
    first = seeds.export(db)
    assert seeds.import_tasks(db, parse_seed_file(first).tasks) == ImportResult(0, 0, len(tasks))
    assert seeds.export(db) == first


def test_an_edit_made_here_survives_the_same_file_again(db: Database) -> None:
    seeds.import_tasks(db, [task(1)])
    seeds.revise(db, 1, task(1, "Name a ripe fruit."))
    assert seeds.import_tasks(db, [task(1)]) == ImportResult(0, 0, 1)
    assert seeds.get(db, 1).task.instruction == "Name a ripe fruit."


def test_another_text_under_a_known_id_is_a_clash_and_nothing_is_taken_in(db: Database) -> None:
    seeds.import_tasks(db, [task(n) for n in range(1, 8)])
    before = seeds.export(db)
    clashing = [task(9), *(task(n, "Name a tree.") for n in range(1, 8))]
    with pytest.raises(AlpacaError, match=r"7 of these ids \(t1, t2, t3, t4, t5 and 2 more\)"):
        seeds.import_tasks(db, clashing)
    assert seeds.export(db) == before


def test_update_takes_the_file_s_text_as_a_new_revision(db: Database) -> None:
    seeds.import_tasks(db, [task(1), task(2)])
    new = task(1, "Name a tree.")
    assert seeds.import_tasks(db, [new, task(2), task(3)], update=True) == ImportResult(1, 1, 1)
    assert seeds.import_tasks(db, [new], update=True) == ImportResult(0, 0, 1)
    assert [(r.revision, r.task) for r in seeds.revisions(db, 1)] == [(1, task(1)), (2, new)]


def test_an_unfit_task_keeps_all_others_out(db: Database) -> None:
    for unfit in (task(2, " \n"), replace(task(2), instances=()), replace(task(2), task_id="")):
        with pytest.raises(UsageError, match="cannot be kept"):
            seeds.import_tasks(db, [task(1), unfit])
    assert seeds.count(db) == 0


def test_control_characters_never_reach_the_store(db: Database) -> None:
    dirty = SeedTask("t1", "n\x07", "Clear\x1b[2J it.\r\n", (Instance("\x9b", "a\tb"),), False)
    seeds.import_tasks(db, [dirty])
    assert seeds.get(db, 1).task == SeedTask("t1", "n", "Clear[2J it.\n", (Instance("", "a\tb"),), False)
    assert seeds.import_tasks(db, [dirty]) == ImportResult(0, 0, 1)


def test_revisions_stay_and_the_same_text_makes_none(db: Database) -> None:
    seeds.add(db, [task(1)])
    second = seeds.revise(db, 1, task(1, "Name a tree."))
    assert (second.revision, second.task.instruction) == (2, "Name a tree.")
    assert seeds.revise(db, 1, task(1, "Name a tree.")).revision == 2
    assert seeds.revise(db, 1, task(1)).revision == 3
    assert [r.task.instruction for r in seeds.revisions(db, 1)] == ["Name a fruit.", "Name a tree.", "Name a fruit."]
    assert seeds.get(db, 1) == seeds.all_seeds(db)[0]


def test_a_revision_keeps_the_id_and_needs_a_seed(db: Database) -> None:
    seeds.add(db, [task(1)])
    with pytest.raises(UsageError, match="keeps the seed's id 't1'"):
        seeds.revise(db, 1, task(2))
    with pytest.raises(UsageError, match="there is no seed 5"):
        seeds.revise(db, 5, task(5))
    with pytest.raises(UsageError, match="the instruction is empty"):
        seeds.revise(db, 1, task(1, "  "))
    assert seeds.get(db, 1).revision == 1


def test_a_disabled_seed_is_not_drawn_but_kept_and_exported(db: Database) -> None:
    seeds.add(db, [task(1), task(2, "Name a tree.")])
    seeds.set_enabled(db, [1], False)
    assert seeds.pool(db) == [PoolEntry("seed", 2, "Name a tree.")]
    assert [row.enabled for row in seeds.all_seeds(db)] == [False, True]
    assert len(parse_seed_file(seeds.export(db)).tasks) == 2
    assert len(parse_seed_file(seeds.export(db, enabled_only=True)).tasks) == 1
    seeds.set_enabled(db, [1], True)
    assert len(seeds.pool(db)) == 2


def test_disabling_is_all_or_none(db: Database) -> None:
    seeds.add(db, [task(1)])
    with pytest.raises(UsageError, match="there is no seed 7"):
        seeds.set_enabled(db, [1, 7], False)
    assert seeds.get(db, 1).enabled


def test_new_ids_are_free(db: Database) -> None:
    assert seeds.new_task_id(db) == "own_001"
    seeds.add(db, [replace(task(1), task_id="own_001"), replace(task(1), task_id="own_003")])
    assert seeds.new_task_id(db) == "own_002"
    assert seeds.new_task_id(db, "mine") == "mine_001"


def test_add_passes_over_known_ids(db: Database) -> None:
    assert seeds.add(db, [task(1), task(1, "Again."), task(2)]) == 2
    assert seeds.add(db, [task(1, "Other."), task(3)]) == 1
    assert seeds.get(db, 1).task == task(1)


class Generation:
    """Calls that show seeds, and what comes of them, stored as a worker stores them."""

    def __init__(self, db: Database) -> None:
        self.db = db
        completions.ensure_pack(db, "hash", "self-instruct", {"pack.toml": ""})
        self.job_id = jobs.enqueue(db, "generate", {"target": 10})

    def _call(self, stage: str, shown: tuple[PoolEntry, ...], candidate_id: int | None) -> int:
        request = Request("prompt", SamplingParams(), 7)
        call = Call(self.job_id, stage, stage, "hash", "model", {}, request, candidate_id, shown)  # type: ignore[arg-type]
        return completions.record(self.db, call, Completion("text", "eos", 10, 5, 0.5), None)

    def call(self, seed_ids: tuple[int, ...], *, kept: int, refused: int, samples_each: int = 0) -> list[int]:
        """One call that showed these seeds; returns the ids of the samples made from its kept candidates."""
        made = []
        with write(self.db):
            shown = tuple(PoolEntry("seed", n, "…") for n in seed_ids)
            completion_id = self._call("instruction", shown, None)
            for position in range(kept + refused):
                verdict = V("length", position < kept)
                candidate_id, _ = candidates.add(self.db, completion_id, position, f"Do {position}.", [verdict])
                if position >= kept or not samples_each:
                    continue
                instances = self._call("instance", (), candidate_id)
                for n in range(samples_each):
                    instance = ParsedInstance(n, "", f"out {n}")
                    sample_id, _ = samples.add(
                        self.db, candidate_id, instances, "Do it.", instance, [V("empty_output", True)]
                    )
                    made.append(sample_id)
        return made


def test_usage_counts_what_each_seed_led_to(db: Database) -> None:
    seeds.add(db, [task(1), task(2), task(3)])
    generation = Generation(db)
    a, b, c, d = generation.call((1, 2), kept=2, refused=1, samples_each=2)
    (e,) = generation.call((1,), kept=1, refused=0, samples_each=1)
    generation.call((2,), kept=0, refused=4)
    decisions.decide(db, "accept", [a, e])
    decisions.decide(db, "reject", [b, c])
    assert d  # waits for a person
    assert seeds.usage(db) == {
        1: SeedUsage(drawn=2, candidates=4, kept=3, pending=1, accepted=2, rejected=2, filtered=0),
        2: SeedUsage(drawn=2, candidates=7, kept=2, pending=1, accepted=1, rejected=2, filtered=0),
        3: SeedUsage(),
    }


def test_usage_counts_samples_that_a_rule_refused(db: Database) -> None:
    seeds.add(db, [task(1)])
    generation = Generation(db)
    generation.call((1,), kept=1, refused=0)
    with write(db):
        call = generation._call("instance", (), 1)
        samples.add(db, 1, call, "Do it.", ParsedInstance(0, "", ""), [V("empty_output", False)])
    assert seeds.usage(db)[1] == SeedUsage(drawn=1, candidates=1, kept=1, filtered=1)


def test_the_store_refuses_two_seeds_of_one_id(db: Database) -> None:
    seeds.add(db, [task(1)])
    with pytest.raises(sqlite3.IntegrityError):
        db["seeds"].insert({"task_id": "t1", "created_at": 0.0})
