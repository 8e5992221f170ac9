"""Replays on a real project: pairs kept while filtering, what changes, and a journal that can take it back."""

from __future__ import annotations

import pytest
from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.config import RulesConfig
from alpaca_tui.core.errors import AlpacaError, RefusedError, UsageError
from alpaca_tui.core.records import Completion, Instance, Neighbour, ParsedInstance, SeedTask
from alpaca_tui.core.replay import rejudge
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rules import (
    Context,
    RuleSettings,
    first_failure,
    instance_rules,
    instruction_rules,
    judge_instances,
)
from alpaca_tui.store import candidates, decisions, jobs, neighbours, overview, replays, samples, seeds
from alpaca_tui.store.database import write
from alpaca_tui.workers.screening import Screen
from alpaca_tui.workers.stages import InstructionStage, Run
from store.filling import Filler
from store.filtering import TEXTS, Worker

PAIRS = (
    "SELECT candidate_id, 0, seed_id, score, tokenizer, 1 FROM seed_neighbours UNION ALL "
    "SELECT candidate_id, neighbour_id, 0, score, tokenizer, decides FROM candidate_neighbours UNION ALL "
    "SELECT candidate_id, 0, 0, barred, tokenizer, certain FROM neighbour_bounds ORDER BY 5, 1, 2, 3"
)


@pytest.fixture
def worker(filler: Filler) -> Worker:
    made = Worker(filler)
    jobs.request_stop(filler.db, filler.job_id)
    return made


def sides(db: Database) -> dict[int, str | None]:
    return {r["id"]: r["rejected_by"] for r in db["candidates"].rows_where(order_by="id")}


def everything(db: Database) -> dict[str, list[tuple]]:
    """All that a replay may change."""
    tables = ("candidates", "samples", "candidate_verdicts", "sample_verdicts", "decisions")
    return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables}


def test_the_worker_keeps_pairs_with_rejected_texts_too(worker: Worker, db: Database) -> None:
    bee, ant, daily, again, seed, _, _ = worker.filter(*TEXTS)
    assert sides(db)[ant] == "novelty"
    stored = [tuple(row[:3]) for row in db.execute(PAIRS)]
    assert (ant, bee, 0) in stored
    assert (daily, ant, 0) in stored
    assert [row for row in stored if row[0] == again] == [(again, bee, 0)]  # and no bounds
    assert (seed, 0, 1) in stored
    assert {row[4] for row in db.execute(PAIRS)} == {"rouge"}


def test_the_instruction_stage_does_so_for_every_answer(filler: Filler, db: Database) -> None:
    more = [SeedTask(f"t{i}", "", f"Count to {i}.", (Instance("", "x"),), False) for i in range(6)]
    seeds.add(db, more)
    screen = Screen(db, 0.7, RulesConfig(tokenizer="unicode"))
    stage = InstructionStage(Run(db, filler.job_id, "smollm2-135m", resources.read_pack("self-instruct"), 1, screen))
    (call,) = stage.plan(1)
    stage.store(call, Completion(f" {TEXTS[0]}\n10. {TEXTS[1]}\n11. {TEXTS[2]}", "eos", 10, 5, 0.5))
    assert list(sides(db).values()) == [None, "novelty", None]
    assert db.execute("SELECT count(*), min(tokenizer) FROM candidate_neighbours").fetchone() == (3, "unicode")
    assert {r["tokenizer"] for r in db["candidate_verdicts"].rows} == {"unicode"}
    assert db.execute("SELECT candidate_id FROM neighbour_coverage").fetchall() == [(3,)]


def test_pairs_found_afterwards_equal_those_kept_while_filtering(worker: Worker, db: Database) -> None:
    worker.filter(*TEXTS)
    kept = db.execute(PAIRS).fetchall()
    for table in ("seed_neighbours", "candidate_neighbours", "neighbour_bounds", "neighbour_coverage"):
        db.execute(f"DELETE FROM {table}")
    seen: list[tuple[int, int]] = []
    neighbours.complete(db, "rouge", lambda done, total: seen.append((done, total)))
    assert db.execute(PAIRS).fetchall() == kept
    assert seen == [(len(TEXTS), len(TEXTS))]
    neighbours.complete(db, "rouge", lambda done, total: seen.append((done, total)))
    assert len(seen) == 1


