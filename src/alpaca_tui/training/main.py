"""``accelerate launch … -m alpaca_tui.training.main FOLDER``: a training without a project, one process of it.

For several machines: no process but this package's own is needed there, and no database is shared. Exit codes as
everywhere: 0 done, 1 failed, 3 refused, 75 stopped at request with a checkpoint.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from alpaca_tui.core.errors import AlpacaError, Cancelled
from alpaca_tui.training import folder as folders
from alpaca_tui.training.callbacks import StopOnSignal
from alpaca_tui.training.prove import prove_result
from alpaca_tui.training.run import run
from alpaca_tui.training.sharding import world

EXIT_STOPPED = 75


class _Lines:
    """Metrics and events as JSON lines in the folder; only process 0 is called."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self._append("metrics", {"step": step, **values})

    def event(self, kind: str, message: str) -> None:
        print(message, flush=True)
        self._append("events", {"kind": kind, "message": message})

    def _append(self, name: str, value: dict[str, Any]) -> None:
        with (self._folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(value, ensure_ascii=False) + "\n")


def main(arguments: list[str]) -> int:
    """Train what the folder says; process 0 proves the result and writes ``result.json``."""
    if len(arguments) != 1:
        print("usage: python -m alpaca_tui.training.main FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0]).absolute()
    stop = StopOnSignal()
    lines = _Lines(folder)
    try:
        asked = folders.read(folder)
        result = run(asked.config, asked.train, asked.held_out, lines.metrics, lines.event, stop, about=asked.about)
        if world()[1] == 0 and result.adapter is not None:
            prove_result(result.adapter, asked.config, asked.held_out or asked.train, lines.event)
    except Cancelled:
        return EXIT_STOPPED
    except AlpacaError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    if world()[1] == 0:
        value = {
            "steps": result.steps,
            "loss_first": result.loss_first,
            "loss_last": result.loss_last,
            "eval_loss_first": result.eval_loss_first,
            "eval_loss_last": result.eval_loss_last,
            "adapter": str(result.adapter) if result.adapter else None,
        }
        (folder / "result.json").write_text(json.dumps(value, indent=1), "utf-8")
    return EXIT_STOPPED if result.stopped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
