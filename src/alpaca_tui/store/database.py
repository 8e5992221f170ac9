"""Opening a project's SQLite file: durable settings, migrations, short write transactions."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from alpaca_tui import resources
from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.store.names import DATABASE_NAME, MIGRATION_SET

BUSY_TIMEOUT_S = 10.0


def database_path(project: Path) -> Path:
    """The database file of a project directory."""
    return project / DATABASE_NAME


def create_project(project: Path) -> Database:
    """Create the directory (0700) and the database (0600) where missing, then open it.

    Raises AlpacaError where the directory cannot be written.
    """
    try:
        project.mkdir(mode=0o700, parents=True, exist_ok=True)
        (project / "runs").mkdir(mode=0o700, exist_ok=True)
        path = database_path(project)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise AlpacaError(
            f"cannot create a project in {project}: {error.strerror}; "
            "choose a directory you may write to with --project DIR"
        ) from error
    return open_project(project)


def open_project(project: Path) -> Database:
    """Open the project's database and bring its schema up to date.

    Raises AlpacaError where the file is missing, unreadable, not a database, or newer than this version.
    """
    path = database_path(project)
    if not path.is_file():
        raise AlpacaError(
            f"{project} holds no project ({DATABASE_NAME} is missing); create one with: "
            f"alpaca-tui init --project {project}"
        )
    try:
        db = _connect(path)
        _migrate(db, path)
    except sqlite3.DatabaseError as error:
        raise _open_error(path, error) from error
    return db


def _connect(path: Path) -> Database:
    # isolation_level None: transactions begin and end only where the code says so. The UI reads in a thread of
    # its own, one connection a thread, hence no cross-thread use; a fork must open anew.
    conn = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY"):
        conn.execute(f"PRAGMA {pragma}")
    return Database(conn)


def _open_error(path: Path, error: sqlite3.DatabaseError) -> AlpacaError:
    text = str(error)
    if "not a database" in text or "malformed" in text:
        return AlpacaError(f"{path} is not a SQLite database ({text}); restore a copy or move it away")
    if "readonly" in text or "unable to open" in text:
        return AlpacaError(f"{path} cannot be opened for writing ({text}); check its owner and permissions")
    if "full" in text or "disk I/O" in text:
        return AlpacaError(f"{path} cannot be opened: its disk is full or failing ({text}); free some space")
    return AlpacaError(f"{path} cannot be opened: {text}")


def _migrate(db: Database, path: Path) -> None:
    migrations = Migrations(MIGRATION_SET)
    for file in resources.migrations():
        _register(migrations, file)
    known = {file.stem for file in resources.migrations()}
    newer = sorted({m.name for m in migrations.applied(db)} - known)
    if newer:
        raise AlpacaError(
            f"{path} was written by a newer alpaca-tui (its schema has {newer[-1]}); upgrade alpaca-tui to open it"
        )
    if migrations.pending(db):
        # One immediate transaction around all of them: of two processes opening at once, one waits, then finds
        # nothing to do.
        with write(db):
            migrations.apply(db)


def _register(migrations: Migrations, file: Path) -> None:
    @migrations(name=file.stem)
    def apply(db: Database) -> None:
        db.executescript(file.read_text("utf-8"))


@contextmanager
def write(db: Database) -> Iterator[Database]:
    """One short write transaction; a nested one joins the outer. Raises AlpacaError on a full disk."""
    if db.conn.in_transaction:
        yield db
        return
    try:
        db.conn.execute("BEGIN IMMEDIATE")
        yield db
        db.conn.execute("COMMIT")
    except BaseException as error:
        if db.conn.in_transaction:
            db.conn.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError):
            raise _write_error(error) from error
        raise


@contextmanager
def snapshot(db: Database) -> Iterator[Database]:
    """Several reads as of one moment; within a transaction, as of that one."""
    if db.conn.in_transaction:
        yield db
        return
    db.conn.execute("BEGIN")
    try:
        yield db
    finally:
        db.conn.execute("ROLLBACK")


def _write_error(error: sqlite3.OperationalError) -> AlpacaError:
    text = str(error)
    lost = "the last step was not saved, all before it was"
    if "full" in text or "disk I/O" in text:
        return AlpacaError(
            f"the disk that holds the project is full or failing ({text}): {lost}; free space and resume"
        )
    if "locked" in text or "busy" in text:
        return AlpacaError(
            f"another process has held the project's database for over {BUSY_TIMEOUT_S:.0f} s: {lost}; try again"
        )
    return AlpacaError(f"the project's database refused a change ({text}): {lost}")


def data_version(db: Database) -> int:
    """A number that changes when another connection has committed (microseconds to ask)."""
    return int(db.conn.execute("PRAGMA data_version").fetchone()[0])


def now() -> float:
    """Seconds since the epoch; the one clock of the store."""
    return time.time()
