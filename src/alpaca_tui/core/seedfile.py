"""Files of seed tasks: Self-Instruct's ``seed_tasks.jsonl``, Alpaca's ``alpaca_data.json``, and the canonical form.

The border between files and records: a file is read as far as it can be, and every problem is reported at once with
its line. An *error* keeps the whole file from being imported; a *finding* is worth a look and harms nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alpaca_tui.core.jsonrecords import Problem, Record, read_records
from alpaca_tui.core.records import Instance, SeedTask
from alpaca_tui.core.text import clean_text

Shape = Literal["self-instruct", "alpaca"]

_NAME_WORDS = 6
# Legal inside a JSON string, yet some readers end a line there, or show nothing, or cannot encode it.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class SeedFile:
    """What a file holds: its sound tasks, the line on which each begins, and everything wrong with it."""

    tasks: tuple[SeedTask, ...]
    problems: tuple[Problem, ...]
    lines: tuple[int, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep the file from being imported."""
        return tuple(p for p in self.problems if p.severity == "error")


@dataclass(frozen=True, slots=True)
class Reference:
    """An instruction of another file, to compare with; ``id`` is ``line N`` where the file gives none."""

    line: int
    id: str
    instruction: str


class _Item(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _SeedInstance(_Item):
    input: str
    output: str


class _SeedItem(_Item):
    id: str
    name: str
    instruction: str
    instances: list[_SeedInstance] = Field(min_length=1)
    is_classification: bool


class _AlpacaItem(_Item):
    instruction: str
    input: str = ""
    output: str


def parse_seed_file(data: bytes | str) -> SeedFile:
    """Read seed tasks; never raises, whatever the bytes are.

    Read are JSON lines or one JSON list, of Self-Instruct's shape (``id``, ``name``, ``instruction``,
    ``instances``, ``is_classification``) or Alpaca's (``instruction``, ``input``, ``output``), in UTF-8 with or
    without a byte-order mark, with LF or CRLF. An Alpaca item gets an id from its content, so that the same item
    has the same id in any file; it has no class mark and counts as not classification. Texts are kept to the letter.
    """
    records, problems = read_records(data)
    unread: dict[str, list[int]] = {}
    tasks: list[SeedTask] = []
    lines: list[int] = []
    first: dict[str, str] = {}
    for record in records:
        task, found = _task(record, unread)
        if task is not None and task.task_id in first:
            found = [*found, _repeated(record, task.task_id, first[task.task_id])]
        problems += found
        if task is None or found or not record.sound:
            continue
        first[task.task_id] = record.place
        tasks.append(task)
        lines.append(record.line)
    problems += [
        Problem(where[0], "", "unknown-field", f"the field {name!r} is not read ({_times(where)})", "finding")
        for name, where in unread.items()
    ]
    return SeedFile(tuple(tasks), tuple(sorted(problems, key=lambda p: p.line)), tuple(lines))


def _times(where: Sequence[int]) -> str:
    return "in 1 record" if len(where) == 1 else f"in {len(where)} records"


def parse_references(data: bytes | str) -> tuple[tuple[Reference, ...], tuple[Problem, ...]]:
    """The instructions of any JSON-lines or JSON-list file whose records have an ``instruction``, and its errors."""
    records, problems = read_records(data)
    found: list[Reference] = []
    for record in records:
        if record.fields is None:
            continue
        text = record.fields.get("instruction")
        if isinstance(text, str) and text.strip():
            found.append(Reference(record.line, _id(record) or f"line {record.line}", text))
        else:
            problems.append(record.problem(_id(record), "missing-field", 'there is no text in "instruction"'))
    return tuple(found), tuple(sorted(problems, key=lambda p: p.line))


def shape(fields: dict[str, Any]) -> Shape:
    """Which of the two shapes a record has: Alpaca's has an ``output`` of its own and no ``instances``."""
    return "alpaca" if "output" in fields and "instances" not in fields else "self-instruct"


def _id(record: Record) -> str:
    given = record.fields.get("id") if record.fields else None
    return clean_text(given) if isinstance(given, str) else ""


def _repeated(record: Record, task_id: str, place: str) -> Problem:
    if record.fields is not None and shape(record.fields) == "alpaca":
        return record.problem(task_id, "repeated-item", f"the same as {place}; it counts once", "finding")
    return record.problem(task_id, "duplicate-id", f"the id {task_id!r} is taken by {place}")


def _task(record: Record, unread: dict[str, list[int]]) -> tuple[SeedTask | None, list[Problem]]:
    """The record as a task, or what is wrong with it; fields that nobody reads are added to ``unread``."""
    if record.fields is None:
        return None, []
    name = _id(record)
    model = _AlpacaItem if shape(record.fields) == "alpaca" else _SeedItem
    for field in _unknown(record.fields, model):
        unread.setdefault(field, []).append(record.line)
    try:
        item = model.model_validate(record.fields)
    except ValidationError as error:
        return None, [record.problem(name, *_plain(e)) for e in error.errors(include_url=False)]
    task = _from_alpaca(item) if isinstance(item, _AlpacaItem) else _from_self_instruct(item)
    return task, [record.problem(task.task_id, rule, detail) for rule, detail in task_errors(task)]


def _unknown(fields: dict[str, Any], model: type[_Item]) -> list[str]:
    names = [str(k) for k in fields if k not in model.model_fields]
    instances = fields.get("instances")
    if model is _SeedItem and isinstance(instances, list):
        inner = {k for i in instances if isinstance(i, dict) for k in i if k not in _SeedInstance.model_fields}
        names += [f"instances: {k}" for k in sorted(inner)]
    return names


_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "an object with input and output",
}


