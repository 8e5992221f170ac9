"""Checkpoints of a run: sealed when whole, found again by proof rather than by number."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from alpaca_tui.core.errors import AlpacaError, RefusedError
from alpaca_tui.training.manifest import MANIFEST, check, seal

_NAME = re.compile(r"checkpoint-(\d+)")
# The Trainer pickles its arguments into every checkpoint and never reads them back; nothing of ours is a pickle
# that has to be trusted.
_UNWANTED = "training_args.bin"


@dataclass(frozen=True, slots=True)
class Found:
    """The newest checkpoint that verifies, if any, and for every newer one that does not, why."""

    newest: Path | None
    torn: tuple[tuple[Path, str], ...]


def step_of(checkpoint: Path) -> int:
    """The optimiser step after which the checkpoint was taken."""
    match = _NAME.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"{checkpoint} is not named like a checkpoint")
    return int(match[1])


def checkpoints(output_dir: Path) -> list[Path]:
    """All folders named like a checkpoint, newest step first, whole or not."""
    if not output_dir.is_dir():
        return []
    return sorted(
        (item for item in output_dir.iterdir() if item.is_dir() and _NAME.fullmatch(item.name)),
        key=step_of,
        reverse=True,
    )


def seal_checkpoint(checkpoint: Path, fingerprint: str) -> None:
    """Declare a checkpoint whole. ``fingerprint`` says which run it belongs to."""
    (checkpoint / _UNWANTED).unlink(missing_ok=True)
    seal(checkpoint, {"step": step_of(checkpoint), "fingerprint": fingerprint})


def find_newest(output_dir: Path, fingerprint: str) -> Found:
    """The newest checkpoint whose files are all as they were written.

    Raises RefusedError where that checkpoint belongs to a run with other data or other settings.
    """
    torn: list[tuple[Path, str]] = []
    for checkpoint in checkpoints(output_dir):
        try:
            manifest = check(checkpoint)
        except AlpacaError as error:
            torn.append((checkpoint, str(error)))
            continue
        if manifest.facts.get("fingerprint") != fingerprint:
            raise RefusedError(
                f"{checkpoint} was made with other data or other settings; train into another folder, "
                "or repeat the run with the settings that it was started with"
            )
        return Found(checkpoint, tuple(torn))
    return Found(None, tuple(torn))


def set_aside(checkpoint: Path) -> Path:
    """Rename a torn checkpoint so that the run can write its number again. Returns the new place."""
    aside = checkpoint.with_name(f"torn-{checkpoint.name}")
    shutil.rmtree(aside, ignore_errors=True)
    return checkpoint.rename(aside)


def rotate(output_dir: Path, keep: int) -> list[Path]:
    """Delete all but the newest ``keep`` sealed checkpoints; called after a seal, so one whole one always remains.

    Returns what was deleted. The manifest goes first: a deletion cut short leaves a torn checkpoint, not a liar.
    """
    sealed = [item for item in checkpoints(output_dir) if (item / MANIFEST).is_file()]
    for checkpoint in sealed[keep:]:
        (checkpoint / MANIFEST).unlink()
        shutil.rmtree(checkpoint)
    return sealed[keep:]
