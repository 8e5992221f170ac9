"""Killed with -9 while keys stream in: no decision that the reviewer saw answered is lost, and none is made twice."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import time
from pathlib import Path

import pytest

from alpaca_tui.store import database
from store.filling import Filler

from .test_terminal import Terminal

RUNS = 20
SAMPLES = 1500
ANSWERED = re.compile(r"#(\d+) (accepted|rejected)")
"""Stands in the head with the next card, once the decision is committed."""


def fill(project: Path) -> None:
    db = database.create_project(project)
    filler = Filler(db)
    first = filler.sample()
    with database.write(db):
        candidate, call = db.execute("SELECT candidate_id, completion_id FROM samples WHERE id = ?", [first]).fetchone()
        db.conn.executemany(
            "INSERT INTO samples (id, candidate_id, completion_id, position, state, created_at) "
            "VALUES (?, ?, ?, ?, 'pending', 0)",
            [(i, candidate, call, i) for i in range(2, SAMPLES + 1)],
        )
        db.conn.executemany(
            "INSERT INTO sample_revisions (sample_id, revision, author, instruction, input, output, created_at) "
            "VALUES (?, 1, 'model', ?, '', 'An answer.', 0)",
            [(i, f"Name thing number {i}.") for i in range(2, SAMPLES + 1)],
        )
    db.conn.close()


def one_run(project: Path, rng: random.Random) -> dict[int, str]:
    """Stream keys for a random time, kill; return what was answered on the screen."""
    terminal = Terminal(project, columns=80, rows=24)
    terminal.wait_for("disk")
    terminal.child.send("2")
    terminal.wait_for("showing pending")
    answered: dict[int, str] = {}
    end = time.monotonic() + rng.uniform(0.1, 1.2)
    while time.monotonic() < end:
        terminal.child.send("".join(rng.choices("aar", k=rng.randint(1, 3))))
        terminal.read(rng.uniform(0.005, 0.06))
        for sample_id, what in ANSWERED.findall(terminal.screen.display[1]):
            answered[int(sample_id)] = what
    terminal.child.kill(signal.SIGKILL)
    with contextlib.suppress(Exception):
        terminal.child.close(force=True)
    return answered


@pytest.mark.slow
def test_no_answered_decision_is_lost_and_none_is_made_twice(tmp_path: Path) -> None:
    project = tmp_path / "project"
    fill(project)
    rng = random.Random(20)
    answered: dict[int, str] = {}
    for _ in range(RUNS):
        new = one_run(project, rng)
        # A new run goes on where the last one was: it never shows a sample that is judged.
        assert not answered.keys() & new.keys()
        answered |= new
    db = database.open_project(project)
    stored = {r["sample_id"]: r["to_state"] for r in db["decisions"].rows}
    assert db["decisions"].count == len(stored)
    assert {i: stored.get(i) for i in answered} == answered
    states = dict(db.execute("SELECT id, state FROM samples WHERE state <> 'pending'").fetchall())
    assert states == stored
    assert len(answered) > RUNS, "hardly any decision was seen to be answered: the test would prove nothing"
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    db.conn.close()
