"""A frozen data set never changes, and says what it is."""

from __future__ import annotations

import pytest
from sqlite_utils import Database

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
