"""A prompt pack looked at before a run is made of it: is it whole, and do its prompts fit the model's context?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alpaca_tui import resources
from alpaca_tui.core.budget import likely_tokens
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.pack_options import PackOptions
from alpaca_tui.core.prompts import Pack, render, with_options
from alpaca_tui.jobs import models
from alpaca_tui.jobs.endpoints import context_length
from alpaca_tui.jobs.models import ModelRef

NEEDED = {"list": ("instruction", "classification", "output_first", "input_first"), "tasks": ("instruction",)}
"""The stages that a generation goes through, by the style of its recipe."""

MOST_WORDS = 150
"""Words that the length rule lets an instruction have."""

FIELD_WORDS = 100
"""Words that the requirements of a recipe of whole tasks allow an input or output."""

TASKS_ROOM = 512
"""Tokens of answer that a recipe of whole tasks is worth asking for; a model with less room writes fewer of them."""


def run_pack(project: Path, recipe: str, options: PackOptions) -> Pack:
    """The project's pack (or else the shipped one) of that name, with a run's options laid over it."""
    return with_options(resources.read_pack(recipe, project / "prompts"), options)


def check_pack(
    project: Path,
    recipe: str,
    model: str,
    options: PackOptions | None = None,
    output_model: str | None = None,
) -> Pack:
    """The pack ``recipe`` of the project, checked against the models' contexts where they are known.

    Raises UsageError with one sentence: an unknown pack, a fault in its files or the options, a stage that is missing,
    a prompt too long for the model. AlpacaError where an endpoint's key is missing.
    """
    pack = run_pack(project, recipe, options or PackOptions())
    needed = NEEDED[pack.stage("instruction").style]
    for stage in needed:
        pack.stage(stage)
    _check_context(project, pack, needed, model)
    if output_model is not None:
        pack.stage("output")
        _check_context(project, pack, ("output",), output_model)
    return pack


def _check_context(project: Path, pack: Pack, stages: tuple[str, ...], model: str) -> None:
    ref = models.resolve(model, fetch=False)
    context, tokens = _endpoint(project, ref) if ref.kind == "openai" else _local(ref)
    if context is None:
        return
    about = "about " if ref.kind == "openai" else ""
    for stage in stages:
        prompt = tokens(pack, stage)
        wanted = pack.sampling(stage).max_new_tokens
        if pack.stage(stage).style == "tasks" and stage == "instruction":
            wanted = min(wanted, TASKS_ROOM)
        if prompt + wanted > context:
            raise UsageError(
                f"prompt pack {pack.name!r}, stage {stage!r}: a prompt can take {about}{prompt} tokens and its answer "
                f"{wanted}, more than the {context} of {model}; "
                "shorten the examples, lower max_new_tokens or choose another model"
            )


Tokens = Callable[[Pack, str], int]
"""Of a stage's longest prompt."""


def _local(ref: ModelRef) -> tuple[int | None, Tokens]:
    """A model's context, with its own tokenizer; None where it is still to be fetched: the run itself will see."""
    if ref.path is None or not (ref.path / "tokenizer.json").is_file():
        return None, _guessed
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(ref.path / "tokenizer.json"))
    return models.check(ref.path).context_length, lambda pack, stage: len(
        tokenizer.encode(render(pack, stage, _longest_subject(pack, stage, "instruction"))).ids
    )


def _endpoint(project: Path, ref: ModelRef) -> tuple[int | None, Tokens]:
    """An endpoint's context where it is known. Its tokenizer is not here: tokens are guessed."""
    return context_length(project, ref), _guessed


def _guessed(pack: Pack, stage: str) -> int:
    return likely_tokens(render(pack, stage, _longest_subject(pack, stage, "one")))


def _longest_subject(pack: Pack, stage: str, word: str) -> dict[str, object]:
    """A subject as long as the rules let one be; ``word`` is one that counts as one token."""
    longest, field = " ".join([word] * MOST_WORDS), " ".join([word] * FIELD_WORDS)
    if stage == "output":
        return {"instruction": longest, "input": field}
    if stage != "instruction":
        return {"instruction": longest}
    shown: object = longest
    if pack.stage(stage).style == "tasks":
        # No longer ones are shown (``workers.stage_instructions``); nor do the requirements ask for any.
        shown = {"instruction": field, "input": field, "output": field}
    return {"demonstrations": [shown] * pack.demonstrations.count}
