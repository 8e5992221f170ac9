"""Reading a file of JSON objects, as lines or as one list, with the line of each and every fault at once."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "finding"]

_BLANK = " \t\r\n"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: the line it is on (0: the file as a whole), the record's id if known, the rule, a plain sentence.

    An error keeps the file from being imported; a finding does not.
    """

    line: int
    id: str
    rule: str
    detail: str
    severity: Severity = "error"


@dataclass(frozen=True, slots=True)
class Record:
    """One record: the line on which it begins, its number where the file is a list, and its fields.

    ``fields`` is None where the value is not an object, ``sound`` is False where a fault was found; both are
    reported already.
    """

    line: int
    item: int | None
    fields: dict[str, Any] | None
    sound: bool = True

    @property
    def place(self) -> str:
        """How to name the record to a person."""
        return f"line {self.line}" if self.item is None else f"item {self.item}"

    def problem(self, id: str, rule: str, detail: str, severity: Severity = "error") -> Problem:
        """A fault of this record; the sentence names the item where the file is a list."""
        return Problem(self.line, id, rule, detail if self.item is None else f"{self.place}: {detail}", severity)


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its names stood more than once."""

    repeated: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    value = _Object(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        value.repeated = tuple(name for name in value if names.count(name) > 1)
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _int(digits: str) -> int:
    if len(digits) > 1000:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_int)


def read_records(data: bytes | str) -> tuple[list[Record], list[Problem]]:
    """The records of a JSON-lines file or of a JSON list, and what is wrong with the file's text and JSON.

    UTF-8 with or without a byte-order mark, LF or CRLF; blank lines count as lines and are skipped. Never raises.
    """
    if isinstance(data, bytes) and data.startswith(_UTF16):
        return [], [Problem(0, "", "not-utf8", "the file is UTF-16; save it as UTF-8")]
    if isinstance(data, bytes) and b"\0" in data:
        return [], [Problem(0, "", "not-utf8", "the file is not text: it holds zero bytes")]
    # A byte that is not UTF-8 becomes a lone surrogate here, and so marks its line.
    text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
    text = text.removeprefix("\ufeff")
    bad = {n for n, line in enumerate(text.split("\n"), start=1) if _SURROGATE.search(line)}
    problems = [Problem(n, "", "not-utf8", "the line holds bytes that are not UTF-8") for n in sorted(bad)]
    text = _SURROGATE.sub(_REPLACEMENT, text)
    start = len(text) - len(text.lstrip(_BLANK))
    if start == len(text):
        return [], [*problems, Problem(0, "", "empty-file", "the file holds no task")]
    records, faults = _read_list(text, start, bad) if text[start] == "[" else _read_lines(text, start, bad)
    if not records and not faults:
        faults = [Problem(0, "", "empty-file", "the file holds no task")]
    return records, problems + faults


def _read_lines(text: str, start: int, bad: set[int]) -> tuple[list[Record], list[Problem]]:
    if _is_one_spread_object(text, start):
        sentence = "one object is spread over several lines; write one task a line, or a list [ … ] of tasks"
        return [], [Problem(text.count("\n", 0, start) + 1, "", "broken-json", sentence)]
    records: list[Record] = []
    problems: list[Problem] = []
    # Not splitlines(): it also cuts at characters that may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip(_BLANK)
        if not stripped:
            continue
        try:
            value, end = _DECODER.raw_decode(stripped)
            rest = stripped[end:].strip(_BLANK)
            if rest:
                raise ValueError(_after_the_object(rest))
        except (ValueError, RecursionError) as error:
            problems.append(Problem(number, "", "broken-json", _broken(error)))
            continue
        _keep(records, problems, Record(number, None, None, number not in bad), value)
    return records, problems


def _is_one_spread_object(text: str, start: int) -> bool:
    if text[start] != "{":
        return False
    first_line_end = text.find("\n", start)
    try:
        _, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return False
    return 0 <= first_line_end < end


def _after_the_object(rest: str) -> str:
    if rest == ",":
        return "a comma after the object; JSON lines have none between them"
    return "more text after the object; write one object a line"


def _broken(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON at column {error.colno}: {error.msg}"
    if isinstance(error, RecursionError):
        return "broken JSON: nested too deeply"
    return f"broken JSON: {error}"


def _read_list(text: str, start: int, bad: set[int]) -> tuple[list[Record], list[Problem]]:
    records: list[Record] = []
    problems: list[Problem] = []
    line, counted, item = 1, 0, 0
    position = _skip(text, start + 1)
    if text[position : position + 1] == "]":
        return [], _rest_of_file(text, position + 1)
    while True:
        item += 1
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, end = _DECODER.raw_decode(text, position)
            last_line = line + text.count("\n", position, end)
            separator = _skip(text, end)
            if text[separator : separator + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' or ']' after the item", text, separator)
        except (ValueError, RecursionError) as error:
            at = error.lineno if isinstance(error, json.JSONDecodeError) else line
            again = _next_item(text, position, error)
            lost = "" if again is not None else "; the rest of the list was not read"
            problems.append(Problem(at, "", "broken-json", f"item {item}: {_broken(error)}{lost}"))
            if again is None:
                return records, problems
            position = again
            continue
        sound = not any(n in bad for n in range(line, last_line + 1)) if bad else True
        _keep(records, problems, Record(line, item, None, sound), value)
        if text[separator] == "]":
            return records, problems + _rest_of_file(text, separator + 1)
        position = _skip(text, separator + 1)


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANK:
        position += 1
    return position


def _rest_of_file(text: str, position: int) -> list[Problem]:
    rest = _skip(text, position)
    if rest == len(text):
        return []
    return [Problem(text.count("\n", 0, rest) + 1, "", "broken-json", "there is more text after the end of the list")]


def _next_item(text: str, broken: int, error: Exception) -> int | None:
    """Where the item after a broken one begins: the next line that opens an object at the same depth of indent.

    A raw line break cannot stand inside a JSON string, so what begins a line is outside of strings.
    """
    indent = text[text.rfind("\n", 0, broken) + 1 : broken]
    if indent.strip(_BLANK) == "[":
        indent = "[ \t]*"
    elif indent.strip(_BLANK):
        return None
    reached = max(broken + 1, error.pos if isinstance(error, json.JSONDecodeError) else 0)
    opening = re.compile(rf"^{indent}(?=\{{)", re.MULTILINE)
    found = opening.finditer(text, text.rfind("\n", 0, reached) + 1)
    return next((f.end() for f in found if f.end() > broken), None)


def _keep(records: list[Record], problems: list[Problem], record: Record, value: object) -> None:
    """Add the record with its fields, and report a value that is not an object or repeats a name."""
    if not isinstance(value, _Object):
        what = "a list" if isinstance(value, list) else "a single value"
        problems.append(record.problem("", "not-an-object", f"expected an object {{ … }}, found {what}"))
        records.append(Record(record.line, record.item, None, False))
        return
    repeated = [name for part in _objects(value) for name in part.repeated]
    given = value.get("id")
    problems += [
        record.problem(given if isinstance(given, str) else "", "repeated-field", f"the field {name!r} stands twice")
        for name in repeated
    ]
    records.append(Record(record.line, record.item, value, record.sound and not repeated))


def _objects(value: object) -> list[_Object]:
    """The value and everything inside it that is an object."""
    found: list[_Object] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, _Object):
            found.append(part)
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return found