def test_a_worker_that_goes_on_knows_the_earlier_texts(worker: Worker, filler: Filler, db: Database) -> None:
    bee, ant = worker.filter(*TEXTS[:2])
    daily, again = Worker(filler).filter(*TEXTS[2:4])
    stored = [tuple(row[:3]) for row in db.execute(PAIRS)]
    assert {(daily, bee, 0), (daily, ant, 0), (again, bee, 0)} <= set(stored)


def test_a_worker_heals_when_another_process_has_found_pairs_anew(worker: Worker, db: Database) -> None:
    """Seeds are edited and the curve is drawn while a generation runs with the seeds as they were."""
    worker.filter(*TEXTS[:3])
    text = "Suggest a name for a small bakery near the beach."
    seeds.add(db, [SeedTask("own_1", "bakery", text, (Instance("", "x"),), False)])
    neighbours.complete(db)
    worker.filter(*TEXTS[3:])
    healed = db.execute(PAIRS).fetchall()
    for table in ("seed_neighbours", "candidate_neighbours", "neighbour_bounds", "neighbour_coverage"):
        db.execute(f"DELETE FROM {table}")
    neighbours.complete(db)
    assert db.execute(PAIRS).fetchall() == healed


def test_stricter_rules_that_were_applied_renew_the_pairs(worker: Worker, db: Database) -> None:
    """What short texts bar from the first is not barred once they are too short to be kept."""
    every = [rule.name for rule in instruction_rules(0.7)]
    short = Worker(worker.filler, rules=RulesConfig(disabled=("length",)))
    made = short.filter("Say so now", "Say so", "Say so today", "Say so now please")
    certain = "SELECT candidate_id FROM neighbour_bounds WHERE certain IS NOT NULL"
    assert len(db.execute(certain).fetchall()) == 4
    assert replays.apply(db, 0.7, rules=every).after.rejected == {"length": 3}
    assert dict(replays.threshold_curve(db))[0.7] == 1
    assert sides(db)[made[3]] is None
    assert db.execute(certain).fetchall() == [(made[3],)]


def test_seeds_that_change_change_the_pairs(worker: Worker, db: Database) -> None:
    worker.filter(*TEXTS)
    before = dict(replays.threshold_curve(db))
    text = "Suggest a name for a small bakery near the beach."  # 0.9 with the candidate
    seeds.add(db, [SeedTask("own_1", "bakery", text, (Instance("", "x"),), False)])
    after = dict(replays.threshold_curve(db))
    assert (before[0.7], after[0.7]) == (3, 2)
    assert after[0.95] == before[0.95] == 5


def test_the_curve_is_what_previews_say(worker: Worker, db: Database) -> None:
    worker.filter(*TEXTS)
    curve = replays.threshold_curve(db)
    assert [x for x, _ in curve] == [x / 100 for x in range(50, 101)]
    assert [replays.preview(db, x).after.kept for x, _ in curve] == [kept for _, kept in curve]
    assert (dict(curve)[0.6], dict(curve)[0.7], dict(curve)[0.9]) == (2, 3, 5)
    assert dict(curve)[0.7] == overview.funnel(db).kept


def test_a_preview_changes_nothing(worker: Worker, db: Database) -> None:
    bee, ant, _, _, seed, _, _ = worker.filter(*TEXTS)
    before = everything(db)
    replay = replays.preview(db, 0.9)
    assert everything(db) == before
    assert (replay.before.kept, replay.before.rejected) == (3, {"novelty": 2, "duplicate": 1, "length": 1})
    assert (replay.after.kept, replay.after.rejected) == (5, {"duplicate": 1, "length": 1})
    assert [(c.id, c.before, c.after, c.to_stage) for c in replay.candidates] == [
        (ant, "novelty", None, "classification"),
        (seed, "novelty", None, "classification"),
    ]
    assert replays.preview(db, 0.7).candidates == ()
    assert bee not in [c.id for c in replay.candidates]


