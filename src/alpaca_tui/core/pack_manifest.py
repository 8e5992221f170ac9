"""The shape of a prompt pack's manifest (``pack.toml``) and of its few-shot files, checked by pydantic."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.pack_options import PackOptions, lay_over
from alpaca_tui.core.records import SamplingParams

MANIFEST = "pack.toml"

_Row = TypeVar("_Row", bound=BaseModel)
_Text = Annotated[str, Field(min_length=1)]
_Stops = Annotated[list[_Text], Field(max_length=8)]
_Temperature = Annotated[float, Field(ge=0, le=5)]
_TopP = Annotated[float, Field(gt=0, le=1)]
_Penalty = Annotated[float, Field(ge=-2, le=2)]
_Tokens = Annotated[int, Field(ge=1, le=32768)]
_Repeats = Annotated[int, Field(ge=0, le=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class DemonstrationsTable(_Strict):
    """How many instructions a generation prompt shows, and by whom they were written."""

    count: int = Field(ge=1, le=64)
    human: int = Field(ge=0)
    machine: int = Field(ge=0)
    source: str = ""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.human + self.machine != self.count:
            raise ValueError(f"human {self.human} + machine {self.machine} should make count {self.count}")
        return self


class FaithfulTable(_Strict):
    """What mode ``faithful`` uses instead of the stage's own values."""

    temperature: _Temperature | None = None
    top_p: _TopP | None = None
    presence_penalty: _Penalty | None = None
    max_new_tokens: _Tokens | None = None
    stop: _Stops | None = None
    max_repeats: _Repeats | None = None
    once: _Stops | None = None
    template: _Text | None = None
    """Another prompt."""


class StageTable(_Strict):
    """What every stage has: a template, how to draw, and where the numbers come from.

    ``max_repeats`` ends a completion that says one phrase so often in a row (0: never). ``once`` ends one where a field
    begins a second time (the first string) before another item has begun (the others). In mode ``faithful`` both do so
    only if its table says so. In a stop, ``{last}`` and ``{after}`` are the numbers of the list's last item and of the
    one after it, ``{beyond}`` that of the first instance too many.
    """

    template: _Text
    temperature: _Temperature = 0.0
    top_p: _TopP = 1.0
    presence_penalty: _Penalty = 0.0
    max_new_tokens: _Tokens
    stop: _Stops = []
    max_repeats: _Repeats = 0
    once: _Stops = []
    source: _Text
    faithful: FaithfulTable = FaithfulTable()

    def params(self) -> SamplingParams:
        """How this stage's completions are drawn."""
        return SamplingParams(
            self.temperature,
            self.top_p,
            self.presence_penalty,
            self.max_new_tokens,
            self.stops(),
            self.max_repeats,
            tuple(self.once),
        )

    def stops(self) -> tuple[str, ...]:
        """The stop strings, their placeholders filled in."""
        return tuple(self.stop)

    def faithful_params(self) -> SamplingParams:
        """The same with the ``faithful`` table laid over it."""
        values: dict[str, Any] = {"max_repeats": 0, "once": []} | self.faithful.model_dump(exclude_none=True)
        merged = self.model_copy(update=values)
        return merged.params()


def _filled(stops: Sequence[str], numbers: Mapping[str, int]) -> tuple[str, ...]:
    for name, number in numbers.items():
        stops = [stop.replace(name, str(number)) for stop in stops]
    return tuple(stops)


class InstructionTable(StageTable):
    """Instruction generation: a numbered list that the model goes on with, or whole tasks in one completion."""

    style: Literal["list", "tasks"]
    first_number: int = Field(ge=1)
    last_number: int = Field(le=100)

    def stops(self) -> tuple[str, ...]:
        """The stop strings, with the list's numbers."""
        return _filled(self.stop, {"{last}": self.last_number, "{after}": self.last_number + 1})

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last_number < self.first_number:
            raise ValueError(f"last_number {self.last_number} should not be below first_number {self.first_number}")
        return self


class ClassificationTable(StageTable):
    """Is a task classification? A few-shot question with two answers, Yes first."""

    examples: _Text
    choices: list[_Text]
    calibrate: bool = False
    content_free: list[_Text] = []
    low_margin: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _yes_then_no(self) -> Self:
        if [choice.strip().casefold() for choice in self.choices] != ["yes", "no"]:
            raise ValueError(f"choices should be Yes and No in this order, not {self.choices}")
        if self.calibrate and not self.content_free:
            raise ValueError("calibrate needs content_free: one or more subjects that say nothing, such as N/A")
        return self


