"""Where the data folders lie: inside an installed wheel, or at the top of the repository."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


@cache
def folder(name: str) -> Path:
    """The folder ``seed_tasks``, ``styles`` or ``db``: the packaged copy if there is one, else the repository's.

    An editable install does not show hatchling's forced files to ``importlib.resources``, hence the second place.
    """
    for base in (_PACKAGE / "_data", _PACKAGE.parents[1]):
        if (base / name).is_dir():
            return base / name
    raise FileNotFoundError(f"the data folder {name!r} is neither in the package nor in the repository")


def seed_tasks_path() -> Path:
    """The shipped file of 175 seed tasks."""
    return folder("seed_tasks") / "seed_tasks.jsonl"


def prompt_packs_dir() -> Path:
    """The folder that holds one folder per shipped prompt pack."""
    return folder("seed_tasks") / "prompts"


def migrations() -> list[Path]:
    """The SQL migrations in the order in which they apply."""
    return sorted((folder("db") / "migrations").glob("[0-9]*.sql"))


@cache
def query(name: str) -> str:
    """The text of ``db/queries/<name>.sql``."""
    return (folder("db") / "queries" / f"{name}.sql").read_text("utf-8")


def styles_dir() -> Path:
    """The folder of Textual CSS and themes."""
    return folder("styles")
