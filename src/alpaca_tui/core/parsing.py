"""Reading completions: total functions from any text a model can emit to items, and a reason for what was left out.

Mode ``faithful`` reads as the public code of Self-Instruct does, faults included; mode ``fixed`` keeps the complete
items of a completion that was cut by length, sees a marker only where it begins a line, and keeps capitals. Both drop
control characters. Quantifiers over blanks are bounded, so that no text makes a pattern slow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from alpaca_tui.core.records import FinishReason, ParsedInstance, ParsedInstances, ParsedList
from alpaca_tui.core.text import capitalise_first, clean_text, one_line

Mode = Literal["fixed", "faithful"]

MAX_ITEM_CHARS = 4000
"""A longer instruction is a run-away, not a task."""

MAX_FIELD_CHARS = 20_000
"""The same for one input or output; a completion of 350 tokens has fewer characters by far."""

TORN = frozenset[FinishReason]({"length", "loop", "error"})
"""Ends after which the last item is not whole."""

_NUMBERED = re.compile(r"^[ \t]?(?:Task ?)?([0-9]{1,3}) ?[.):](?:[ \t](.*))?$", re.IGNORECASE)
_YES_NO = re.compile(r"^\W*(yes|no)\b", re.IGNORECASE)
_NEXT_TASK = re.compile(r"^[ \t]{0,3}Task ?\d{0,3}:", re.IGNORECASE | re.MULTILINE)
_LABEL = re.compile(r"^[ \t]{0,3}(?:Class )?label ?\d{0,3}:", re.IGNORECASE | re.MULTILINE)
_EXAMPLE = re.compile(r"^[ \t]{0,3}Example ?\d{1,3} ?[.:)]?[ \t]{0,3}(?=$|Input|Output)", re.IGNORECASE | re.MULTILINE)
_FIELD = re.compile(r"^[ \t]{0,3}(Input|Output) ?\d{0,3} ?:", re.IGNORECASE | re.MULTILINE)
_INLINE_OUTPUT = re.compile(r"(?<=\s)Output ?\d{0,3} ?:", re.IGNORECASE)
_NO_INPUT = re.compile(r"^[<(\[]?(?:none|n/?a|no ?input|not applicable|-)[>)\]]?\.?$", re.IGNORECASE)

_REFERENCE_ITEM = re.compile(r"\n\d{1,9}\s?\. ")
_REFERENCE_EXAMPLE = re.compile(r"Example\s?\d{0,9}\.?")
_REFERENCE_OUTPUT = re.compile(r"Output\s{0,9}\d{0,9}\s{0,9}:")


def parse_instruction_list(
    text: str, first_number: int, finish_reason: FinishReason, mode: Mode = "fixed"
) -> ParsedList:
    """The instructions of a numbered list whose number ``first_number`` (and its dot) ended the prompt.

    Each item is on one line, without its number, its first letter in upper case. Lists within an item stay part of
    it. ``problem`` tells what was left out: a torn last item, blank or over-long ones, numbers that started again.
    """
    cleaned = clean_text(text)
    cut = finish_reason in TORN
    if mode == "faithful":
        return _reference_list(cleaned, cut)
    raw, notes = _split_numbered(cleaned, first_number)
    # After a line break the last item is whole, wherever the limit fell; a loop may have gone over many lines.
    if cut and (finish_reason == "loop" or not cleaned.endswith("\n")):
        raw.pop()
        notes.append(torn_reason("item", finish_reason))
    # The bare number at which a list was stopped is no fault.
    if len(raw) > 1 and not raw[-1]:
        raw.pop()
    if blank := sum(not item for item in raw):
        notes.append(counted(blank, "blank item"))
    return ParsedList(tuple(capitalise_first(item) for item in of_sane_length(raw, notes)), joined(notes))


def parse_classification(text: str) -> bool | None:
    """True for an answer that begins with yes, False for no (in any case, after any punctuation), else None."""
    match = _YES_NO.match(clean_text(text)[:200])
    return match[1].lower() == "yes" if match else None


def parse_output_first(
    text: str,
    finish_reason: FinishReason,
    *,
    cue: str = "",
    max_instances: int = 5,
    mode: Mode = "fixed",
) -> ParsedInstances:
    """The instances of a classification task, each written as ``Class label: …`` and then ``Input: …``.

    ``cue`` is the end of the prompt that belongs to the answer (``StagePrompt.cue``). The label becomes the output.
    Inputs may have several lines, or be empty.
    """
    cleaned = clean_text(cue + text)
    if mode == "faithful":
        drafts, notes = _reference_labels(cleaned)
    else:
        drafts, notes = _labels(_this_task(cleaned))
    return _instances(_without_torn(drafts, notes, finish_reason, mode), notes, max_instances)


def parse_input_first(
    text: str,
    finish_reason: FinishReason,
    *,
    cue: str = "",
    max_instances: int = 5,
    mode: Mode = "fixed",
) -> ParsedInstances:
    """The instances of a task, each written as ``Example n``, ``Input: …``, ``Output: …``, or as ``Output: …`` alone.

    ``cue`` is the end of the prompt that belongs to the answer (``StagePrompt.cue``). An input of "none", "N/A" and
    the like is empty. Inputs and outputs keep their line breaks.
    """
    cleaned = clean_text(cue + text)
    if mode == "faithful":
        drafts, notes = _reference_examples(cleaned)
    else:
        drafts, notes = _examples(_this_task(cleaned))
    drafts = _without_torn(drafts, notes, finish_reason, mode)
    if mode == "fixed":
        drafts = _one_without_input(drafts, notes)
    return _instances(drafts, notes, max_instances)


@dataclass(slots=True)
class _Draft:
    """An instance while it is read; ``output`` stays None until an output is begun."""

    input: str = ""
    output: str | None = None
    closed: bool = False
    """Something that is dropped follows the output, which is whole then, however the completion ended."""


@dataclass(slots=True)
class _ListReader:
    """Walks a numbered list line by line and tells the list's own numbers from those inside an item."""

    number: int
    items: list[list[str]]
    last_line: dict[int, int]
    """Number -> the last line that begins with it: tells whether the list goes on after a list inside an item."""
    nested: int | None = None
    notes: list[str] = field(default_factory=list)

    def read(self, place: int, line: str, number: int | None, rest: str) -> None:
        if number is None or not self._is_item(place, number):
            self.items[-1].append(line)
            return
        self.items.append([rest])
        self.nested = None

    def _is_item(self, place: int, number: int) -> bool:
        """Whether this number belongs to the list itself and not to a list inside the current item."""
        if number == self.number + 1:
            self.number = number
            return True
        if self.nested is not None and number == self.nested + 1:
            self.nested = number
            return False
        # "Do the following:" and then 1., 2., 3. is one item, and so is a list after which ours goes on.
        goes_on = self.last_line.get(self.number + 1, -1) > place
        if number == 1 and (goes_on or self._introduces_a_list()):
            self.nested = 1
            return False
        wrong = "numbers that started again or jumped"
        if wrong not in self.notes:
            self.notes.append(wrong)
        self.number = number
        return True

    def _introduces_a_list(self) -> bool:
        last = next((line for line in reversed(self.items[-1]) if line.strip()), "")
        return last.rstrip().endswith(":")