def test_applying_moves_candidates_and_the_samples_that_go_with_them(worker: Worker, db: Database) -> None:
    bee, _, daily, *_ = worker.filter(*TEXTS)
    pending = worker.fill(daily, "Ants carry food.")
    other = worker.fill(bee, "Bees work.")
    replay = replays.apply(db, 0.6)
    assert [(c.id, c.before, c.after) for c in replay.candidates] == [(daily, None, "novelty")]
    change = replay.candidates[0]
    assert change.neighbour is not None
    assert (change.score, change.neighbour.kind, change.neighbour.id) == (pytest.approx(2 / 3), "candidate", bee)
    assert [(s.id, s.from_state, s.to_state, s.rule) for s in replay.samples] == [
        (pending, "pending", "filtered", "novelty")
    ]
    row = db["candidates"].get(daily)
    assert (row["stage"], row["rejected_by"]) == ("rejected", "novelty")
    moved, stayed = samples.get(db, pending), samples.get(db, other)
    assert moved is not None
    assert stayed is not None
    assert (moved.state, moved.rejected_by, stayed.state) == ("filtered", "novelty", "pending")
    verdict = next(v for v in samples.verdicts(db, pending) if v.rule == "novelty")
    assert (verdict.passed, verdict.threshold, verdict.neighbour) == (False, 0.6, f"candidate {bee}")
    assert replays.preview(db, 0.6).candidates == ()


def test_back_at_the_former_threshold_everything_is_as_before(worker: Worker, db: Database) -> None:
    made = worker.filter(*TEXTS)
    worker.fill(made[0], "Bees work.")
    worker.fill(made[2], "Ants carry food.")
    before = everything(db)
    for threshold in (0.5, 0.9, 0.95, 1.0, 0.7):
        replays.apply(db, threshold)
    assert everything(db) == before


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6, 0.9, 1.0])
def test_undo_restores_every_row(worker: Worker, db: Database, threshold: float) -> None:
    made = worker.filter(*TEXTS)
    worker.fill(made[2], "Ants carry food.")
    before = everything(db)
    number = replays.apply(db, threshold).applied
    assert everything(db) != before
    assert replays.undo(db) == number
    assert everything(db) == before
    with pytest.raises(AlpacaError, match="nothing to undo"):
        replays.undo(db)


def test_what_a_person_decided_is_never_touched(worker: Worker, db: Database) -> None:
    _, _, daily, *_ = worker.filter(*TEXTS)
    accepted = worker.fill(daily, "Ants carry food home.")
    with write(db):
        text = TEXTS[2]
        completion_id = worker.filler.completion(candidate_id=daily)
        ids = {
            name: samples.add(db, daily, completion_id, text, ParsedInstance(i, "", output), [])[0]
            for i, (name, output) in enumerate(
                {"edited": "They dig.", "untouched": "They rest.", "rejected": "They fly."}.items()
            )
        }
    decisions.decide(db, "accept", [accepted])
    decisions.edit(db, ids["edited"], text, "", "They dig tunnels.")
    decisions.decide(db, "reject", [ids["rejected"]])
    replay = replays.apply(db, 0.6)
    states = {s.id: s.state for s in samples.page(db)}
    assert states[accepted] == "accepted"
    assert states[ids["edited"]] == "pending"
    assert states[ids["rejected"]] == "rejected"
    assert states[ids["untouched"]] == "filtered"
    assert replay.untouched == (accepted, ids["edited"])
    decisions.decide(db, "rescue", [ids["untouched"]])
    replays.undo(db)
    replays.apply(db, 0.6)
    assert samples.counts(db) == {"pending": 2, "accepted": 1, "rejected": 1, "filtered": 0}


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.8])
def test_what_a_person_rescued_stays_and_blocks_what_is_like_it(worker: Worker, db: Database, threshold: float) -> None:
    """The ant was thrown out for the bee; taken back in, it throws out the text that is like it, at any threshold."""
    bee, ant, daily, *_ = worker.filter(*TEXTS)
    decisions.rescue(db, candidate_ids=[ant])
    plan = replays.preview(db, threshold)
    assert ant not in [change.id for change in plan.candidates]
    replays.apply(db, threshold)
    assert sides(db)[bee] is None and sides(db)[ant] is None
    assert sides(db)[daily] == (None if threshold == 0.8 else "novelty")
    if threshold >= 0.5:
        assert dict(replays.threshold_curve(db))[threshold] == len([r for r in sides(db).values() if r is None])


def test_a_sample_with_a_fault_of_its_own_does_not_come_back(worker: Worker, db: Database) -> None:
    _, _, daily, *_ = worker.filter(*TEXTS)
    empty = worker.fill(daily, " ")
    replays.apply(db, 0.6)
    replays.apply(db, 0.7)
    row = samples.get(db, empty)
    assert row is not None
    assert (row.state, row.rejected_by) == ("filtered", "empty_output")


