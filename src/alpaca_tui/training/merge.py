"""``python -m alpaca_tui.training.merge BASE ADAPTER OUT``: make a standalone model, proven in a fresh process."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training.manifest import replace_folder
from alpaca_tui.training.prove import ask
from alpaca_tui.training.save import merge

_QUESTION = TrainingExample("### Instruction:\nName three colours.\n\n### Response:\n", "")


def main(arguments: list[str]) -> int:
    """Merge; one JSON object on stdout, or a sentence on stderr and exit code 1."""
    base, adapter, out = map(Path, arguments)
    trial = out.with_name(f".{out.name}.trial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        merge(base, adapter, trial)
        says = ask(trial, None, [_QUESTION])[0].text.strip()
        replace_folder(trial, out)
    except AlpacaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    print(json.dumps({"model": str(out), "base": str(base), "adapter": str(adapter), "says": says[:200]}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
