"""The model card: what a model was made of and how, in the file that the hub and people look for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from alpaca_tui.core.masking import EncodingReport
from alpaca_tui.core.presets import Method

_ROWS = 12
_PATHS = ("model", "output_dir", "resume", "device", "report_to")
_LICENCE = re.compile(r"^license:\s*['\"]?([^\s'\"]+)", re.MULTILINE)


def model_card(
    method: Method,
    settings: Mapping[str, Any],
    about: Mapping[str, Any],
    report: EncodingReport,
    log: Sequence[Mapping[str, Any]],
) -> str:
    """The card as Markdown. ``log`` is the Trainer's history; ``about`` may name ``base``, ``base_licence``,
    ``dataset``, ``data_hash`` and ``data_licence``. No path of this machine goes in.
    """
    base = str(about.get("base") or Path(str(settings["model"])).name)
    template = Environment(undefined=StrictUndefined, autoescape=False).from_string(
        (files("alpaca_tui") / "training" / "model_card.md.jinja").read_text("utf-8")
    )
    return template.render(
        title=f"{base}, tuned",
        adapter=method != "full",
        method={"lora": "LoRA", "qlora": "QLoRA", "full": "full fine-tuning"}[method],
        base=base,
        base_licence=about.get("base_licence") or licence_of(Path(str(settings["model"]))),
        dataset=_cell(about.get("dataset")),
        data_hash=about.get("data_hash"),
        data_licence=_cell(about.get("data_licence")),
        report=report,
        rows=_rows(log),
        settings={name: value for name, value in settings.items() if name not in _PATHS},
    )


def merged_card(adapter: Path, base: Path) -> str:
    """The card of a merged model: its adapter's, with what has changed."""
    try:
        card = (adapter / "README.md").read_text("utf-8")
    except OSError:
        return f"# {base.name}, merged\n\nAn adapter without a model card, folded into its base {base.name}.\n"
    return card.replace("library_name: peft", "library_name: transformers").replace(
        "An adapter (LoRA) made by", "A whole model, its adapter (LoRA) folded in, made by"
    )


def licence_of(model: Path) -> str | None:
    """The licence that a model directory states in its card, if it does."""
    try:
        head = (model / "README.md").read_text("utf-8", errors="replace")[:4000]
    except OSError:
        return None
    found = _LICENCE.search(head)
    return found[1] if found else None


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ") if value else ""


def _rows(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """First, last and some steps between, with every held-out loss that was taken at them."""
    by_step: dict[int, dict[str, Any]] = {}
    for item in log:
        row = by_step.setdefault(int(item.get("step", 0)), {"step": int(item.get("step", 0))})
        for name, key in (("loss", "loss"), ("held_out", "eval_loss")):
            if key in item:
                row[name] = f"{item[key]:.4f}"
    evaluated = [step for step, row in by_step.items() if "held_out" in row]
    steps = sorted(by_step)
    picked = {steps[0], steps[-1]} if steps else set()
    picked |= set(evaluated[:: max(1, len(evaluated) // _ROWS)]) | set(evaluated[-1:])
    if len(picked) < _ROWS:
        picked |= set(steps[:: max(1, len(steps) // _ROWS)])
    return [{"loss": "", "held_out": "", **by_step[step]} for step in sorted(picked)]
