"""An adapter folded into its base, in a process of its own: the callers of this module must not load torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.jobs import models
from alpaca_tui.store import jobs


def merge(db: Database | None, adapter: str, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Make the model directory ``out`` of an adapter (a folder, or a training job's number) and its base.

    Returns ``model``, ``base``, ``adapter`` and what it ``says``. ``out`` appears only whole, and only when the merged
    model has been read back by a fresh process. Raises UsageError where there is nothing to merge or ``out`` exists.
    """
    base, folder = _source(db, adapter)
    if out.exists() and not force:
        raise UsageError(f"{out} exists already; name a new directory, or replace it with --force")
    if out in (base, folder) or out in folder.parents or out in base.parents:
        raise UsageError(f"{out} holds the model or the adapter itself; name another directory")
    command = [sys.executable, "-m", "alpaca_tui.training.merge", str(base), str(folder), str(out)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"merging ended with code {done.returncode}"])[-1]
        raise AlpacaError(last.removeprefix("error: "))
    return json.loads(done.stdout.strip().splitlines()[-1])


def _source(db: Database | None, adapter: str) -> tuple[Path, Path]:
    """(base, adapter) directories."""
    if db is not None:
        job = jobs.get(db, int(adapter.removeprefix("job:")))
        made = (job.result or {}).get("adapter")
        if job.kind != "train" or job.state != "succeeded" or not made:
            raise UsageError(f"job {job.id} is a {job.kind} job that is {job.state}; it has no adapter to merge")
        if (job.result or {}).get("method") == "full":
            raise UsageError(f"job {job.id} tuned all weights: its result is a model of its own already, {made}")
        base = models.resolve(job.spec["model"]).path
        folder = Path(made)
    else:
        folder = Path(adapter).expanduser().absolute()
        if not (folder / "adapter_config.json").is_file():
            raise UsageError(f"{folder} is no adapter: it has no adapter_config.json")
        base = models.resolve(str(folder)).path
    if base is None:
        raise AlpacaError(f"the base model of {folder} is not on this machine")
    return base.absolute(), folder