def _plain(error: Any) -> tuple[str, str]:
    """(rule, sentence) for one of pydantic's errors."""
    place = _place(error["loc"])
    kind = error["type"]
    if kind == "missing":
        if error["loc"] == ("instances",) and "output" not in error["input"]:
            return "missing-field", 'there is neither "instances" (Self-Instruct\'s shape) nor "output" (Alpaca\'s)'
        return "missing-field", f"{place} is missing"
    if kind == "too_short":
        return "no-instances", f"{place} is empty: a task has at least one input and output"
    return "wrong-type", f"{place} must be {_EXPECTED.get(kind, kind)}, not {json_type(error['input'])}"


def _place(loc: Sequence[int | str]) -> str:
    if len(loc) >= 2 and loc[0] == "instances" and isinstance(loc[1], int):
        return f"instance {loc[1] + 1}" + (f': "{loc[2]}"' if len(loc) > 2 else "")
    return f'"{loc[0]}"' if loc else "the record"


def json_type(value: object) -> str:
    """What a value is called in JSON, in plain words."""
    if value is None:
        return "null"
    names = {bool: "true or false", str: "text", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object")


def task_errors(task: SeedTask) -> list[tuple[str, str]]:
    """(rule, sentence) for whatever makes the task unfit to be a seed, wherever it comes from."""
    found = []
    if not task.task_id.strip() or clean_text(task.task_id) != task.task_id or "\n" in task.task_id:
        found.append(("bad-id", "the id must be one line of ordinary text"))
    if not clean_text(task.instruction).strip():
        found.append(("empty-instruction", "the instruction is empty"))
    if not task.instances:
        found.append(("no-instances", "a task has at least one input and output"))
    texts = [task.name, task.instruction, *(t for i in task.instances for t in (i.input, i.output))]
    if any("\ud800" <= c <= "\udfff" for t in texts for c in t):
        found.append(("lone-surrogate", "a text holds half of a character (a lone surrogate); write it again"))
    return found


def clean_task(task: SeedTask) -> SeedTask:
    """The task as it is kept: without control characters, which are no text and can drive a terminal."""
    return SeedTask(
        task.task_id,
        clean_text(task.name),
        clean_text(task.instruction),
        tuple(Instance(clean_text(i.input), clean_text(i.output)) for i in task.instances),
        task.is_classification,
    )


def _from_self_instruct(item: _SeedItem) -> SeedTask:
    instances = tuple(Instance(i.input, i.output) for i in item.instances)
    return SeedTask(item.id, item.name, item.instruction, instances, item.is_classification)


def _from_alpaca(item: _AlpacaItem) -> SeedTask:
    content = json.dumps([item.instruction, item.input, item.output]).encode("ascii")
    task_id = "alpaca_" + hashlib.sha256(content).hexdigest()[:16]
    words = re.findall(r"\w+", item.instruction.lower())[:_NAME_WORDS]
    return SeedTask(task_id, "_".join(words), item.instruction, (Instance(item.input, item.output),), False)


def dump_seed_file(tasks: Iterable[SeedTask], *, ascii: bool = False) -> str:
    """The canonical file: one task a line in Self-Instruct's shape and field order, each line ended by LF.

    Reading it back gives the same tasks, and dumping those the same text. Characters stand for themselves, but for
    the few that break lines or show nothing; with ``ascii`` all beyond ASCII are escaped, as Self-Instruct's file is.
    """
    return "".join(_line(task, ascii) for task in tasks)


def _line(task: SeedTask, ascii: bool) -> str:
    fields = {
        "id": task.task_id,
        "name": task.name,
        "instruction": task.instruction,
        "instances": [{"input": i.input, "output": i.output} for i in task.instances],
        "is_classification": task.is_classification,
    }
    text = json.dumps(fields, ensure_ascii=ascii)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found.group()):04x}", text) + "\n"
