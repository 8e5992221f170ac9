"""The checkpoints of a training run as their folders tell, without reading gigabytes and without torch."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from alpaca_tui.jobs.live import run_dir

_NAME = re.compile(r"(torn-)?checkpoint-(\d+)")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One folder. ``problem`` is None where the manifest is there and every file has the size that it names.

    The hashes are compared when a run is resumed. ``bytes`` is what the folder holds, ``saved_at`` in seconds since
    the epoch.
    """

    name: str
    step: int
    bytes: int
    saved_at: float
    problem: str | None


def checkpoints(project: Path, job_id: int) -> tuple[Checkpoint, ...]:
    """All folders of the job that are named like a checkpoint, newest step first."""
    folder = run_dir(project, job_id) / "output"
    try:
        found = [(item, match) for item in folder.iterdir() if (match := _NAME.fullmatch(item.name)) and item.is_dir()]
    except OSError:
        return ()
    made = [_look(item, int(match[2]), aside=bool(match[1])) for item, match in found]
    return tuple(sorted(made, key=lambda c: (-c.step, c.name)))


def _look(folder: Path, step: int, *, aside: bool) -> Checkpoint:
    sizes: dict[str, int] = {}
    newest = 0.0
    for path in folder.rglob("*"):
        try:
            found = path.stat()
        except OSError:  # the run deletes old ones while we look
            continue
        if path.is_file():
            sizes[path.relative_to(folder).as_posix()] = found.st_size
            newest = max(newest, found.st_mtime)
    problem = "set aside: it was torn" if aside else _problem(folder, sizes)
    return Checkpoint(folder.name, step, sum(sizes.values()), newest, problem)


def _problem(folder: Path, sizes: dict[str, int]) -> str | None:
    try:
        named = json.loads((folder / "manifest.json").read_text("utf-8"))["files"]
        wanted = {str(name): int(item["bytes"]) for name, item in named.items()}
    except FileNotFoundError:
        return "no manifest: not written to the end"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read"
    for name, size in wanted.items():
        if sizes.get(name) != size:
            return f"{name} is missing" if name not in sizes else f"{name} has {sizes[name]} bytes, not {size}"
    return None
