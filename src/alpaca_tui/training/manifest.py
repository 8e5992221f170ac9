"""Folders that are either whole or known to be torn: a manifest of sizes and hashes, written last."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpaca_tui.core.errors import AlpacaError

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder must hold: ``files`` maps a relative name to (bytes, sha256); ``facts`` say what it is."""

    facts: dict[str, Any]
    files: dict[str, tuple[int, str]]


def seal(folder: Path, facts: dict[str, Any]) -> Manifest:
    """Hash every file of ``folder``, force all of it to disk, then write the manifest in one rename.

    A power cut at any moment leaves a folder without a manifest, or one whose manifest is true.
    """
    files: dict[str, tuple[int, str]] = {}
    for path in sorted(item for item in folder.rglob("*") if item.is_file() and item.name != MANIFEST):
        _sync(path)
        files[path.relative_to(folder).as_posix()] = (path.stat().st_size, _sha256(path))
    temporary = folder / f".{MANIFEST}.tmp"
    named = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in files.items()}
    temporary.write_text(json.dumps({"facts": facts, "files": named}, indent=1), "utf-8")
    _sync(temporary)
    temporary.rename(folder / MANIFEST)
    _sync(folder)
    return Manifest(facts, files)


def check(folder: Path) -> Manifest:
    """The manifest of a folder whose every file is as it was when sealed.

    Raises AlpacaError that names the first thing amiss.
    """
    try:
        raw = json.loads((folder / MANIFEST).read_text("utf-8"))
        files = {name: (int(item["bytes"]), str(item["sha256"])) for name, item in raw["files"].items()}
        facts = dict(raw["facts"])
    except FileNotFoundError as error:
        raise AlpacaError(f"{folder} has no {MANIFEST}: it was not written to the end") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AlpacaError(f"{folder / MANIFEST} cannot be read: {error}") from error
    # Sizes first: a truncated file is found without hashing gigabytes.
    for name, (size, _) in files.items():
        actual = (folder / name).stat().st_size if (folder / name).is_file() else None
        if actual != size:
            found = "is missing" if actual is None else f"has {actual} bytes instead of {size}"
            raise AlpacaError(f"{folder / name} {found}")
    for name, (_, digest) in files.items():
        if _sha256(folder / name) != digest:
            raise AlpacaError(f"{folder / name} is not what was written (its sha256 differs)")
    return Manifest(facts, files)


def replace_folder(new: Path, target: Path) -> None:
    """Put the folder ``new`` at ``target``; what was there before goes only once the new one is in place."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
