"""A prompt pack looked at before a run is made of it: is it whole, and do its prompts fit the model's context?"""

from __future__ import annotations

from pathlib import Path

from alpaca_tui import resources
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.pack_options import PackOptions
from alpaca_tui.core.prompts import Pack, render, with_options
from alpaca_tui.jobs import models

NEEDED = {"list": ("instruction", "classification", "output_first", "input_first"), "tasks": ("instruction",)}
"""The stages that a generation goes through, by the style of its recipe."""

LONGEST_SUBJECT = " ".join(["instruction"] * 150)
"""As long as the length rule lets an instruction be: 150 words."""

LONG_FIELD = " ".join(["word"] * 100)
"""An input or output as long as the requirements of a recipe of whole tasks ask for."""

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
    """The pack ``recipe`` of the project, checked against the models' contexts where they are here already.

    Raises UsageError with one sentence: an unknown pack, a fault in its files or the options, a stage that is missing,
    a prompt too long for the model.
    """
    pack = run_pack(project, recipe, options or PackOptions())
    needed = NEEDED[pack.stage("instruction").style]
    for stage in needed:
        pack.stage(stage)
    _check_context(pack, needed, model)
    if output_model is not None:
        pack.stage("output")
        _check_context(pack, ("output",), output_model)
    return pack


def _check_context(pack: Pack, stages: tuple[str, ...], model: str) -> None:
    ref = models.resolve(model, fetch=False)
    if ref.path is None or not (ref.path / "tokenizer.json").is_file():
        return  # an endpoint, or a model that is still to be fetched: the run itself will see
    from tokenizers import Tokenizer

    context = models.check(ref.path).context_length
    tokenizer = Tokenizer.from_file(str(ref.path / "tokenizer.json"))
    for stage in stages:
        prompt = len(tokenizer.encode(render(pack, stage, _longest_subject(pack, stage))).ids)
        wanted = pack.sampling(stage).max_new_tokens
        if pack.stage(stage).style == "tasks" and stage == "instruction":
            wanted = min(wanted, TASKS_ROOM)
        if prompt + wanted > context:
            raise UsageError(
                f"prompt pack {pack.name!r}, stage {stage!r}: a prompt can take {prompt} tokens and its answer "
                f"{wanted}, more than the {context} of {model}; "
                "shorten the examples, lower max_new_tokens or choose another model"
            )


def _longest_subject(pack: Pack, stage: str) -> dict[str, object]:
    if stage == "output":
        return {"instruction": LONGEST_SUBJECT, "input": LONG_FIELD}
    if stage != "instruction":
        return {"instruction": LONGEST_SUBJECT}
    shown: object = LONGEST_SUBJECT
    if pack.stage(stage).style == "tasks":
        # No longer ones are shown (``workers.stage_instructions``); nor do the requirements ask for any.
        shown = {"instruction": LONG_FIELD, "input": LONG_FIELD, "output": LONG_FIELD}
    return {"demonstrations": [shown] * pack.demonstrations.count}
