"""``chat``: talk to a tuned model, in the very prompt that it was tuned on."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alpaca_tui.cli import common
from alpaca_tui.core.errors import AlpacaError, UsageError

if TYPE_CHECKING:
    from alpaca_tui.core.prompts import Pack
    from alpaca_tui.jobs.talk import Reply, Talk

COMMANDS = (
    "/input TEXT gives the next instruction an input, /temperature X, /seed N, /prompt shows the prompts or not, "
    "/reset forgets what was said, /quit leaves; Ctrl+C stops an answer, Ctrl+D leaves"
)
SINGLE = (
    "Each instruction stands alone: the model was tuned on single turns (--turns sends what was said before along)."
)


@dataclass(slots=True)
class Settings:
    """How answers are drawn, and what was said so far."""

    temperature: float
    top_p: float
    seed: int
    max_new_tokens: int
    turns: bool
    show_prompt: bool
    input: str = ""
    said: list[str] = field(default_factory=list)
    """Prompts with their answers, oldest first."""


def register(app: typer.Typer) -> None:
    """Add the command to the main app."""
    app.command()(chat)


def chat(
    ctx: typer.Context,
    model: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="A model, or job:N for what job N tuned (default: the newest tuned one)."),
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0: always the likeliest word.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0, max=1, help="Draw from the likeliest words of this share.")] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Makes drawn answers repeatable.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens an answer may have.")] = 256,
    turns: Annotated[bool, typer.Option("--turns", help="Send what was said before along.")] = False,
    show_prompt: Annotated[bool, typer.Option("--show-prompt", help="Show each prompt to the letter.")] = False,
) -> None:
    """Talk to a tuned model. From a pipe: an instruction a line, an answer a line."""
    from alpaca_tui import resources
    from alpaca_tui.jobs.talk import Talk
    from alpaca_tui.store import database
    from alpaca_tui.workers.examples import TRAINING_PACK

    directory = common.project_dir(ctx)
    project = directory if database.database_path(directory).is_file() else None
    spec = _model(ctx, project, model)
    pack = resources.read_pack(TRAINING_PACK, directory / "prompts")
    settings = Settings(temperature, top_p, seed, max_new_tokens, turns, show_prompt)
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not common.state(ctx).json
    if terminal:
        common.narrate(f"loading {spec} …")
    with Talk(spec, project) as talk:
        if terminal:
            _converse(talk, pack, settings, spec)
        else:
            _answer_lines(talk, pack, settings, as_json=common.state(ctx).json)


def _model(ctx: typer.Context, project: Path | None, spec: str | None) -> str:
    """The model's SPEC, checked as far as that is quick. Raises UsageError with what is wrong."""
    from alpaca_tui.cli.work import newest_pair
    from alpaca_tui.jobs import models
    from alpaca_tui.workers.models import JOB_PREFIX, tuned

    if project is None:
        if spec is None or spec.startswith(JOB_PREFIX):
            raise UsageError("there is no project here to take a tuned model from; name one with --project or --model")
        base = spec
    else:
        db = common.open_db(ctx)
        spec = spec or newest_pair(db)[1]
        base = tuned(db, spec)[0]
    ref = models.resolve(base, fetch=False)
    if ref.kind == "directory" and ref.path is not None:
        models.check(ref.path)
    return spec


def _prompt(pack: Pack, settings: Settings, instruction: str, input: str) -> str:
    from alpaca_tui.core.prompts import render_training

    prompt = render_training(pack, instruction, input)
    return "".join(settings.said) + prompt if settings.turns else prompt


def _ask(talk: Talk, settings: Settings, prompt: str, on_text: Callable[[str], None]) -> Reply:
    reply = talk.ask(
        prompt,
        on_text,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed,
    )
    if settings.turns:
        settings.said.append(f"{prompt[len(''.join(settings.said)) :]}{reply.text.strip()}\n\n")
    return reply


# In a terminal ----------------------------------------------------------------------------------------------------


def _converse(talk: Talk, pack: Pack, settings: Settings, spec: str) -> None:
    """Ask and answer until Ctrl+D."""
    with suppress(ImportError):
        import readline  # noqa: F401 - gives input() editing and a history

    from alpaca_tui.core.visible import printable

    common.narrate(f"{printable(spec)} is ready. {COMMANDS}.")
    if not settings.turns:
        common.narrate(SINGLE)
    while True:
        try:
            line = input("\n> ").strip()
        except EOFError:
            sys.stdout.write("\n")
            return
        except KeyboardInterrupt:
            sys.stdout.write("\n(Ctrl+D leaves)\n")
            continue
        try:
            if line.startswith("/"):
                if _command(line, settings):
                    return
            elif line:
                _one_answer(talk, pack, settings, line)
        except AlpacaError as error:
            if not talk.alive:
                raise
            common.narrate(str(error))


