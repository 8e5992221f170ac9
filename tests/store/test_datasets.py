"""A frozen data set never changes, and says what it is."""

from __future__ import annotations

import json

import pytest
from sqlite_utils import Database

from alpaca_tui.core import exchange
from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.store import datasets, decisions
from store.filling import Filler


def accepted(db: Database, filler: Filler, count: int) -> list[int]:
    ids = [filler.sample(f"Name fruit number {i}.", f"Fruit {i}.") for i in range(count)]
    decisions.decide(db, "accept", ids)
    return ids


def test_freezing_fixes_membership_split_and_hash(db: Database, filler: Filler) -> None:
    ids = accepted(db, filler, 10)
    row = datasets.freeze(db, "first", held_out=0.2, seed=3)
    examples = datasets.examples(db, row.id)
    assert (row.card["train"], row.card["held_out"], len(examples)) == (8, 2, 10)
    assert row.content_hash == datasets.content_hash(examples)
    decisions.edit(db, ids[0], "Changed.", "", "Changed.")
    decisions.decide(db, "reject", ids[1:])
    assert datasets.examples(db, row.id) == examples
    second = datasets.freeze(db, "second", held_out=0.0)
    assert (second.card["examples"], second.content_hash != row.content_hash) == (1, True)


def test_the_same_rows_and_seed_give_the_same_hash(db: Database, filler: Filler) -> None:
    accepted(db, filler, 6)
    same = {datasets.freeze(db, name, held_out=0.3, seed=1).content_hash for name in ("a", "b")}
    other = datasets.freeze(db, "c", held_out=0.5, seed=1).content_hash
    assert len(same) == 1
    assert other not in same


def test_small_sets_hold_out_one_and_train_on_the_rest(db: Database, filler: Filler) -> None:
    accepted(db, filler, 2)
    assert datasets.freeze(db, "two", held_out=0.1).card["held_out"] == 1


def test_nothing_accepted_and_taken_names_are_clear(db: Database, filler: Filler) -> None:
    filler.sample()
    with pytest.raises(AlpacaError, match="nothing to freeze: no sample is accepted yet"):
        datasets.freeze(db, "empty")
    accepted(db, filler, 2)
    datasets.freeze(db, "taken")
    with pytest.raises(UsageError, match="'taken' exists already"):
        datasets.freeze(db, "taken")
    with pytest.raises(UsageError, match=r"no data set 'other' \(there are: taken\)"):
        datasets.get(db, "other")


def test_a_data_set_exported_and_imported_is_the_same_data_set(db: Database, filler: Filler) -> None:
    accepted(db, filler, 8)
    first = datasets.freeze(db, "first", held_out=0.25)
    rows = [(e.split, e.instruction, e.input, e.output) for e in datasets.examples(db, first.id)]
    records, problems = exchange.load(exchange.dump_jsonl(rows).encode())
    assert problems == []
    assert datasets.take(db, "again", records).content_hash == first.content_hash
    records, problems = exchange.load(exchange.dump_alpaca(rows).encode())
    assert [r[1:] for r in records] == [r[1:] for r in rows]
    assert datasets.take(db, "alpaca", records, held_out=0.25).card["held_out"] == 2


def test_faults_of_an_imported_file_are_named_with_their_lines() -> None:
    lines = ['{"instruction": "a", "output": "b"}', '{"instruction": "", "output": "b"}', '{"instruction": 3}', "{"]
    records, problems = exchange.load("\n".join(lines).encode())
    assert records == [("train", "a", "", "b")]
    assert [p.line for p in problems] == [2, 3, 4]


def test_chat_rows_put_the_input_below_the_instruction() -> None:
    text = exchange.dump_chat([("train", "Add.", "1 2", "3"), ("train", "Hi?", "", "Ho.")])
    first, second = [json.loads(line)["messages"] for line in text.splitlines()]
    assert first[0] == {"role": "user", "content": "Add.\n\n1 2"}
    assert [m["content"] for m in second] == ["Hi?", "Ho."]
