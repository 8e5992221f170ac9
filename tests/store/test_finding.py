"""What a query finds among real rows: the same as its meaning says of each of them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from alpaca_tui.core.query import REJECTS, Query, Value, holds, parse
from alpaca_tui.core.records import Verdict
from alpaca_tui.store import database, decisions, finding, flips, samples
from store.filling import Filler


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """Thirty samples in every state, with tags, edits, reasons and scores."""
    db = database.create_project(tmp_path_factory.mktemp("finding"))
    filler = Filler(db)
    ids = []
    for i in range(30):
        near = Verdict("near_duplicate_instance", i % 7 != 0, 0.3 + i / 50, 0.9)
        empty = Verdict("empty_output", i % 11 != 0)
        text = f"Name fruit number {i}." if i % 2 else f"Compare river {i} with the Straße of the town, please."
        ids.append(filler.sample(text, " ".join(["pear"] * (i % 5)), near, empty))
    db.execute("UPDATE candidates SET is_classification = 1, classification_margin = (id - 15) / 5.0 WHERE id % 3 = 0")
    db.execute("UPDATE candidates SET low_margin = 1 WHERE id % 4 = 0")
    pending = [row.id for row in samples.page(db, "pending", limit=100)]
    decisions.decide(db, "accept", pending[:6])
    decisions.decide(db, "reject", pending[6:9], "off topic")
    decisions.decide(db, "reject", pending[9:11])
    decisions.edit(db, pending[0], "Name a MOUNTAIN.", "", "Rigi")
    decisions.edit(db, pending[12], "Name a mountain.", "high", "Pilatus")
    decisions.tag(db, pending[2:8], "Math")
    decisions.tag(db, pending[5:14], "hard")
    return db


def facts(db: Database, row: samples.SampleRow) -> tuple[dict[str, Value], tuple[str, str, str]]:
    """The sample's fields, worked out without the query's SQL."""
    judged = samples.verdicts(db, row.id)
    scores = [v.score or 0.0 for v in judged if v.rule in finding.ROUGE_RULES]
    last = list(db["decisions"].rows_where("sample_id = ? AND undone_at IS NULL", [row.id], order_by="id"))
    reason = next((d["reason"] for d in reversed(last) if d["action"] in ("accept", "reject")), None)
    values: dict[str, Value] = {
        "status": row.state,
        "rule": [*(v.rule for v in judged if not v.passed), *([row.rejected_by] if row.rejected_by else [])],
        "kind": "classification" if row.is_classification else "generation",
        "rouge": max(scores, default=0.0),
        "len": len(row.instruction.split()),
        "in": len(row.input.split()),
        "out": len(row.output.split()),
        "margin": None if row.classification_margin is None else abs(row.classification_margin),
        "doubtful": row.low_margin and not flips.is_flipped(db, row.candidate_id),
        "id": row.id,
        "seed": ["1", "s1"],
        "model": "smollm2-135m",
        "edited": row.author == "person",
        "tag": [t["tag"] for t in db["sample_tags"].rows_where("sample_id = ?", [row.id])],
        "reason": reason if row.state == "rejected" else None,
    }
    return values, (row.instruction, row.input, row.output)


TERMS = (
    "status:pending", "status:accepted,rejected", "status:filtered", "rule:empty_output", "rule:novelty,length",
    "kind:classification", "kind:generation", "rouge>0.6", "rouge<=0.5", "len<5", "len>=9", "out=3", "in>0", "margin>1",
    "margin<0.7",
    "margin!=0.6", "doubtful:yes", "id>20", "id:7", "seed:1", "seed:s1", "seed:2", "model:SMOLLM2-135m", "model:other",
    "edited:yes", "edited:no", "tag:math", "tag:HARD,other", 'reason:"off topic"', "mountain", "strasse", '"river 4"',
    "%", "_", "fruit",
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(TERMS)), max_size=4))
def test_a_query_finds_what_it_means(life: Database, terms: list[tuple[bool, str]]) -> None:
    query = parse(" ".join(("-" if negated else "") + term for negated, term in terms))
    expected = []
    for row in samples.page(life, limit=1000):
        values, texts = facts(life, row)
        if holds(query, values, *texts):
            expected.append(row.id)
    assert finding.sample_ids(life, query) == expected
    assert finding.count_samples(life, query) == len(expected)
    for sample_id in (1, 9, 30):
        assert finding.is_found(life, query, sample_id) == (sample_id in expected)


@pytest.mark.parametrize("term", TERMS)
def test_a_term_and_its_contrary_divide_the_samples(life: Database, term: str) -> None:
    found = finding.count_samples(life, parse(term))
    left = finding.count_samples(life, parse(f"-{term}"))
    assert found + left == 30


def test_orders(life: Database) -> None:
    everything = Query()
    oldest = finding.sample_ids(life, everything)
    assert finding.sample_ids(life, everything, "newest") == oldest[::-1]
    rows = {row.id: row for row in samples.page(life, limit=1000)}
    sizes = [
        len(rows[i].instruction + rows[i].input + rows[i].output)
        for i in finding.sample_ids(life, everything, "longest")
    ]
    assert sizes == sorted(sizes, reverse=True)
    distance = {
        i: min(abs(v.score - v.threshold) for v in samples.verdicts(life, i) if v.score is not None and v.threshold)
        for i in oldest
    }
    assert [distance[i] for i in finding.sample_ids(life, everything, "nearest")] == sorted(distance.values())
    shuffled = finding.sample_ids(life, everything, "random")
    assert sorted(shuffled) == oldest and shuffled != oldest
    assert shuffled == finding.sample_ids(life, everything, "random")
    assert finding.sample_ids(life, everything, after=25, limit=2) == [26, 27]


def test_words_are_values_and_never_sql(life: Database) -> None:
    for text in ("'; DROP TABLE samples; --", '") OR 1=1', ":q0", "?1"):
        escaped = text.replace('"', '\\"')
        assert finding.sample_ids(life, parse(f'"{escaped}"')) == []
        assert finding.sample_ids(life, parse(f'tag:"{escaped}"')) == []
    assert life["samples"].count == 30


def test_rejects_by_query(life: Database) -> None:
    every = finding.page_reject_keys(life, Query(), 0, 100)
    assert len(every) == finding.count_rejects(life, Query()) > 0
    assert {kind for kind, *_ in every} == {"sample"}
    by_rule = parse("rule:near_duplicate_instance", REJECTS)
    assert {rule for *_, rule in finding.page_reject_keys(life, by_rule, 0, 100)} == {"near_duplicate_instance"}
    high = parse("rule:near_duplicate_instance rouge>0.7 river", REJECTS)
    rows = finding.page_reject_keys(life, high, 0, 100)
    assert [id for _, id, _ in rows] == [29] and finding.count_rejects(life, high) == 1
    assert finding.count_rejects(life, parse("kind:instruction", REJECTS)) == 0


def test_a_state_alone_is_answered_from_its_index(life: Database) -> None:
    finding.sample_ids(life, Query())  # registers the functions
    where = finding._where(parse("status:pending"))
    plan = life.execute(
        f"EXPLAIN QUERY PLAN SELECT s.id {finding._from(where.sql)} WHERE s.id > 0 AND {where.sql}", where.values
    ).fetchall()
    assert any("samples_by_state" in row[3] for row in plan), plan
