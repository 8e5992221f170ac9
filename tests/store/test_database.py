"""Opening a project: settings, migrations, refusals."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.store import database, projects, seeds


def test_a_new_project_is_private_durable_and_holds_the_175_seeds(project: Path) -> None:
    db, new = projects.ensure(project)
    assert new
    assert stat.S_IMODE(project.stat().st_mode) == 0o700
    assert stat.S_IMODE((project / "alpaca.db").stat().st_mode) == 0o600
    pragmas = {
        name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")
    }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert seeds.count(db) == 175
    db.close()
    again, new = projects.ensure(project)
    assert not new
    assert seeds.count(again) == 175


def test_a_missing_project_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(AlpacaError, match=r"alpaca-tui init --project"):
        database.open_project(tmp_path)


def test_a_file_that_is_no_database_is_refused_and_left_alone(project: Path) -> None:
    project.mkdir()
    path = project / "alpaca.db"
    path.write_bytes(b"these are not the bytes of a database, whatever their number " * 100)
    before = path.read_bytes()
    with pytest.raises(AlpacaError, match="not a SQLite database"):
        database.open_project(project)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused_with_its_name(project: Path) -> None:
    db = database.create_project(project)
    db["_sqlite_migrations"].insert({"migration_set": "alpaca_tui", "name": "9999_future", "applied_at": "2099"})
    db.close()
    with pytest.raises(AlpacaError, match=r"newer alpaca-tui.*9999_future"):
        database.open_project(project)


def test_a_directory_that_is_not_writable_is_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(AlpacaError, match=r"cannot create a project in .*--project DIR"):
        database.create_project(blocked / "project")


def test_a_failed_write_changes_nothing(db: sqlite3.Connection) -> None:
    with pytest.raises(RuntimeError), database.write(db):
        db["project"].insert({"key": "a", "value": "1"})
        raise RuntimeError
    assert db["project"].count == 0


def test_a_full_disk_loses_only_the_last_step(db) -> None:  # type: ignore[no-untyped-def]
    with database.write(db):
        db["project"].insert({"key": "before", "value": "kept"})
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to run out of room
    with pytest.raises(AlpacaError, match="the disk that holds the project is full"), database.write(db):
        db["project"].insert_all({"key": f"k{i}", "value": "x" * 4000} for i in range(200))
    assert [row["key"] for row in db["project"].rows] == ["before"]


def test_two_processes_opening_a_new_project_at_once_both_succeed(project: Path) -> None:
    code = f"import pathlib, alpaca_tui.store.database as d; d.create_project(pathlib.Path({str(project)!r}))"
    running = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0, 0], errors


def test_another_connections_commit_is_seen_by_its_version(project: Path, db) -> None:  # type: ignore[no-untyped-def]
    before = database.data_version(db)
    other = database.open_project(project)
    with database.write(other):
        other["project"].insert({"key": "k", "value": "v"})
    assert database.data_version(db) != before
