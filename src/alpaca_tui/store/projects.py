"""A project as a whole: created with the shipped seeds, opened again."""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core import seedfile
from alpaca_tui.store import seeds
from alpaca_tui.store.database import create_project, database_path, open_project, write
from alpaca_tui.store.names import SEEDED


def ensure(project: Path) -> tuple[Database, bool]:
    """Open the project, creating it with the shipped seeds where it is new; return (database, whether it was new)."""
    new = not database_path(project).is_file()
    db = create_project(project) if new else open_project(project)
    if not db["project"].count_where("key = ?", [SEEDED]):
        tasks = seedfile.parse_seed_file(resources.seed_tasks_path().read_bytes()).tasks
        # Seeds and mark together: a kill in between must not leave a project without seeds for good.
        with write(db):
            if not seeds.count(db):
                seeds.add(db, tasks)
            db.execute("INSERT OR IGNORE INTO project (key, value) VALUES (?, ?)", [SEEDED, "shipped"])
    return db, new