def test_newly_kept_candidates_go_on_where_they_stopped(worker: Worker, db: Database) -> None:
    _, ant, daily, _, seed, _, _ = worker.filter(*TEXTS)
    with write(db):
        candidates.set_classification(db, daily, True, 1.5)
    replays.apply(db, 0.6)
    replays.apply(db, 0.9)
    stages = {r["id"]: r["stage"] for r in db["candidates"].rows}
    assert (stages[ant], stages[seed], stages[daily]) == ("classification", "classification", "instance")
    assert [row.id for row in candidates.waiting(db, "instance", 9)] == [daily]


def test_no_replay_is_applied_or_undone_during_a_generation(worker: Worker, db: Database) -> None:
    worker.filter(*TEXTS)
    replays.apply(db, 0.6)
    job = jobs.enqueue(db, "generate", {"target": 5})
    before = everything(db)
    for change in (lambda: replays.apply(db, 0.7), lambda: replays.undo(db)):
        with pytest.raises(RefusedError, match=f"job {job} is generating"):
            change()
    assert everything(db) == before
    assert replays.preview(db, 0.7).after.kept == 3


def test_undo_is_refused_once_generation_has_gone_on(worker: Worker, db: Database) -> None:
    worker.filter(*TEXTS)
    replays.apply(db, 0.6)
    worker.filter("Name three rivers that end in the Black Sea.")
    with pytest.raises(RefusedError, match="generation has gone on"):
        replays.undo(db)


def test_a_rule_can_be_switched_off_and_on_again(worker: Worker, db: Database) -> None:
    *_, short, _ = worker.filter(*TEXTS)
    every = {r["rule"] for r in db.query("SELECT DISTINCT rule FROM candidate_verdicts")}
    before = everything(db)
    replay = replays.apply(db, 0.7, rules=every - {"length"})
    assert [(c.id, c.before, c.after) for c in replay.candidates] == [(short, "length", None)]
    assert db["candidate_verdicts"].count_where("rule = 'length'") == 0
    assert replays.apply(db, 0.7).candidates == ()
    again = replays.apply(db, 0.7, rules=every)
    assert [(c.id, c.before, c.after) for c in again.candidates] == [(short, None, "length")]
    assert everything(db)["candidates"] == before["candidates"]
    assert len(everything(db)["candidate_verdicts"]) == len(before["candidate_verdicts"])
    with pytest.raises(UsageError, match="no rule 'lenght'"):
        replays.preview(db, 0.7, rules=["lenght"])


OTHER_RULES = (
    RuleSettings(),
    RuleSettings(parameters={"length": {"min_words": 1}}),
    RuleSettings(parameters={"length": {"max_words": 9}}),  # refuses a text that the pairs take for certain
    RuleSettings(("punctuation_start",), ("novelty", "duplicate"), {"banned_words": {"words": ("ant",)}}),
)


@pytest.mark.parametrize("settings", OTHER_RULES)
@pytest.mark.parametrize("tokenizer", ["rouge", "unicode"])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6, 0.7, 1.0])
def test_every_way_of_replaying_stores_what_the_rules_say(
    worker: Worker, db: Database, threshold: float, tokenizer: TokenizerName, settings: RuleSettings
) -> None:
    """From stored verdicts and pairs, by judging texts alone, and by judging all: as if filtered so from the start."""
    worker.filter(*TEXTS)
    before = everything(db)
    rules = instruction_rules(threshold, tokenizer, settings)
    names = [rule.name for rule in rules]
    replay = replays.apply(db, threshold, tokenizer=tokenizer, rules=names, settings=settings)
    known = [Neighbour("seed", row.id, row.task.instruction) for row in seeds.all_seeds(db)]
    asked = [Neighbour("candidate", r["id"], r["instruction"]) for r in db["candidates"].rows]
    judged = rejudge(known, asked, rules, tokenizer)
    failures = [first_failure(verdicts) for verdicts in judged]
    assert list(sides(db).values()) == [failed.rule if failed else None for failed in failures]
    assert replay.after.kept == failures.count(None)
    stored = db.execute(
        "SELECT candidate_id, rule, passed, score, threshold, detail, neighbour_seed_id, neighbour_candidate_id, "
        "tokenizer, parameters FROM candidate_verdicts ORDER BY 1, position"
    ).fetchall()
    expected = []
    for candidate, verdicts in zip(asked, judged, strict=True):
        for v in verdicts:
            near = {v.neighbour.kind: v.neighbour.id} if v.neighbour else {}
            ids = (near.get("seed"), near.get("candidate"))
            expected.append(
                (candidate.id, v.rule, v.passed, v.score, v.threshold, v.detail, *ids, tokenizer, v.parameters)
            )
    assert stored == expected
    assert replays.preview(db, threshold, tokenizer=tokenizer, rules=names, settings=settings).candidates == ()
    replays.undo(db)
    assert everything(db) == before


