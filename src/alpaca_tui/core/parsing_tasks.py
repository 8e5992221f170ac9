"""Reading whole tasks (instruction, input and output) from one completion, and the one output of another.

Total, as everything in ``core.parsing``: any text ends as tasks or with a reason. Mode ``faithful`` reads as Alpaca's
published script does; mode ``fixed`` also reads tasks whose numbers are wrong, whose input is left out, or whose
labels stand on one line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from alpaca_tui.core.parsing import (
    MAX_FIELD_CHARS,
    TORN,
    Mode,
    counted,
    given_input,
    joined,
    of_sane_length,
    torn_reason,
)
from alpaca_tui.core.records import FinishReason, ParsedOutput, ParsedTask, ParsedTasks
from alpaca_tui.core.text import capitalise_first, clean_text, one_line

_SEPARATOR = re.compile(r"^[ \t]{0,3}#{3,}(?!#)[ \t]{0,8}", re.MULTILINE)
_NAMES = r"(Instruction|Input|Output) ?:"
_NUMBERED = re.compile(rf"^[ \t]{{0,3}}[0-9]{{1,3}} ?[.):][ \t]{{0,8}}{_NAMES}", re.IGNORECASE | re.MULTILINE)
_PLAIN = re.compile(rf"^[ \t]{{0,3}}{_NAMES}", re.IGNORECASE | re.MULTILINE)
_INLINE = re.compile(rf"(?:(?<=\s)|^)(?:[0-9]{{1,3}} ?[.):] ?)?{_NAMES}", re.IGNORECASE)
_BARE_NUMBER = re.compile(r"^\s{0,3}[0-9]{1,3} ?[.):]?\s{0,3}$")
_REFERENCE_LABEL = re.compile(r"([0-9]{1,6})\.\s{1,64}(Instruction|Input|Output):")


@dataclass(slots=True)
class _Draft:
    """A task while it is read; a field that was not met is None."""

    instruction: str | None = None
    input: str | None = None
    output: str | None = None


def parse_tasks(text: str, first_number: int, finish_reason: FinishReason, mode: Mode = "fixed") -> ParsedTasks:
    """The tasks of a list whose next task's ``N. Instruction:`` ended the prompt (N is ``first_number``).

    Instructions are on one line; inputs and outputs keep their line breaks, and an input of "<none>" and the like is
    empty. Only whole tasks are given: with an instruction and an output. ``problem`` tells what was left out.
    """
    cleaned = f"{first_number}. Instruction:{clean_text(text)}"
    if mode == "faithful":
        return _reference_tasks(cleaned, first_number, finish_reason)
    drafts = [draft for chunk in _SEPARATOR.split(cleaned) for draft in _drafts(chunk)]
    notes: list[str] = []
    if finish_reason in TORN and drafts and (finish_reason == "loop" or not _ended(cleaned)):
        drafts.pop()
        notes.append(torn_reason("task", finish_reason))
    # The label at which a list was stopped, or with which the model began anew, is no task.
    drafts = [draft for draft in drafts if draft.output or draft.input or (draft.instruction or "").strip()]
    tasks: list[ParsedTask] = []
    for draft in drafts:
        instruction = one_line(draft.instruction or "")
        if not instruction:
            notes.append("a task without an instruction")
        elif not (draft.output or "").strip():
            notes.append("a task without an output")
        elif _too_long(draft):
            notes.append(f"a task with a field of over {MAX_FIELD_CHARS:,} characters was dropped")
        elif sane := of_sane_length([instruction], notes):
            given = given_input(draft.input or "")
            tasks.append(ParsedTask(len(tasks), capitalise_first(sane[0]), given, (draft.output or "").strip()))
    if not tasks and not notes:
        notes.append("no task")
    return ParsedTasks(tuple(tasks), joined(notes))


def parse_output(text: str, finish_reason: FinishReason) -> ParsedOutput:
    """The output that the whole completion is. What was cut by length is kept, and noted; a loop is no output."""
    output = clean_text(text).strip()
    if finish_reason == "error":
        return ParsedOutput(None, "the call failed")
    if finish_reason == "loop":
        return ParsedOutput(None, "the output ran in a loop")
    if not output:
        return ParsedOutput(None, "the output is empty")
    if len(output) > MAX_FIELD_CHARS:
        return ParsedOutput(None, f"the output has {len(output):,} characters (limit {MAX_FIELD_CHARS:,})")
    return ParsedOutput(output, "the output was cut by length" if finish_reason == "length" else None)


def _ended(text: str) -> bool:
    """Whether the text ends behind a separator: then the task before it is whole."""
    last = text.rstrip().rpartition("\n")[2]
    return bool(_SEPARATOR.fullmatch(last))


def _too_long(draft: _Draft) -> bool:
    return max(len(draft.input or ""), len(draft.output or "")) > MAX_FIELD_CHARS


def _drafts(chunk: str) -> list[_Draft]:
    """The tasks between two separators: one, or several where the model forgot the separators."""
    pieces = _NUMBERED.split(chunk)
    # Where inputs and outputs are numbered, an unnumbered "Input:" at the beginning of a line is the task's own text.
    if not {"input", "output"} & {name.lower() for name in pieces[1::2]}:
        either = re.compile(f"(?:{_NUMBERED.pattern})|(?:{_PLAIN.pattern})", re.IGNORECASE | re.MULTILINE)
        pieces = _fold(either.split(chunk))
    if "output" not in {name.lower() for name in pieces[1::2]}:
        pieces = _INLINE.split(chunk)
    drafts: list[_Draft] = []
    for name, value in zip(pieces[1::2], pieces[2::2], strict=True):
        _add(drafts, name.lower(), value)
    if not drafts and chunk.strip() and not _BARE_NUMBER.match(chunk):
        return [_Draft(output=chunk)]
    return drafts


def _fold(pieces: list[str | None]) -> list[str]:
    """The pieces of a split by two alternatives with a group each, as those of a split by one."""
    folded = [pieces[0] or ""]
    for at in range(1, len(pieces), 3):
        folded += [pieces[at] or pieces[at + 1] or "", pieces[at + 2] or ""]
    return folded


def _add(drafts: list[_Draft], name: str, value: str) -> None:
    """Put one field where it belongs: a new instruction begins a new task, as does an input after an output."""
    last = drafts[-1] if drafts else None
    if name == "instruction" or last is None or (name == "input" and last.output is not None):
        drafts.append(_Draft())
        last = drafts[-1]
    if name == "instruction":
        last.instruction = value
    elif name == "input":
        last.input = value if last.input is None else f"{last.input}\n{value}"
    elif last.output is None:
        last.output = value


def _reference_tasks(text: str, first_number: int, finish_reason: FinishReason) -> ParsedTasks:
    """Alpaca's reading: split at every "###"; task by task the three labels must bear the number of its place."""
    notes: list[str] = []
    chunks = text.split("###")
    if finish_reason in TORN:
        chunks.pop()
        notes.append(torn_reason("task", finish_reason))
    tasks: list[ParsedTask] = []
    misread = 0
    for place, chunk in enumerate(chunks, start=first_number):
        labels = [match for match in _REFERENCE_LABEL.finditer(chunk) if int(match[1]) == place]
        if len(labels) != 3:
            misread += bool(chunk.strip())
            continue
        ends = [match.start() for match in labels[1:]] + [len(chunk)]
        fields = [chunk[match.end() : end].strip() for match, end in zip(labels, ends, strict=True)]
        instruction = one_line(fields[0])
        if instruction and fields[2] and of_sane_length([instruction], notes) and len(chunk) <= MAX_FIELD_CHARS:
            tasks.append(ParsedTask(len(tasks), instruction, given_input(fields[1]), fields[2]))
        else:
            misread += 1
    if misread:
        notes.append(counted(misread, "task") + " without its three labels in place")
    if not tasks and not notes:
        notes.append("no task")
    return ParsedTasks(tuple(tasks), joined(notes))
