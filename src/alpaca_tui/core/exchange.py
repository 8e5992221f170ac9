"""Data sets as text: Alpaca's JSON list, and JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable

Record = tuple[str, str, str, str]
"""(split, instruction, input, output)."""


def dump_alpaca(records: Iterable[Record]) -> str:
    """Alpaca's ``alpaca_data.json``: one list of objects with instruction, input, output (input may be empty)."""
    items = [{"instruction": i, "input": x, "output": y} for _, i, x, y in records]
    return json.dumps(items, ensure_ascii=False, indent=4) + "\n"


def dump_jsonl(records: Iterable[Record]) -> str:
    """One object a line with split, instruction, input, output."""
    lines = (
        json.dumps({"split": s, "instruction": i, "input": x, "output": y}, ensure_ascii=False)
        for s, i, x, y in records
    )
    return "".join(line + "\n" for line in lines)
