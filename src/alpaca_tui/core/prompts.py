"""Prompt packs: from a folder's text files to validated templates, and from those to the exact prompt of a call.

Pure: the caller reads the files and hands over their contents. A pack keeps the contents, so that a store can
snapshot them and render any past call again, character by character.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import SandboxedEnvironment

from alpaca_tui.core import pack_stages
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.pack_manifest import file_text, read_manifest
from alpaca_tui.core.pack_options import OPTIONS_FILE, PackOptions, read_options
from alpaca_tui.core.pack_stages import StagePrompt
from alpaca_tui.core.parsing import Mode
from alpaca_tui.core.records import SamplingParams
from alpaca_tui.core.text import clean_text, one_line

# Which variables each template may name.
_VARIABLES: dict[str, frozenset[str]] = {
    "instruction": frozenset({"demonstrations", "first_number", "last_number", "classification_only"}),
    "classification": frozenset({"instruction", "examples"}),
    "output_first": frozenset({"instruction", "examples", "max_instances"}),
    "input_first": frozenset({"instruction", "examples", "max_instances"}),
    "output": frozenset({"instruction", "input", "examples"}),
    "training": frozenset({"instruction", "input"}),
}

# What a trial rendering puts in for the subject: a word that no template contains.
_PROBE = "zqxprobe"


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """How many instructions a generation prompt shows: ``count`` = ``human`` + ``machine``."""

    count: int
    human: int
    machine: int


@dataclass(frozen=True, slots=True)
class Pack:
    """A validated prompt pack. ``hash`` is the SHA-256 (hex) of ``files``: the pack's own texts, and the options."""

    name: str
    description: str
    demonstrations: Demonstrations
    stages: dict[str, StagePrompt]
    training: str
    hash: str
    files: dict[str, str]
    options: PackOptions

    @property
    def mode(self) -> Mode:
        """How completions are drawn and read."""
        return self.options.mode

    def sampling(self, stage: str) -> SamplingParams:
        """How the stage's completions are drawn, in the pack's mode."""
        return self.stage(stage).sampling(self.mode)

    def stage(self, name: str) -> StagePrompt:
        """The stage of that name; raises UsageError where the pack has none."""
        if name not in self.stages:
            raise UsageError(f"prompt pack {self.name!r} has no stage {name!r}; it has {', '.join(self.stages)}")
        return self.stages[name]


def parse_pack(files: Mapping[str, str]) -> Pack:
    """The pack made of these files (name to text), validated whole.

    Raises UsageError, naming pack, file and field, for a missing file, a manifest or few-shot file that does not
    hold what it should, a template with unknown variables or without its subject, and a template that fails.
    """
    options = read_options(files)
    manifest = read_manifest(files, options)
    stages = pack_stages.stages(manifest, files, options.mode)
    demonstrations = Demonstrations(
        manifest.demonstrations.count, manifest.demonstrations.human, manifest.demonstrations.machine
    )
    training = file_text(manifest.name, files, manifest.training.template, "training.template")
    about = (manifest.name, manifest.description)
    pack = Pack(*about, demonstrations, stages, training, pack_hash(files), dict(files), options)
    for name, stage in stages.items():
        _try_stage(pack, stage, pack_stages.template_file(getattr(manifest, name), options.mode))
    _try_training(pack, manifest.training.template)
    return pack


def with_options(pack: Pack, options: PackOptions) -> Pack:
    """The pack as a run with these options uses it. Raises UsageError for options that it can't take."""
    files = {name: text for name, text in pack.files.items() if name != OPTIONS_FILE}
    text = options.as_file()
    return parse_pack(files if text is None else files | {OPTIONS_FILE: text})


def pack_hash(files: Mapping[str, str]) -> str:
    """SHA-256 (hex) over the files in the order of their names, each name and text preceded by its byte length."""
    digest = hashlib.sha256()
    for name in sorted(files):
        for part in (name.encode(), files[name].encode()):
            digest.update(f"{len(part)}:".encode())
            digest.update(part)
    return digest.hexdigest()


def render(pack: Pack, stage: str, variables: Mapping[str, object]) -> str:
    """The exact prompt of one call; it never ends in white space, which would spoil the first token that follows.

    ``variables`` hold the subject: ``demonstrations`` for the instruction stage (as many as the pack shows: strings
    for style "list", mappings with instruction, input and output for style "tasks"), ``instruction`` and ``input`` for
    the output stage, ``instruction`` for the others. They are cleaned of control characters, instructions are brought
    to one line, and nothing in them is read as template code. Raises UsageError for other variables, an empty subject,
    or a template that fails.
    """
    prompt = pack.stage(stage)
    subject = "demonstrations" if stage == "instruction" else "instruction"
    expected = ["input", "instruction"] if stage == "output" else [subject]
    if sorted(variables) != expected:
        raise UsageError(
            f"prompt pack {pack.name!r}: stage {stage!r} takes the variable {' and '.join(map(repr, expected))}, "
            f"not {', '.join(map(repr, sorted(variables))) or 'none'}"
        )
    values: dict[str, object]
    if stage == "instruction":
        shown = _demonstrations(pack, prompt, variables[subject])
        values = {
            "demonstrations": shown,
            "first_number": prompt.first_number,
            "last_number": prompt.last_number,
            "classification_only": pack.options.classification_only,
        }
    elif stage == "output":
        values = {
            "instruction": _subject(pack, stage, variables[subject]),
            "input": clean_text(str(variables["input"])).strip(),
            "examples": prompt.examples,
        }
    else:
        values = {
            "instruction": _subject(pack, stage, variables[subject]),
            "examples": prompt.examples,
            "max_instances": prompt.max_instances,
        }
    return _fill(pack.name, stage, prompt.template, values).rstrip()


