"""Data sets as text: Alpaca's JSON list, JSON lines, chat messages; and back."""

from __future__ import annotations

import json
from collections.abc import Iterable

from alpaca_tui.core.jsonrecords import Problem, read_records
from alpaca_tui.core.text import clean_text

Record = tuple[str, str, str, str]
"""(split, instruction, input, output)."""


def dump_alpaca(records: Iterable[Record]) -> str:
    """Alpaca's ``alpaca_data.json``: one list of objects with instruction, input, output (input may be empty)."""
    items = [{"instruction": i, "input": x, "output": y} for _, i, x, y in records]
    return json.dumps(items, ensure_ascii=False, indent=4) + "\n"


def dump_jsonl(records: Iterable[Record]) -> str:
    """One object a line with split, instruction, input, output."""
    return _lines({"split": s, "instruction": i, "input": x, "output": y} for s, i, x, y in records)


def dump_chat(records: Iterable[Record]) -> str:
    """One object a line with ``messages``: a user's (instruction, blank line, input) and an assistant's."""
    return _lines(
        {
            "messages": [
                {"role": "user", "content": f"{i}\n\n{x}" if x else i},
                {"role": "assistant", "content": y},
            ]
        }
        for _, i, x, y in records
    )


def _lines(items: Iterable[object]) -> str:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def load(data: bytes) -> tuple[list[Record], list[Problem]]:
    """The records of an Alpaca-shaped JSON list or of JSON lines, and every problem with its line.

    ``split`` is 'train' where a record names none. Control characters are dropped from the texts.
    """
    found, problems = read_records(data)
    records: list[Record] = []
    for record in found:
        fields = record.fields
        if fields is None:
            continue
        split = fields.get("split", "train")
        texts = [fields.get("instruction"), fields.get("input", ""), fields.get("output")]
        instruction, input, output = (clean_text(text) if isinstance(text, str) else "" for text in texts)
        if not all(isinstance(text, str) for text in texts):
            problems.append(record.problem("", "fields", "instruction, input and output must be texts"))
        elif not instruction.strip() or not output.strip():
            problems.append(record.problem("", "empty", "instruction and output must not be empty"))
        elif split not in ("train", "held_out"):
            problems.append(record.problem("", "split", f"split must be train or held_out, not {split!r}"))
        else:
            records.append((split, instruction, input, output))
    return records, sorted(problems, key=lambda problem: problem.line)
