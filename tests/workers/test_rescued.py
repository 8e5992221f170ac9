"""A rescued instruction counts as known for the generation that is under way, and no longer when that is undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from alpaca_tui.config import RulesConfig
from alpaca_tui.core.records import Verdict
from alpaca_tui.store import database, decisions
from alpaca_tui.store.database import write
from alpaca_tui.workers.screening import Screen
from store.filling import Filler

FOX = "Describe how a red fox hunts for mice under the deep snow of winter."
LIKE = "Describe how a red fox hunts for mice under the deep snow of spring."


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = database.create_project(tmp_path / "p")
    yield opened
    opened.close()


def rejecting_rule(screen: Screen, db: Database, text: str) -> str | None:
    with write(db):
        screen.catch_up()
        return next((v.rule for v in screen.judge_instruction(text) if not v.passed), None)


def test_the_worker_heeds_a_rescue_and_its_undoing(db: Database) -> None:
    filler = Filler(db)
    lost = filler.candidate(FOX, Verdict("banned_words", False))
    filler.candidate("Name three rivers that cross a border twice.")
    screen = Screen(db, 0.7, RulesConfig())
    assert rejecting_rule(screen, db, LIKE) is None
    decisions.rescue(db, candidate_ids=[lost])
    assert rejecting_rule(screen, db, LIKE) == "novelty"
    decisions.undo(db)
    assert rejecting_rule(screen, db, LIKE) is None
    assert rejecting_rule(screen, db, "Name three rivers that cross a border often.") == "novelty"
    decisions.redo(db)
    assert rejecting_rule(screen, db, LIKE) == "novelty"
    assert rejecting_rule(Screen(db, 0.7, RulesConfig()), db, LIKE) == "novelty"
