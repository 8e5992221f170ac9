"""A training as a folder of plain files, for machines that share no project: configuration and examples in, result out.

``config.json``, ``train.jsonl`` and ``held_out.jsonl`` (one ``{"prompt", "response"}`` a line) and ``about.json`` (what
the data are) go in; ``output/``, ``metrics.jsonl``, ``events.jsonl`` and ``result.json`` come out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Folder:
    """What a training folder holds before it is run."""

    config: TrainConfig
    train: list[TrainingExample]
    held_out: list[TrainingExample]
    about: dict[str, Any]


def write(
    folder: Path,
    config: TrainConfig,
    train: Sequence[TrainingExample],
    held_out: Sequence[TrainingExample],
    about: Mapping[str, Any],
) -> None:
    """Write a training to ``folder``. Raises AlpacaError where that is not an empty or a new one."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AlpacaError(f"{folder} is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.model_dump_json(indent=1), "utf-8")
    for name, examples in (("train", train), ("held_out", held_out)):
        lines = (json.dumps({"prompt": e.prompt, "response": e.response}, ensure_ascii=False) for e in examples)
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8", "surrogatepass")
    (folder / "about.json").write_text(json.dumps(dict(about), indent=1, ensure_ascii=False), "utf-8")


def read(folder: Path) -> Folder:
    """The training in ``folder``. Raises AlpacaError that names the file at fault."""
    try:
        values = json.loads((folder / "config.json").read_text("utf-8"))
        splits = [
            [TrainingExample(**json.loads(line)) for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines()]
            for name in ("train", "held_out")
        ]
        about = json.loads((folder / "about.json").read_text("utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise AlpacaError(f"the training folder {folder} cannot be read: {error}") from error
    return Folder(TrainConfig.parse(values), splits[0], splits[1], about)