def _split_numbered(text: str, first_number: int) -> tuple[list[str], list[str]]:
    """The raw items (at least one, perhaps blank), each on one line, and what was odd about their numbers."""
    lines = [(line, *_number(line)) for line in text.split("\n")]
    line, number, rest = lines[0]
    last_line = {number: place for place, (_, number, _) in enumerate(lines) if number is not None}
    # Some models write the number that the prompt ends with once more, or go on with the next one.
    if number == first_number:
        reader = _ListReader(number, [[rest]], last_line)
    elif number == first_number + 1:
        reader = _ListReader(number, [[""], [rest]], last_line)
    else:
        reader = _ListReader(first_number, [[line]], last_line)
    for place, (line, number, rest) in enumerate(lines[1:], start=1):
        reader.read(place, line, number, rest)
    return [one_line("\n".join(item)) for item in reader.items], reader.notes


def _number(line: str) -> tuple[int | None, str]:
    """The number that begins the line and the rest of it; no number where it is indented, as inside an item."""
    match = _NUMBERED.match(line)
    return (int(match[1]), match[2] or "") if match else (None, line)


def _reference_list(text: str, cut: bool) -> ParsedList:
    """Self-Instruct's bootstrapping script: all or nothing, and ``capitalize`` lowers every other letter."""
    if cut:
        return ParsedList((), "the completion was cut by length and dropped whole")
    notes: list[str] = []
    items = of_sane_length([one_line(item).capitalize() for item in _REFERENCE_ITEM.split(text)], notes)
    return ParsedList(tuple(items), joined(notes) or (None if items else "no item"))