class InstanceTable(StageTable):
    """Instance generation, output-first or input-first."""

    examples: _Text
    max_instances: int = Field(ge=1, le=50)
    cue: str = ""

    def stops(self) -> tuple[str, ...]:
        """The stop strings, with the number of the first instance too many."""
        return _filled(self.stop, {"{beyond}": self.max_instances + 1})


class OutputTable(StageTable):
    """Another model's output to an instruction and input that are there already; with or without few-shot examples."""

    examples: _Text | None = None


class TrainingTable(_Strict):
    """The prompt format for fine-tuning."""

    template: _Text
    source: str = ""


class Manifest(_Strict):
    """The whole of ``pack.toml``."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    description: str = ""
    demonstrations: DemonstrationsTable
    instruction: InstructionTable
    classification: ClassificationTable | None = None
    output_first: InstanceTable | None = None
    input_first: InstanceTable | None = None
    output: OutputTable | None = None
    training: TrainingTable

    @model_validator(mode="after")
    def _complete(self) -> Self:
        expected = self.demonstrations.count + 1
        if self.instruction.first_number != expected:
            raise ValueError(f"instruction.first_number should be {expected}, one more than demonstrations.count")
        missing = [
            stage
            for stage in ("classification", "output_first", "input_first")
            if self.instruction.style == "list" and getattr(self, stage) is None
        ]
        if missing:
            raise ValueError(f"a pack of style 'list' also needs the table [{missing[0]}]")
        return self


class LabelledExample(_Strict):
    """One line of a classification few-shot file."""

    instruction: _Text
    label: Literal["Yes", "No", "yes", "no"]


class InstanceRecord(_Strict):
    """One input/output pair of a few-shot task; an empty input means that the task needs none."""

    input: str
    output: Annotated[str, Field(pattern=r"\S")]


class InstanceExample(_Strict):
    """One line of an output-first or input-first few-shot file."""

    instruction: _Text
    instances: list[InstanceRecord] = Field(min_length=1)


def read_manifest(files: Mapping[str, str], options: PackOptions | None = None) -> Manifest:
    """The pack's manifest with the ``options`` laid over it.

    Raises UsageError where it is missing or does not hold what it should.
    """
    if MANIFEST not in files:
        raise UsageError(f"a prompt pack needs the file {MANIFEST}; it has {', '.join(sorted(files)) or 'none'}")
    try:
        raw = tomllib.loads(files[MANIFEST])
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"prompt pack, {MANIFEST}: not valid TOML: {error}") from error
    lay_over(raw, options or PackOptions())
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        field, problem = _first_problem(error)
        at = f"{MANIFEST}, {field}" if field else MANIFEST
        raise UsageError(f"prompt pack {str(raw.get('name', 'without a name'))!r}, {at}: {problem}") from error


def file_text(pack: str, files: Mapping[str, str], name: str, field: str) -> str:
    """The text of a file that the manifest names in ``field``; raises UsageError where the pack has no such file."""
    if name not in files:
        raise UsageError(f"prompt pack {pack!r}, {MANIFEST}, {field}: the file {name!r} is not in the pack")
    return files[name]


def read_rows(pack: str, files: Mapping[str, str], name: str, field: str, shape: type[_Row]) -> list[_Row]:
    """The rows of a few-shot JSON-lines file; raises UsageError, naming the line, where one is not of that shape."""
    rows = []
    # Not splitlines: JSON strings may hold separators such as U+2028 as they are.
    for number, line in enumerate(file_text(pack, files, name, field).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(shape.model_validate(json.loads(line)))
        except (json.JSONDecodeError, RecursionError) as error:
            raise UsageError(f"prompt pack {pack!r}, {name}, line {number}: not valid JSON: {error}") from error
        except ValidationError as error:
            where, problem = _first_problem(error)
            at = f"line {number}, {where}" if where else f"line {number}"
            raise UsageError(f"prompt pack {pack!r}, {name}, {at}: {problem}") from error
    if not rows:
        raise UsageError(f"prompt pack {pack!r}, {name}: it holds no example")
    return rows


def _first_problem(error: ValidationError) -> tuple[str, str]:
    """The first problem of a failed validation: the field's dotted path ("" for the whole) and what is wrong."""
    problem: Any = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    what = str(problem["msg"]).removeprefix("Value error, ")
    value = problem.get("input")
    told = f" (it is {value!r})" if isinstance(value, str | int | float | bool) else ""
    more = error.error_count() - 1
    rest = f"; {more} more problem{'s' if more > 1 else ''} after it" if more else ""
    return field, f"{what[:1].lower()}{what[1:]}{told}{rest}"