def render_training(pack: Pack, instruction: str, input: str = "") -> str:
    """The prompt of a training example or of a question to the tuned model; the response is appended to it.

    Ends in exactly one newline, so that prompt and response are tokenised apart at the same place in training and
    in use. Line breaks inside instruction and input stay. Raises UsageError for an empty instruction.
    """
    instruction = clean_text(instruction).strip()
    if not instruction:
        raise UsageError(f"prompt pack {pack.name!r}: the training prompt needs an instruction that is not empty")
    values = {"instruction": instruction, "input": clean_text(input).strip()}
    return _fill(pack.name, "training", pack.training, values).rstrip() + "\n"


def _subject(pack: Pack, stage: str, value: object) -> str:
    text = one_line(value) if isinstance(value, str) else ""
    if not text:
        raise UsageError(f"prompt pack {pack.name!r}: stage {stage!r} needs instructions that are text and not empty")
    return text


def _demonstrations(pack: Pack, prompt: StagePrompt, value: object) -> list[object]:
    shown = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else []
    if len(shown) != pack.demonstrations.count:
        raise UsageError(
            f"prompt pack {pack.name!r} shows {pack.demonstrations.count} demonstrations, not {len(shown)}"
        )
    if prompt.style == "list":
        # A colon at the end makes the model spell out a list instead of going on with the next number.
        return [_subject(pack, prompt.name, text).rstrip(" :") for text in shown]
    return [_task(pack, prompt, task) for task in shown]


def _task(pack: Pack, prompt: StagePrompt, task: object) -> dict[str, str]:
    if not isinstance(task, Mapping) or not {"instruction", "input", "output"} <= set(task):
        raise UsageError(
            f"prompt pack {pack.name!r}: each demonstration of style 'tasks' needs instruction, input and output"
        )
    return {
        "instruction": _subject(pack, prompt.name, task["instruction"]),
        "input": clean_text(str(task["input"])).strip(),
        "output": clean_text(str(task["output"])).strip(),
    }


def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache(maxsize=64)
def _compiled(template: str) -> Template:
    return _environment().from_string(template)


def _fill(pack: str, where: str, template: str, values: Mapping[str, object]) -> str:
    try:
        return _compiled(template).render(values)
    # A template may fail in any way that Python code may: 1/0, None + 1, a loader that is not there.
    except Exception as error:
        raise UsageError(f"prompt pack {pack!r}, {where}: the template fails: {one_line(str(error))}") from error


def _check_variables(pack: str, file: str, stage: str, template: str) -> None:
    allowed = _VARIABLES[stage]
    try:
        named = meta.find_undeclared_variables(_environment().parse(template))
    except TemplateSyntaxError as error:
        raise UsageError(
            f"prompt pack {pack!r}, {file}, line {error.lineno}: {one_line(str(error.message))}"
        ) from error
    except TemplateError as error:
        raise UsageError(f"prompt pack {pack!r}, {file}: {one_line(str(error))}") from error
    if unknown := sorted(named - allowed):
        raise UsageError(
            f"prompt pack {pack!r}, {file}: unknown variable {unknown[0]!r}; "
            f"a template of {stage} knows {', '.join(sorted(allowed))}"
        )


def _try_stage(pack: Pack, stage: StagePrompt, file: str) -> None:
    """Render the stage once, so that a faulty template is met before a run and not in the middle of it."""
    _check_variables(pack.name, file, stage.name, stage.template)
    subject: dict[str, object] = {"instruction": _PROBE}
    if stage.name == "instruction":
        task = {"instruction": _PROBE, "input": "", "output": _PROBE}
        shown = _PROBE if stage.style == "list" else task
        subject = {"demonstrations": [shown] * pack.demonstrations.count}
    if stage.name == "output":
        subject["input"] = _PROBE[::-1]
    prompt = render(pack, stage.name, subject)
    if _PROBE not in prompt:
        raise UsageError(f"prompt pack {pack.name!r}, {file}: the template leaves out {next(iter(subject))!r}")
    if stage.name == "output" and _PROBE[::-1] not in prompt:
        raise UsageError(f"prompt pack {pack.name!r}, {file}: the template leaves out 'input'")
    if not prompt.endswith(stage.cue):
        raise UsageError(
            f"prompt pack {pack.name!r}, {file}: the prompt should end with the cue {stage.cue!r} "
            f"that the manifest states, not with {prompt[-20:]!r}"
        )


def _try_training(pack: Pack, file: str) -> None:
    _check_variables(pack.name, file, "training", pack.training)
    render_training(pack, _PROBE)
    prompt = render_training(pack, _PROBE, _PROBE[::-1])
    for variable, mark in (("instruction", _PROBE), ("input", _PROBE[::-1])):
        if mark not in prompt:
            raise UsageError(f"prompt pack {pack.name!r}, {file}: the template leaves out {variable!r}")
