"""Editing a sample or a seed in the user's editor: the labelled text formats, and the call of the editor."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.records import Instance, SeedTask
from alpaca_tui.core.text import clean_text, one_line

PARTS = ("instruction", "input", "output")
_LABEL = "#: "
_HEAD = (
    "#: Sample {id}. Change what stands under the labels, then save and quit; without a change nothing is stored.\n"
    "#: A line of the text itself that begins with #: has a backslash before it.\n"
)


def dump(sample_id: int, texts: tuple[str, str, str]) -> str:
    """The three texts under their labels."""
    out = _HEAD.format(id=sample_id)
    for name, text in zip(PARTS, texts, strict=True):
        out += f"{_LABEL}{name}\n{_escaped(text)}\n"
    return out


def _escaped(text: str) -> str:
    return "\n".join(f"\\{line}" if line.lstrip("\\").startswith("#:") else line for line in text.split("\n"))


def parse(edited: str, original: tuple[str, str, str]) -> tuple[str, str, str]:
    """The three texts of an edited file. Editors end a file in a newline: newlines at a text's end don't count.

    Raises AlpacaError where a label is missing or stands twice.
    """
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in edited.replace("\r\n", "\n").split("\n"):
        name = line.removeprefix(_LABEL).strip() if line.startswith(_LABEL) else ""
        if name in PARTS:
            if name in found:
                raise AlpacaError(f"the label '{_LABEL}{name}' stands twice in the edited text; nothing was stored")
            current = found[name] = []
        elif not line.startswith("#:"):
            current.append(line[1:] if line.startswith("\\") and line.lstrip("\\").startswith("#:") else line)
    missing = [name for name in PARTS if name not in found]
    if missing:
        raise AlpacaError(f"the label '{_LABEL}{missing[0]}' is missing in the edited text; nothing was stored")
    texts = tuple("\n".join(found[name]).rstrip("\n") for name in PARTS)
    same = [old if new == old.rstrip("\n") else new for new, old in zip(texts, original, strict=True)]
    return same[0], same[1], same[2]


def editor(instead: str = ", or edit here with i") -> list[str]:
    """The user's editor as a command. Raises AlpacaError, naming the way ``instead``, where there is none."""
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if chosen:
        return shlex.split(chosen)
    for name in ("nano", "vim", "vi"):
        if shutil.which(name):
            return [name]
    raise AlpacaError(f"no editor is set and none was found: set EDITOR{instead}")


def in_editor(name: str, text: str, instead: str = ", or edit here with i") -> str:
    """Let the user edit a text; blocks until the editor ends. The file is private and goes afterwards.

    Raises AlpacaError where the editor fails.
    """
    command = editor(instead)
    with tempfile.TemporaryDirectory(prefix="alpaca-tui-") as folder:  # 0700
        path = Path(folder) / f"{name}.txt"
        path.touch(mode=0o600)
        path.write_text(text, "utf-8", errors="replace")
        try:
            code = _run([*command, str(path)])
        except OSError as error:
            raise AlpacaError(
                f"the editor {command[0]!r} could not be started ({error.strerror}): set EDITOR{instead}"
            ) from error
        if code != 0:
            raise AlpacaError(f"the editor ended with code {code}; nothing was stored")
        try:
            return path.read_text("utf-8", errors="replace")
        except OSError as error:
            raise AlpacaError(f"the edited file can't be read ({error.strerror}); nothing was stored") from error


_editors: list[subprocess.Popen[bytes]] = []
"""The one in front of the cockpit, if any."""


def _run(command: list[str]) -> int:
    with subprocess.Popen(command) as process:
        _editors.append(process)
        try:
            return process.wait()
        finally:
            _editors.clear()


def running() -> bool:
    """Whether an editor is in front of the cockpit."""
    return bool(_editors)


def pass_on(number: int) -> None:
    """Send the signal to the editor, so that it saves what it can and ends: the cockpit waits for it."""
    for process in _editors:
        process.send_signal(number)


def edit(sample_id: int, texts: tuple[str, str, str]) -> tuple[str, str, str]:
    """Let the user edit a sample's texts; blocks until the editor ends.

    Raises AlpacaError where the editor fails or its result can't be read.
    """
    return parse(in_editor(f"sample-{sample_id}", dump(sample_id, texts)), texts)