@pytest.mark.parametrize("settings", OTHER_RULES)
def test_the_curve_by_other_rules_is_what_previews_by_them_say(
    worker: Worker, db: Database, settings: RuleSettings
) -> None:
    worker.filter(*TEXTS)
    names = [rule.name for rule in instruction_rules(settings=settings)]
    curve = replays.threshold_curve(db, rules=names, settings=settings)
    for x, kept in curve[::5]:
        assert replays.preview(db, x, rules=names, settings=settings).after.kept == kept


def test_a_worker_judges_by_the_configured_rules_and_a_replay_takes_them_over(filler: Filler, db: Database) -> None:
    config = RulesConfig.model_validate({"order": ["novelty"], "length": {"min_words": 2}})
    worker = Worker(filler, rules=config)
    jobs.request_stop(db, filler.job_id)
    worker.filter(*TEXTS)
    first = db.execute("SELECT rule, parameters FROM candidate_verdicts WHERE candidate_id = 1 ORDER BY position")
    assert first.fetchmany(2) == [("novelty", ""), ("length", '{"min_words": 2}')]
    assert list(sides(db).values()) == [None, "novelty", None, "novelty", "novelty", None, None]
    # As judged, only X changes: the order stays. As shipped, "Say so" is too short and the repeat a duplicate.
    assert replays.preview(db, 0.7).after.rejected == {"novelty": 3}
    every = [rule.name for rule in instruction_rules()]
    assert replays.preview(db, 0.7, rules=every).after.rejected == {"novelty": 2, "duplicate": 1, "length": 1}


def test_a_project_in_another_script_uses_its_tokenizer_throughout(filler: Filler, db: Database) -> None:
    texts = ("请写一首关于春天的短诗", "请写一首关于秋天的短诗", "列出三种常见的水果名称")
    worker = Worker(filler, rules=RulesConfig(tokenizer="unicode"))
    jobs.request_stop(db, filler.job_id)
    spring, autumn, fruit = worker.filter(*texts)
    sample = worker.fill(spring, "春风又绿江南岸")
    assert sides(db) == {spring: None, autumn: "novelty", fruit: None}
    assert {row[4] for row in db.execute(PAIRS)} == {"unicode"}
    assert {r["tokenizer"] for r in db["candidate_verdicts"].rows} == {"unicode"}
    assert {r["tokenizer"] for r in db["sample_verdicts"].rows_where("sample_id = ?", [sample])} == {"unicode"}
    assert dict(replays.threshold_curve(db))[0.95] == 3
    by_rouge = replays.preview(db, 0.7, tokenizer="rouge")
    assert (by_rouge.after.kept, by_rouge.after.rejected) == (0, {"length": 3})
    replays.apply(db, 0.7, tokenizer="rouge")
    assert dict(replays.threshold_curve(db))[0.7] == 0
    assert {r["tokenizer"] for r in db["candidate_verdicts"].rows} == {"rouge"}
    replays.undo(db)
    assert dict(replays.threshold_curve(db))[0.7] == 2


OUTPUTS = (
    "The bee cleans the cells. Then it feeds the young. At last it flies out for nectar.",
    "The ant cleans the nest. Then it feeds the young. At last it walks out for seeds.",
    "The bee cleans the cells. Then it feeds the young. At last it flies out for pollen.",  # 0.94 with the first
    "Flour and Fog",
)

INSTANCE_SETTINGS = (
    RuleSettings(("near_duplicate_instance",)),
    RuleSettings(parameters={"near_duplicate_instance": {"threshold": 0.6}}),
    RuleSettings(parameters={"content": {"words": ("seeds",)}}),
    RuleSettings(("empty_output",), ("near_duplicate_instance",), {"near_duplicate_instance": {"threshold": 0.99}}),
)


