"""The short way into the cockpit: when it is taken, and for which projects the database need not be opened first."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from alpaca_tui.cli import cockpit
from alpaca_tui.store import database, projects, ready
from alpaca_tui.ui.options import UiOptions


def test_the_cockpit_s_own_options_are_understood() -> None:
    assert cockpit.asked([]) == (None, UiOptions())
    assert cockpit.asked(["--project", "x y", "--ascii", "--no-mouse"]) == (
        Path("x y"),
        UiOptions(ascii=True, no_mouse=True),
    )
    assert cockpit.asked(["--slow", "--readonly", "--project=a=b"]) == (
        Path("a=b"),
        UiOptions(slow=True, readonly=True),
    )


@pytest.mark.parametrize(
    "arguments", [["status"], ["--project"], ["--project", "x", "seeds", "list"], ["--help"], ["--json"], ["--asci"]]
)
def test_all_else_is_parsed_by_the_command_line(arguments: list[str]) -> None:
    assert cockpit.asked(arguments) is None


def test_a_project_of_this_version_is_ready(tmp_path: Path) -> None:
    assert not ready.is_ready(tmp_path)
    db, _ = projects.ensure(tmp_path)
    assert ready.is_ready(tmp_path)
    db["_sqlite_migrations"].delete_where("name = (SELECT max(name) FROM _sqlite_migrations)")
    assert not ready.is_ready(tmp_path), "its schema is an older one"
    db.conn.close()


def test_a_project_without_its_seeds_is_not_ready(tmp_path: Path) -> None:
    database.create_project(tmp_path).conn.close()
    assert not ready.is_ready(tmp_path)


def test_what_is_no_database_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "alpaca.db").write_bytes(b"no database at all" * 100)
    assert not ready.is_ready(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_database_that_cannot_be_read_is_not_ready(tmp_path: Path) -> None:
    projects.ensure(tmp_path)[0].conn.close()
    (tmp_path / "alpaca.db").chmod(0)
    assert not ready.is_ready(tmp_path)


def test_asking_leaves_a_busy_database_alone(tmp_path: Path) -> None:
    projects.ensure(tmp_path)[0].conn.close()
    writer = sqlite3.connect(tmp_path / "alpaca.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert ready.is_ready(tmp_path)
    writer.close()
