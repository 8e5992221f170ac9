"""Whether a project can be shown as it is, asked with Python's own SQLite: the cockpit's first frame waits for this."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alpaca_tui import resources
from alpaca_tui.store.names import DATABASE_NAME, MIGRATION_SET, SEEDED


def is_ready(project: Path) -> bool:
    """True where the database is there, readable, of this version's schema, and seeded; False: open it and see."""
    path = project / DATABASE_NAME
    if not path.is_file():
        return False
    try:
        conn = sqlite3.connect(path, isolation_level=None, timeout=1.0)
        try:
            applied = conn.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", [MIGRATION_SET])
            if {name for (name,) in applied} != {file.stem for file in resources.migrations()}:
                return False
            return conn.execute("SELECT 1 FROM project WHERE key = ?", [SEEDED]).fetchone() is not None
        finally:
            conn.close()
    except sqlite3.Error:
        return False