def cleaned(texts: tuple[str, str, str]) -> tuple[str, str, str]:
    """The texts without control characters, as everything that is stored."""
    one, two, three = (clean_text(text) for text in texts)
    return one, two, three


# Seeds ------------------------------------------------------------------------------------------------------------

BLANK = SeedTask("", "", "", (Instance("", ""),), is_classification=False)
"""What a new seed begins with."""

_NAME_WORDS = 6
_SEED_HEAD = (
    "#: Seed {id}. Change what stands under the labels, then save and quit; without a change nothing is stored.\n"
    "#: One more instance: two more labels '#: input' and '#: output'. Without a name, the first words make one.\n"
    "#: A line of the text itself that begins with #: has a backslash before it.\n"
)
_SEED_LABEL = re.compile(r"#: (name|instruction|classification|input|output)(?: \d+)?[ \t]*")
_PROBLEM = "#! "
_CLASSES = {"yes": True, "no": False}


def dump_seed(task: SeedTask) -> str:
    """A seed under its labels."""
    parts = [
        ("name", task.name),
        ("instruction", task.instruction),
        ("classification", "yes" if task.is_classification else "no"),
    ]
    for number, instance in enumerate(task.instances, 1):
        parts += [(f"input {number}", instance.input), (f"output {number}", instance.output)]
    return _SEED_HEAD.format(id=task.task_id) + "".join(f"{_LABEL}{name}\n{_escaped(text)}\n" for name, text in parts)


def with_problem(text: str, problem: str) -> str:
    """An edited seed for another try, with what is wrong with it in its first line."""
    first, _, rest = text.partition("\n")
    text = rest if first.startswith(_PROBLEM) else text
    return f"{_PROBLEM}Not stored: {one_line(problem)}. Empty the file to forget this text.\n{text}"


def parse_seed(edited: str, before: SeedTask) -> SeedTask:
    """The seed of an edited file, with the id of the one ``before``. Newlines at a text's end don't count.

    Raises AlpacaError where a label is missing, unknown or out of place, where the classification is not yes or no,
    or where an output is empty that was not so before.
    """
    parts = _seed_parts(edited)
    names = [name for name, _ in parts]
    pairs = len(names[3:]) // 2
    if names != ["name", "instruction", "classification", *["input", "output"] * pairs]:
        raise AlpacaError(
            "the labels must be name, instruction, classification, then input and output for each instance, "
            f"not {', '.join(names) or 'none'}"
        )
    (_, name), (_, instruction), (_, kind), *texts = parts
    if kind.strip().lower() not in _CLASSES:
        raise AlpacaError(f"the classification must be yes or no, not {one_line(kind)!r}")
    old = [*before.instances, *[Instance("", "")] * pairs]
    instances = tuple(
        Instance(_kept(texts[2 * i][1], old[i].input), _kept(texts[2 * i + 1][1], old[i].output)) for i in range(pairs)
    )
    new = not before.instruction
    for number, (was, instance) in enumerate(zip(old, instances, strict=False), 1):
        if not instance.output.strip() and (new or was.output or number > len(before.instances)):
            raise AlpacaError(f"the output of instance {number} is empty")
    if new or name != before.name.rstrip("\n"):
        name = one_line(name) or "_".join(re.findall(r"\w+", instruction.lower())[:_NAME_WORDS])
    else:
        name = before.name
    instruction = _kept(instruction, before.instruction)
    return SeedTask(before.task_id, name, instruction, instances, _CLASSES[kind.strip().lower()])


def _kept(new: str, old: str) -> str:
    return old if new == old.rstrip("\n") else new


def _seed_parts(edited: str) -> list[tuple[str, str]]:
    """(label without its number, text) in the order of the file; what stands before the first label is left out."""
    parts: list[tuple[str, list[str]]] = []
    for line in edited.replace("\r\n", "\n").split("\n"):
        label = _SEED_LABEL.fullmatch(line)
        if label:
            parts.append((label[1], []))
        elif parts and line.startswith("#:"):
            raise AlpacaError(f"{one_line(line)[:60]!r} is no label; a line of the text needs a backslash before #:")
        elif parts:
            parts[-1][1].append(line[1:] if line.startswith("\\") and line.lstrip("\\").startswith("#:") else line)
    return [(name, "\n".join(lines).rstrip("\n")) for name, lines in parts]
