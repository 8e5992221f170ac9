"""What a reviewer gets: one key, one transaction; undo and redo without limit."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.records import ParsedInstance, Verdict
from alpaca_tui.store import browse, candidates, database, decisions, samples
from store.filling import Filler

V_PASSED = Verdict("empty_output", True)


def states(db: Database) -> dict[int, str]:
    return {row.id: row.state for row in samples.page(db, limit=1000)}


def test_accept_reject_undo_redo(db: Database, filler: Filler) -> None:
    a, b = filler.sample(), filler.sample("Name a river.")
    decisions.decide(db, "accept", [a])
    decisions.decide(db, "reject", [b], "off topic")
    assert states(db) == {a: "accepted", b: "rejected"}
    assert [d.sample_id for d in decisions.undo(db)] == [b]
    assert states(db) == {a: "accepted", b: "pending"}
    assert [d.sample_id for d in decisions.redo(db)] == [b]
    decisions.undo(db)
    decisions.undo(db)
    assert states(db) == {a: "pending", b: "pending"}
    assert decisions.undo(db) == []


def test_a_batch_is_undone_as_one(db: Database, filler: Filler) -> None:
    ids = [filler.sample(f"Name fruit number {i}.") for i in range(5)]
    decisions.decide(db, "accept", ids)
    assert len(decisions.undo(db)) == 5
    assert set(states(db).values()) == {"pending"}
    assert len(decisions.redo(db)) == 5
    assert set(states(db).values()) == {"accepted"}


def test_an_edit_is_a_revision_and_the_original_stays(db: Database, filler: Filler) -> None:
    a = filler.sample(output="A pear.")
    decisions.edit(db, a, "Name a fruit.", "", "A quince.")
    row = samples.get(db, a)
    assert row is not None
    assert (row.output, row.revision, row.author) == ("A quince.", 2, "person")
    decisions.undo(db)
    decisions.edit(db, a, "Name a fruit.", "", "A fig.")
    row = samples.get(db, a)
    assert row is not None
    assert (row.output, row.revision) == ("A fig.", 3)
    assert [r["output"] for r in db["sample_revisions"].rows] == ["A pear.", "A quince.", "A fig."]
    assert decisions.edit(db, a, "Name a fruit.", "", "A fig.") is None


def test_a_new_decision_ends_redo(db: Database, filler: Filler) -> None:
    a, b = filler.sample(), filler.sample("Name a river.")
    decisions.decide(db, "accept", [a])
    decisions.undo(db)
    decisions.decide(db, "reject", [b])
    assert decisions.redo(db) == []
    assert states(db) == {a: "pending", b: "rejected"}


def test_filtered_samples_must_be_rescued_first(db: Database, filler: Filler) -> None:
    a = filler.sample("Name a fruit.", "", Verdict("empty_output", False))
    with pytest.raises(UsageError, match="filtered out by the rule empty_output"):
        decisions.decide(db, "accept", [a])
    decisions.decide(db, "rescue", [a])
    decisions.decide(db, "accept", [a])
    assert states(db) == {a: "accepted"}
    decisions.undo(db)
    decisions.undo(db)
    assert states(db) == {a: "filtered"}


def test_an_unknown_sample_changes_nothing(db: Database, filler: Filler) -> None:
    a = filler.sample()
    with pytest.raises(UsageError, match="there is no sample 99"):
        decisions.decide(db, "accept", [a, 99])
    assert states(db) == {a: "pending"}


def test_undo_works_after_a_restart(project: Path, db: Database, filler: Filler) -> None:
    a = filler.sample()
    decisions.decide(db, "accept", [a])
    db.close()
    again = database.open_project(project)
    assert len(decisions.undo(again)) == 1
    assert states(again) == {a: "pending"}


STEPS = st.lists(
    st.sampled_from(["accept 0", "accept 1", "reject 0", "reject 2", "edit 1", "undo", "redo"]), max_size=25
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_undoing_everything_gives_the_beginning_and_redoing_everything_the_end(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    db = database.create_project(tmp_path_factory.mktemp("p"))
    filler = Filler(db)
    ids = [filler.sample(f"Name fruit number {i}.") for i in range(3)]
    begin = samples.page(db)
    for step in steps:
        name, _, which = step.partition(" ")
        if name == "edit":
            decisions.edit(db, ids[int(which)], f"New text {len(list(db['sample_revisions'].rows))}.", "", "x")
        elif which:
            decisions.decide(db, name, [ids[int(which)]])
        else:
            getattr(decisions, name)(db)
    while decisions.redo(db):
        pass
    end = samples.page(db)
    undone = 0
    while decisions.undo(db):
        undone += 1
    assert samples.page(db) == begin
    for _ in range(undone):
        assert decisions.redo(db)
    assert samples.page(db) == end
    db.close()


def test_a_rejected_instruction_is_no_demonstration_but_still_known(db: Database, filler: Filler) -> None:
    a = filler.sample("Name a fruit.")
    assert [entry.instruction for entry in candidates.pool(db)] == ["Name a fruit."]
    decisions.decide(db, "reject", [a])
    assert candidates.pool(db) == []
    assert [entry.instruction for entry in candidates.kept(db)] == ["Name a fruit."]


def test_tags_are_given_taken_and_undone(db: Database, filler: Filler) -> None:
    a, b = filler.sample(), filler.sample("Name a river.")
    assert len(decisions.tag(db, [a, b], " math ")) == 2
    assert [d.sample_id for d in decisions.tag(db, [a, b], "hard")] == [a, b]
    assert decisions.tag(db, [a], "hard") == []
    assert [d.sample_id for d in decisions.tag(db, [a], "hard", take=True)] == [a]
    assert browse.tags_of(db, [a, b]) == {a: ["math"], b: ["hard", "math"]}
    assert browse.tag_counts(db) == [("math", 2), ("hard", 1)]
    decisions.undo(db)
    decisions.undo(db)
    assert browse.tags_of(db, [a, b]) == {a: ["math"], b: ["math"]}
    decisions.redo(db)
    assert browse.tags_of(db, [a, b]) == {a: ["hard", "math"], b: ["hard", "math"]}
    assert states(db) == {a: "pending", b: "pending"}
    for bad in ("", "  ", "x" * 41, "two\nlines", "\x1b[31m"):
        with pytest.raises(UsageError, match="a tag is one line"):
            decisions.tag(db, [a], bad)


def kept(db: Database) -> list[int]:
    return [entry.id for entry in candidates.kept(db)]


def stage(db: Database, candidate_id: int) -> tuple[str, str | None]:
    return db.execute("SELECT stage, rejected_by FROM candidates WHERE id = ?", [candidate_id]).fetchone()


def test_a_rescued_instruction_goes_on_to_what_it_lacks(project: Path, db: Database, filler: Filler) -> None:
    lost = filler.candidate("Draw a fox.", Verdict("banned_words", False))
    other = filler.sample()
    made = decisions.rescue(db, candidate_ids=[lost])
    assert [(d.candidate_id, d.sample_id, d.action, d.reason) for d in made] == [(lost, None, "rescue", "banned_words")]
    assert stage(db, lost) == ("classification", None) and lost in kept(db)
    assert [row.id for row in candidates.waiting(db, "classification", 5)] == [lost]
    decisions.decide(db, "accept", [other])
    db.close()
    again = database.open_project(project)
    assert [d.subject for d in decisions.undo(again)] == [f"#{other}"]
    assert [d.subject for d in decisions.undo(again)] == [f"instruction {lost}"]
    assert stage(again, lost) == ("rejected", "banned_words") and lost not in kept(again)
    assert [d.subject for d in decisions.redo(again)] == [f"instruction {lost}"]
    assert [d.subject for d in decisions.redo(again)] == [f"#{other}"]
    assert states(again) == {other: "accepted"} and lost in kept(again)
    assert decisions.redo(again) == []
    again.close()


def test_undoing_a_rescue_takes_what_was_made_since_and_redo_brings_it_back(db: Database, filler: Filler) -> None:
    lost = filler.candidate("Draw a fox.", Verdict("banned_words", False))
    decisions.rescue(db, candidate_ids=[lost])
    with database.write(db):
        candidates.set_classification(db, lost, False, -2.0)
        call = filler.completion(candidate_id=lost)
        made = samples.add(db, lost, call, "Draw a fox.", ParsedInstance(0, "", "A fox."), (V_PASSED,))[0]
        candidates.finish(db, lost)
    assert states(db) == {made: "pending"}
    decisions.undo(db)
    assert states(db) == {made: "filtered"} and stage(db, lost) == ("rejected", "banned_words")
    decisions.redo(db)
    assert states(db) == {made: "pending"} and stage(db, lost) == ("done", None)
    decisions.undo(db)
    decisions.decide(db, "rescue", [made])
    assert states(db) == {made: "pending"}


def test_samples_and_instructions_are_rescued_as_one_batch(db: Database, filler: Filler) -> None:
    lost = filler.candidate("Draw a fox.", Verdict("banned_words", False))
    empty = filler.sample("Name a fruit.", "", Verdict("empty_output", False))
    assert len(decisions.rescue(db, [empty], [lost])) == 2
    assert len(decisions.undo(db)) == 2
    assert states(db) == {empty: "filtered"} and stage(db, lost)[0] == "rejected"
    assert len(decisions.redo(db)) == 2
    assert states(db) == {empty: "pending"} and stage(db, lost)[0] == "classification"


def test_nothing_is_rescued_where_one_cannot_be(db: Database, filler: Filler) -> None:
    lost = filler.candidate("Draw a fox.", Verdict("banned_words", False))
    fine = filler.candidate("Name a fox.")
    with pytest.raises(UsageError, match=f"instruction {fine} was not rejected"):
        decisions.rescue(db, candidate_ids=[lost, fine])
    with pytest.raises(UsageError, match="there is no instruction 99"):
        decisions.rescue(db, candidate_ids=[lost, 99])
    assert stage(db, lost)[0] == "rejected" and decisions.undo(db) == []