def _one_answer(talk: Talk, pack: Pack, settings: Settings, instruction: str) -> None:
    from alpaca_tui.core.visible import printable

    prompt = _prompt(pack, settings, instruction, settings.input)
    settings.input = ""
    if settings.show_prompt:
        common.narrate(f"--- prompt\n{printable(prompt)}\n---")
    written = ""

    def show(text: str) -> None:
        nonlocal written
        shown = printable(text.strip())
        # What a later word changes (a tab's width, an accent) is put right at the end.
        if shown.startswith(written):
            sys.stdout.write(shown[len(written) :])
            sys.stdout.flush()
            written = shown

    with _stop_on_interrupt(talk):
        reply = _ask(talk, settings, prompt, show)
    show(reply.text)
    if written != printable(reply.text.strip()):
        sys.stdout.write(f"\n{printable(reply.text.strip())}")
    sys.stdout.write("\n")
    rate = f", {reply.tokens / reply.seconds:.0f} tokens/s" if reply.seconds > 0 else ""
    endings = {"stopped": " (stopped)", "length": " (cut off: --max-new-tokens)", "loop": " (it went in circles)"}
    ending = endings.get(reply.finish_reason, "")
    common.narrate(f"[{reply.tokens} tokens{rate}]{ending}")


def _command(line: str, settings: Settings) -> bool:
    """Carry out a ``/`` command; True for leaving. Raises UsageError where it says nothing."""
    name, _, value = line.partition(" ")
    value = value.strip()
    if name == "/quit":
        return True
    if name == "/reset":
        settings.said.clear()
        settings.input = ""
        common.narrate("Forgotten.")
    elif name == "/input":
        settings.input = value
        common.narrate("The next instruction gets this input." if value else "The next instruction has no input.")
    elif name == "/prompt":
        settings.show_prompt = not settings.show_prompt
        common.narrate("Prompts are shown." if settings.show_prompt else "Prompts are hidden.")
    elif name == "/seed":
        if not value.isdecimal():
            raise UsageError(f"the seed must be a whole number, not {value!r}; it is {settings.seed}")
        settings.seed = int(value)
        common.narrate(f"The seed is {settings.seed}.")
    elif name == "/temperature":
        settings.temperature = _temperature(value, settings.temperature)
        common.narrate(f"The temperature is {settings.temperature:g}.")
    else:
        raise UsageError(f"{COMMANDS}." if name == "/help" else f"there is no command {name}: {COMMANDS}")
    return False


def _temperature(text: str, now: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise UsageError(f"the temperature must be a number from 0 to 2, not {text!r}; it is {now:g}")
    return value


@contextmanager
def _stop_on_interrupt(talk: Talk) -> Iterator[None]:
    """Ctrl+C ends the answer, the second one the program."""
    asked = False

    def interrupted(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        talk.stop()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# From a pipe ------------------------------------------------------------------------------------------------------


def _answer_lines(talk: Talk, pack: Pack, settings: Settings, *, as_json: bool) -> None:
    """A line in, a line out, in order; line breaks of an answer are written as ``\\n``.

    A line may be a JSON object with ``instruction`` and ``input``. Raises AlpacaError at the end where an instruction
    could not be answered; its line is empty then.
    """
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    failed = 0
    for line in sys.stdin:
        if not line.strip():
            continue
        instruction, input = _read_line(line)
        record: dict[str, Any] = {"instruction": instruction, "input": input}
        try:
            prompt = _prompt(pack, settings, instruction, input)
            if settings.show_prompt:
                record["prompt"] = prompt
            reply = _ask(talk, settings, prompt, lambda text: None)
            record |= {
                "output": reply.text.strip(),
                "finish_reason": reply.finish_reason,
                "tokens": reply.tokens,
                "seconds": round(reply.seconds, 3),
            }
        except AlpacaError as error:
            if not talk.alive:
                raise
            failed += 1
            record |= {"output": "", "error": str(error)}
            common.narrate(str(error))
        _write(record, as_json=as_json)
    if failed:
        raise AlpacaError(f"{failed} instructions could not be answered")


def _read_line(line: str) -> tuple[str, str]:
    with suppress(ValueError):
        value = json.loads(line)
        if isinstance(value, dict) and isinstance(value.get("instruction"), str):
            return value["instruction"], str(value.get("input") or "")
    return line.strip(), ""


def _write(record: dict[str, Any], *, as_json: bool) -> None:
    from alpaca_tui.core.text import clean_text

    if as_json:
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    else:
        if "prompt" in record:
            common.narrate(f"--- prompt\n{clean_text(record['prompt'])}---")
        sys.stdout.write(clean_text(record["output"]).replace("\\", "\\\\").replace("\n", "\\n") + "\n")
    sys.stdout.flush()