def fill_all(worker: Worker) -> list[int]:
    """Candidates that are kept, each with its sample; some samples are rejected by a rule of their own."""
    kept = [n for n in worker.filter(*TEXTS, *MORE) if sides(worker.db)[n] is None]
    return [worker.fill(n, OUTPUTS[i % 4] if i < 7 else "") for i, n in enumerate(kept)]


MORE = (
    "Name three rivers that end in the Black Sea.",
    "Write a short poem on the first snow of a year.",
    "Compare trains with buses for a daily way to work.",
    "Which tools does a carpenter need on a roof?",
    "Give advice on sleeping well in summer heat.",
)


@pytest.mark.parametrize("settings", INSTANCE_SETTINGS)
@pytest.mark.parametrize("threshold", [0.6, 0.7, 0.8])
def test_changed_rules_for_instances_judge_the_samples_as_if_filtered_so_from_the_start(
    worker: Worker, db: Database, settings: RuleSettings, threshold: float
) -> None:
    fill_all(worker)
    before = everything(db)
    names = [rule.name for rule in instruction_rules(settings=settings)]
    replay = replays.apply(db, threshold, rules=names, settings=settings)
    context, expected = Context(), {}
    for row in samples.page(db, limit=99):
        out = sides(db)[row.candidate_id]
        if out is not None:
            expected[row.id] = ("filtered", out)
            continue
        instance = ParsedInstance(0, row.input, row.output)
        (verdicts,) = judge_instances(row.instruction, [instance], instance_rules(settings), context)
        failed = first_failure(verdicts)
        if failed is None:
            context.know_instance(row.id, row.instruction, row.input, row.output)
        expected[row.id] = ("filtered", failed.rule) if failed else ("pending", None)
        stored = db.execute(
            "SELECT rule, passed, score, threshold, neighbour_sample_id, parameters FROM sample_verdicts "
            "WHERE sample_id = ? ORDER BY position",
            [row.id],
        ).fetchall()
        near = [v.neighbour.id if v.neighbour else None for v in verdicts]
        assert stored == [
            (v.rule, v.passed, v.score, v.threshold, other, v.parameters)
            for v, other in zip(verdicts, near, strict=True)
        ]
    assert {row.id: (row.state, row.rejected_by) for row in samples.page(db, limit=99)} == expected
    assert replay.samples_after is not None and replay.samples_after.kept == list(expected.values()).count(
        ("pending", None)
    )
    again = replays.preview(db, threshold, rules=names, settings=settings)
    assert again.candidates == again.samples == ()
    replays.undo(db)
    assert everything(db) == before


def test_samples_are_asked_again_only_where_their_rules_have_changed_or_on_demand(worker: Worker, db: Database) -> None:
    third = fill_all(worker)[2]
    names = [rule.name for rule in instruction_rules()]
    assert samples.get(db, third).rejected_by == "near_duplicate_instance"
    assert replays.preview(db, 0.7, rules=names).samples_after is None
    same = replays.preview(db, 0.7, rules=names, instances=True)
    assert same.samples == () and same.samples_before == same.samples_after
    other = RuleSettings(("near_duplicate_instance",))
    assert replays.preview(db, 0.7, rules=names, settings=other, instances=False).samples == ()
    assert third in [change.id for change in replays.preview(db, 0.7, rules=names, settings=other).samples]


def test_judging_samples_again_leaves_those_of_a_person_alone_and_lets_them_block(worker: Worker, db: Database) -> None:
    first, _, third, *_ = fill_all(worker)
    decisions.decide(db, "reject", [first])
    names = [rule.name for rule in instruction_rules()]
    stricter = RuleSettings(
        parameters={"near_duplicate_instance": {"threshold": 0.99}, "content": {"words": ("nectar",)}}
    )
    moved = {change.id: change.rule for change in replays.preview(db, 0.7, rules=names, settings=stricter).samples}
    assert first not in moved and moved[third] is None
    replays.apply(db, 0.7, rules=names, settings=stricter)
    assert samples.get(db, first).state == "rejected"
    # What a person has rejected is known all the same: the same answer is not offered again.
    replays.apply(db, 0.7, rules=names)
    assert samples.get(db, third).rejected_by == "near_duplicate_instance"


def test_an_empty_project_has_a_flat_curve(db: Database) -> None:
    assert {kept for _, kept in replays.threshold_curve(db)} == {0}
    assert replays.apply(db, 0.6).candidates == ()
