"""One stage of a prompt pack: its template, numbers and few-shot examples, as the manifest's tables give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.pack_manifest import (
    ClassificationTable,
    InstanceExample,
    InstanceTable,
    LabelledExample,
    Manifest,
    OutputTable,
    StageTable,
    file_text,
    read_rows,
)
from alpaca_tui.core.parsing import Mode
from alpaca_tui.core.records import Instance, SamplingParams
from alpaca_tui.core.text import clean_text, one_line

Style = Literal["list", "tasks"]


@dataclass(frozen=True, slots=True)
class FewShotExample:
    """One worked example of a prompt; ``label`` ("Yes" or "No") for classification, ``instances`` elsewhere."""

    instruction: str
    label: str = ""
    instances: tuple[Instance, ...] = ()


@dataclass(frozen=True, slots=True)
class StagePrompt:
    """One stage's template and all that goes with it.

    ``cue`` is the end of the prompt that belongs to the answer: parse ``cue + completion``. ``source`` tells where
    the numbers come from. ``first_number``, ``last_number`` and ``style`` are for the instruction stage alone,
    ``max_instances`` for the instance stages, ``choices`` and what follows it here for classification; elsewhere they
    are empty or 0.
    """

    name: str
    template: str
    params: SamplingParams
    faithful_params: SamplingParams
    source: str
    examples: tuple[FewShotExample, ...] = ()
    choices: tuple[str, ...] = ()
    content_free: tuple[str, ...] = ()
    """Subjects that say nothing: what the model answers to them is its bias."""
    calibrate: bool = False
    """Whether the mean log-odds of the content-free subjects are taken off every margin."""
    low_margin: float = 0.0
    """A decision with a smaller margin, either way, is shown as a doubtful one."""
    cue: str = ""
    max_instances: int = 0
    style: Style = "list"
    first_number: int = 0
    last_number: int = 0

    def sampling(self, mode: Mode = "fixed") -> SamplingParams:
        """How this stage's completions are drawn in the given mode."""
        return self.faithful_params if mode == "faithful" else self.params


def stages(manifest: Manifest, files: Mapping[str, str], mode: Mode) -> dict[str, StagePrompt]:
    """Every stage that the manifest has a table for. Raises UsageError, naming pack, file and field."""
    found = {"instruction": _instruction(manifest, files, mode)}
    if manifest.classification:
        found["classification"] = _classification(manifest.classification, manifest, files, mode)
    for name in ("output_first", "input_first", "output"):
        table = getattr(manifest, name)
        if table is not None:
            found[name] = _instances(name, table, manifest, files, mode)
    return found


def template_file(table: StageTable, mode: Mode) -> str:
    """The file of the stage's template in the given mode."""
    return (mode == "faithful" and table.faithful.template) or table.template


def _template(name: str, table: StageTable, manifest: Manifest, files: Mapping[str, str], mode: Mode) -> str:
    return file_text(manifest.name, files, template_file(table, mode), f"{name}.template")


def _instruction(manifest: Manifest, files: Mapping[str, str], mode: Mode) -> StagePrompt:
    table = manifest.instruction
    return StagePrompt(
        name="instruction",
        template=_template("instruction", table, manifest, files, mode),
        params=table.params(),
        faithful_params=table.faithful_params(),
        source=table.source,
        style=table.style,
        first_number=table.first_number,
        last_number=table.last_number,
    )


def _classification(
    table: ClassificationTable, manifest: Manifest, files: Mapping[str, str], mode: Mode
) -> StagePrompt:
    rows = read_rows(manifest.name, files, table.examples, "classification.examples", LabelledExample)
    examples = tuple(FewShotExample(one_line(row.instruction), row.label.capitalize()) for row in rows)
    for label in ("Yes", "No"):
        if all(example.label != label for example in examples):
            raise UsageError(f"prompt pack {manifest.name!r}, {table.examples}: no example has the label {label!r}")
    return StagePrompt(
        name="classification",
        template=_template("classification", table, manifest, files, mode),
        params=table.params(),
        faithful_params=table.faithful_params(),
        source=table.source,
        examples=examples,
        choices=tuple(table.choices),
        content_free=tuple(table.content_free),
        calibrate=table.calibrate,
        low_margin=table.low_margin,
    )


def _instances(
    name: str, table: InstanceTable | OutputTable, manifest: Manifest, files: Mapping[str, str], mode: Mode
) -> StagePrompt:
    rows = []
    if table.examples is not None:
        rows = read_rows(manifest.name, files, table.examples, f"{name}.examples", InstanceExample)
    examples = tuple(
        FewShotExample(
            one_line(row.instruction),
            instances=tuple(
                Instance(clean_text(pair.input).strip(), clean_text(pair.output).strip()) for pair in row.instances
            ),
        )
        for row in rows
    )
    return StagePrompt(
        name=name,
        template=_template(name, table, manifest, files, mode),
        params=table.params(),
        faithful_params=table.faithful_params(),
        source=table.source,
        examples=examples,
        cue=table.cue if isinstance(table, InstanceTable) else "",
        max_instances=table.max_instances if isinstance(table, InstanceTable) else 0,
    )