def of_sane_length(items: list[str], notes: list[str]) -> list[str]:
    """The items that are neither blank nor run-aways."""
    for item in items:
        if len(item) > MAX_ITEM_CHARS:
            notes.append(f"an item of {len(item):,} characters was dropped (limit {MAX_ITEM_CHARS:,})")
    return [item for item in items if 0 < len(item) <= MAX_ITEM_CHARS]


def _this_task(text: str) -> str:
    """The text up to the next task, which a model goes on to invent where no stop string ended it."""
    next_task = _NEXT_TASK.search(text)
    return text[: next_task.start()] if next_task else text


def _labels(text: str) -> tuple[list[_Draft], list[str]]:
    before, *chunks = _LABEL.split(text)
    notes = ["text before the first class label"] if chunks and before.strip() else []
    drafts = []
    for chunk in chunks:
        fields = _fields(chunk)
        label, named = _label_and_rest(fields[0][1])
        inputs = [value for name, value in fields[1:] if name == "input"]
        if any(name == "output" for name, _ in fields[1:]):
            notes.append("an output after a class label was dropped")
        if len(inputs) > 1:
            notes.append("a second input under one class label was dropped")
        drafts.append(_Draft(inputs[0] if inputs else named, label))
    return drafts, notes


def _label_and_rest(text: str) -> tuple[str, str]:
    """A label is one line; what follows it without an ``Input:`` is the input, as in the reference's examples."""
    label, _, rest = text.strip().partition("\n")
    return label, rest


def _examples(text: str) -> tuple[list[_Draft], list[str]]:
    drafts: list[_Draft] = []
    notes: list[str] = []
    for position, chunk in enumerate(_EXAMPLE.split(text)):
        if not chunk.strip():
            continue
        fields = _fields(chunk)
        if not any(name == "output" for name, _ in fields):
            fields = _inline_output(chunk)
        if position == 0 and len(fields) == 1:
            notes.append("text before the first example")
            continue
        drafts += _pairs(fields, notes)
    return drafts, notes


def _one_without_input(drafts: list[_Draft], notes: list[str]) -> list[_Draft]:
    """The drafts with at most one that has no input: a task that needs none has one answer.

    Further answers to the same nothing would only be thrown out together with the first, as one input with
    different outputs.
    """
    without = [draft for draft in drafts if _is_whole(draft) and not given_input(draft.input)]
    if len(without) > 1:
        notes.append(counted(len(without) - 1, "further output") + " without an input")
    dropped = {id(draft) for draft in without[1:]}
    return [draft for draft in drafts if id(draft) not in dropped]


def _pairs(fields: list[tuple[str, str]], notes: list[str]) -> list[_Draft]:
    """Input and output fields in turn; text before the first of them is an input that carries another name."""
    draft = _Draft(fields[0][1])
    drafts = [draft]
    for name, value in fields[1:]:
        if name == "input" and draft.output is None:
            draft.input = f"{draft.input.strip()}\n{value.strip()}".strip()
        elif name == "input":
            draft = _Draft(value)
            drafts.append(draft)
        elif draft.output is None:
            draft.output = value
        else:
            draft.closed = True
            notes.append("a second output of one example was dropped")
    return drafts


