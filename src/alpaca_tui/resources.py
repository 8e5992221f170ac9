"""Where things lie: the data folders (inside an installed wheel, or at the repository's top), the user's project."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from alpaca_tui.core.errors import UsageError

if TYPE_CHECKING:
    from alpaca_tui.core.prompts import Pack

PROJECT_VARIABLE = "ALPACA_TUI_PROJECT"

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


def project_directory(explicit: Path | None) -> Path:
    """``--project``, else the environment, else the current directory if it is a project, else the user's default."""
    if explicit is not None:
        return explicit.expanduser().absolute()
    named = os.environ.get(PROJECT_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    here = Path.cwd()
    if (here / "alpaca.db").is_file():
        return here
    return user_data_directory() / "default"


def user_data_directory() -> Path:
    """Where the user's own data lies that belong to no named project."""
    from platformdirs import user_data_path

    return user_data_path("alpaca-tui")


_PACK_SUFFIXES = {".toml", ".txt", ".jsonl"}
_PACK_FILE_BYTES = 1 << 20


def pack_names(overrides: Path | None = None) -> list[str]:
    """The names of all prompt packs, shipped ones and those in the folder ``overrides``, in alphabetical order."""
    places = [prompt_packs_dir(), *([overrides] if overrides is not None and overrides.is_dir() else [])]
    return sorted({path.parent.name for place in places for path in place.glob("*/pack.toml")})


def read_pack(name: str, overrides: Path | None = None) -> Pack:
    """The validated prompt pack of that name; a folder ``overrides/<name>/`` wins over the shipped pack.

    Raises UsageError for an unknown name, a file that is not UTF-8 text of at most 1 MiB, a manifest with another
    name, and all that ``parse_pack`` refuses.
    """
    # Imported here: the cockpit paints its first frame without Jinja and pydantic.
    from alpaca_tui.core.prompts import parse_pack

    known = pack_names(overrides)
    if name not in known:
        raise UsageError(f"there is no prompt pack {name!r}; the packs are {', '.join(known) or 'none'}")
    base = prompt_packs_dir() / name
    if overrides is not None and (overrides / name / "pack.toml").is_file():
        base = overrides / name
    paths = sorted(path for path in base.iterdir() if path.suffix in _PACK_SUFFIXES and path.is_file())
    pack = parse_pack({path.name: _pack_text(path) for path in paths})
    if pack.name != name:
        raise UsageError(f"{base / 'pack.toml'}: the name is {pack.name!r}, but the folder is {name!r}")
    return pack


def _pack_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if len(raw) > _PACK_FILE_BYTES:
            raise UsageError(f"{path}: a file of a prompt pack may have 1 MiB, this one has {len(raw):,} bytes")
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text: byte {error.start} is {raw[error.start]:#04x}") from error