def _fields(chunk: str) -> list[tuple[str, str]]:
    """The chunk cut at the lines that begin a field: ``("", text before)`` and then (input or output, value)."""
    before, *rest = _FIELD.split(chunk)
    return [("", before), *zip((name.lower() for name in rest[::2]), rest[1::2], strict=True)]


def _inline_output(chunk: str) -> list[tuple[str, str]]:
    """The fields of a chunk whose ``Output:`` follows its input on the same line."""
    head, *tail = _INLINE_OUTPUT.split(chunk, maxsplit=1)
    return [*_fields(head), *(("output", text) for text in tail)]


def _reference_labels(text: str) -> tuple[list[_Draft], list[str]]:
    """Self-Instruct's reading of output-first answers: labels anywhere, all that follows is the input."""
    drafts = []
    for chunk in text.split("Class label:")[1:]:
        label, rest = _label_and_rest(chunk)
        drafts.append(_Draft(rest, label))
    return drafts, []


def _reference_examples(text: str) -> tuple[list[_Draft], list[str]]:
    """Self-Instruct's reading of input-first answers: "Example" splits wherever it stands, also in "for Example"."""
    if _REFERENCE_EXAMPLE.search(text):
        chunks = [chunk for chunk in _REFERENCE_EXAMPLE.split(text) if chunk.strip()]
    else:
        chunks = [text] if _REFERENCE_OUTPUT.search(text) else []
    drafts = []
    for chunk in chunks:
        parts = _REFERENCE_OUTPUT.split(chunk)
        given = parts[0].strip().removeprefix("Input:") if len(parts) > 1 else ""
        drafts.append(_Draft(given, parts[1] if len(parts) > 1 else chunk))
    return drafts, []


def _without_torn(drafts: list[_Draft], notes: list[str], finish_reason: FinishReason, mode: Mode) -> list[_Draft]:
    """The drafts without the last one where it is torn; a torn one that is the only one stays, and is noted."""
    if finish_reason not in TORN or not drafts or drafts[-1].closed:
        return drafts
    if finish_reason == "length" and mode == "fixed" and not any(_is_whole(draft) for draft in drafts[:-1]):
        notes.append("the only instance was cut by length")
        return drafts
    notes.append(torn_reason("instance", finish_reason))
    return drafts[:-1]


def torn_reason(noun: str, finish_reason: FinishReason) -> str:
    """What happened to the last item of a completion with one of the ends in ``TORN``."""
    if finish_reason == "error":
        return "the call failed"
    return f"the last {noun} was cut by length" if finish_reason == "length" else f"the last {noun} ran in a loop"


def _instances(drafts: list[_Draft], notes: list[str], max_instances: int) -> ParsedInstances:
    """The drafts that hold an output, numbered from 0, and all the notes as one problem."""
    usable = [draft for draft in drafts if _is_whole(draft)]
    if len(usable) < len(drafts):
        notes.append(counted(len(drafts) - len(usable), "instance") + " without an output, or too long")
    if len(usable) > max_instances:
        notes.append(counted(len(usable) - max_instances, "instance") + f" beyond the limit of {max_instances}")
        usable = usable[:max_instances]
    if not usable and not notes:
        notes.append("no instance")
    read = (
        ParsedInstance(position, given_input(draft.input), (draft.output or "").strip())
        for position, draft in enumerate(usable)
    )
    return ParsedInstances(tuple(read), joined(notes))


def _is_whole(draft: _Draft) -> bool:
    return (
        draft.output is not None
        and 0 < len(draft.output.strip()) <= MAX_FIELD_CHARS
        and len(draft.input) <= MAX_FIELD_CHARS
    )


def given_input(text: str) -> str:
    """The input without white space around it; empty where it only says that there is none."""
    text = text.strip()
    return "" if _NO_INPUT.match(text) else text


def counted(count: int, noun: str) -> str:
    """``3 items``, ``1 item``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def joined(notes: Iterable[str]) -> str | None:
    """One sentence part per kind of fault, in the order in which they were met; None where there is none."""
    return "; ".join(dict.fromkeys(notes)) or None
